"""``evaluate pose`` as BOP does it: a data set's own models and depth give AR, and without depth none is made up."""

from __future__ import annotations

import json

import pytest

HEADER = "scene_id,im_id,obj_id,score,R,t,time"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from object_pose.cli.main import main

    root = tmp_path_factory.mktemp("bop") / "set"
    scene = ["--max-distance-m", "0.6", "--max-objects", "4", "--max-distractors", "1"]
    assert main(["generate", "--output", str(root), "--scenes", "1", "--frames", "2", "--seed", "11", *scene]) == 0
    return root


def test_bop_recalls_are_printed_and_written(cli, data, tmp_path):
    outcome = cli("evaluate", "pose", "--data", data, "--times", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "BOP average recall" in outcome.out and "MSPD" in outcome.out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    mean = (summary["ar_vsd"] + summary["ar_mssd"] + summary["ar_mspd"]) / 3
    assert summary["ar_bop"] == pytest.approx(mean) and 0.0 < summary["ar_bop"] <= 1.0
    for table in ("by_distance_m", "by_visibility"):
        assert sum(row["targets"] for row in summary[table]) == summary["bop_targets"] > 0
    assert (tmp_path / "out" / "recall.png").stat().st_size > 10_000
    header, *rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert header == HEADER and rows
    scene, image, number, score, rotation, translation, seconds = rows[0].split(",")
    assert (scene, len(rotation.split()), len(translation.split())) == ("0", 9, 3)
    assert int(image) in (0, 1) and 1 <= int(number) <= 6 and 0.0 < float(score) <= 1.0 and float(seconds) > 0.0
    assert 200.0 < float(translation.split()[2]) < 1000.0


def test_without_depth_there_is_no_vsd_and_no_ar(cli, data):
    outcome = cli("evaluate", "pose", "--data", data, "--no-depth", "--json")
    summary = json.loads(outcome.out)
    assert (summary["ar_vsd"], summary["ar_bop"]) == (None, None)
    assert summary["ar_mssd"] >= 0.0 and summary["ar_mspd"] >= 0.0
