"""``onboard``: from CAD files to a model and its report, resumable, and never with a symmetry nobody confirmed."""

from __future__ import annotations

import importlib.util
import json

import pytest

from cad_files import save_part
from object_pose.io.run_folder import RunFolder
from object_pose.runtime.pose_estimator import PoseEstimator

SMALL = ["--width", "96", "--height", "64", "--focal-px", "90", "--max-objects", "3", "--validation-frames", "2"]
NETWORK = ["--input-width", "96", "--input-height", "64", "--crop-width", "64", "--crop-height", "64"]
RUN = ["--batch-size", "2", "--workers", "0", "--threads", "1", "--device", "cpu", "--test-frames", "2"]


@pytest.fixture
def cad_files(tmp_path):
    return [save_part(tmp_path, name) for name in ("bracket", "pipe_elbow")]


def onboard(cli, files, output, *options):
    return cli("onboard", *files, "--output", output, *SMALL, *NETWORK, *RUN, *options)


def test_unconfirmed_symmetries_are_shown_and_nothing_is_begun(cli, cad_files, tmp_path):
    outcome = onboard(cli, cad_files, tmp_path / "out")
    assert outcome.code == 2 and "pipe_elbow are not confirmed" in outcome.err
    assert "half turn" in outcome.out and "bracket" in outcome.out
    assert not (tmp_path / "out").exists()
    page = tmp_path / "out-symmetries.html"
    assert str(page) in outcome.err and "--symmetry pipe_elbow=found" in outcome.err
    shown = page.read_text()
    assert "half turn about z" in shown and "--symmetry pipe_elbow=none" in shown and "bracket" not in shown


@pytest.mark.timeout(300)
def test_cad_files_become_a_model_with_its_report_and_a_rerun_goes_on(cli, cad_files, tmp_path):
    output = tmp_path / "mine"
    chosen = ["--symmetry", "pipe_elbow=found", "--roi-head-steps", "1"]
    outcome = onboard(cli, cad_files, output, *chosen, "--steps", "1")
    assert outcome.code == 0, outcome.err
    card = PoseEstimator(output / "mine.onnx").card
    assert card.labels == ("bracket", "pipe_elbow") and "on 2 rendered frames" in card.metric
    assert [len(model.symmetry.discrete) for model in card.objects] == [0, 1]
    summary = json.loads((output / "summary.json").read_text())
    assert summary["frames"] == 2 and {"ar_bop", "recall_add_01d"} <= summary.keys()
    page = (output / "report.html").read_text()
    assert "half turn about z" in page and "confirmed" in page and page.count("data:image/") >= 6
    assert "object-pose train roi-head" in page and "What confuses it" in page
    assert summary["confusion"]["names"] == ["bracket", "pipe_elbow", "nothing"]

    assert "default, whatever the parts' size" in outcome.out and "m away" in page
    assert "train roi-head" in outcome.out and "ms for a generated frame" in outcome.out

    again = onboard(cli, cad_files, output, *chosen, "--steps", "1")
    assert again.code == 0 and "train" not in again.err and "test" not in again.err
    assert "this was done before; more --minutes go on" in again.out
    longer = onboard(cli, cad_files, output, *chosen, "--steps", "2")
    assert longer.code == 0 and "train pose" in longer.err and "train roi-head" not in longer.err
    assert RunFolder(output / "runs" / "pose").steps_done == 2
    assert "trained for 2 steps already" in onboard(cli, cad_files, output, *chosen, "--steps", "1").err
    assert (
        "was made with symmetries"
        in onboard(cli, cad_files, output, "--accept-symmetries", "--symmetry", "bracket=z").err
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--symmetry", "wheel=z"], "names no part"),
        (["--symmetry", "bracket=round"], "cannot be understood"),
        (["--unit", "m"], "is --unit right?"),
        (["--distance", "0.8-0.3"], "no range of distances"),
        (["--camera", "none.yaml"], "none.yaml"),
        (["--minutes", "0"], "no time to train in"),
    ],
)
def test_what_cannot_be_is_one_line(cli, cad_files, tmp_path, options, text):
    assert text in onboard(cli, cad_files, tmp_path / "out", *options).err


@pytest.mark.skipif(importlib.util.find_spec("cascadio") is not None, reason="the extra 'step' is installed")
def test_step_files_without_the_extra_that_reads_them_are_one_line(cli, tmp_path):
    (tmp_path / "box.step").write_text("ISO-10303-21;")
    outcome = cli("onboard", tmp_path / "box.step", "--output", tmp_path / "out")
    assert outcome.code == 2 and "the Python package 'cascadio' is not installed" in outcome.problem
