"""A model refined by a recording of what it tracks: labels are right, and only what is not worse is kept."""

from __future__ import annotations

import dataclasses
import json
import shutil

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from object_pose.core.errors import CancelledError, ConfigError, DataError
from object_pose.core.frame import Frame
from object_pose.core.metrics.pose import match_frame
from object_pose.core.results.pose import ObjectPose
from object_pose.io.bag_frames import write_frame
from object_pose.io.bags import make_typestore, write_bag
from object_pose.io.bop import bop_names, read_bop_scene
from object_pose.io.bop_writing import LabelledFrame, write_labelled_scene
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.resources import find_model
from object_pose.simulation.generators.bop import write_bop_models
from object_pose.simulation.parts.objects import PART_NAMES, part_objects
from object_pose.simulation.scenes.live import LiveConfig, LiveScene
from object_pose.workflows.gate_requirements import GateConfig
from object_pose.workflows.refine import RefineConfig, refine
from object_pose.workflows.teaching_frames import TeachingConfig
from object_pose.workflows.train import make_job, train
from small_training import NETWORK, RUN, SCENE

GATE_SCENE = {"width": 320, "height": 240, "focal_px": 305.0, "max_objects": 4}
GATE = GateConfig(min_samples=4, max_loss=1.0, max_latency_ratio=100.0, max_recall_loss=1.0, max_error_ratio=100.0)
STEPS = 50


def as_another_camera_sees_it(frame: Frame) -> Frame:
    """Return a frame in other colours: warm light, less contrast, a soft lens."""
    warm = 0.7 * frame.rgb * np.array([1.2, 0.95, 0.7]) + 40.0
    return dataclasses.replace(frame, rgb=np.clip(cv2.GaussianBlur(warm, (0, 0), 0.8), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A folder as onboarding leaves it, with the shipped model in the place of one of minutes, and a recording.

    Its frames are labelled, by a call that was cancelled then; returns what that call reported, too.
    """
    folder = tmp_path_factory.mktemp("refine") / "mine"
    objects = part_objects()
    write_bop_models(folder, objects)
    shutil.copyfile(find_model("parts.onnx"), folder / "mine.onnx")
    common = {**GATE_SCENE, **RUN, "validation_frames": 1, "reuse": 16, "steps": 1}
    for kind, values in (("pose", common | NETWORK), ("roi_head", common)):
        train(make_job(kind, folder / "runs" / kind, values))
    scene = LiveScene(0, LiveConfig(width=320, height=240, focal_px=305.0, occlusion=False, motion=2.0), objects)
    truths = []
    with write_bag(folder.parent / "recording", make_typestore()) as bag:
        for number in range(24):
            taken = scene.frame(number / 10.0, number * 100_000_000)
            write_frame(bag, as_another_camera_sees_it(taken.frame))
            truths.append(taken.truths)
    teaching = TeachingConfig(check_every=1, min_new_deg=0.1, gap_s=0.2)
    options = {**SCENE, "workers": 0, "threads": 1, "validation_frames": 1, "steps": STEPS}
    config = RefineConfig(
        folder,
        folder.parent / "recording",
        minutes=600.0,
        rendered_frames=6,
        teaching=teaching,
        gate=GATE,
        options=options,
    )
    reports = []

    def cancel(progress):
        reports.append(progress)
        if progress.stage == "train pose":
            raise CancelledError("enough")

    with pytest.raises(CancelledError, match=r"enough; .*mine.onnx is as it was, .* of 600 minutes"):
        refine(config, cancel)
    return config, truths, [item.stage for item in reports]


def again(config: RefineConfig, folder, **changes) -> RefineConfig:
    """Return the refinement of a copy of the model by a copy of the recording, whose frames are labelled."""
    copied = dataclasses.replace(config, folder=folder / "mine", bag=folder / "recording", **changes)
    shutil.copytree(config.folder, copied.folder, ignore=shutil.ignore_patterns("refined"))
    shutil.copytree(config.bag, copied.bag)
    shutil.copytree(config.output / "frames", copied.output / "frames")
    return copied


def test_every_label_is_right(labelled):
    """The frames are compared with the truth that the simulation knows."""
    config, truths, _ = labelled
    objects = [item.model for item in part_objects()]
    errors = []
    for item in read_bop_scene(config.output / "frames" / "learned" / "000000", bop_names(PART_NAMES)):
        best = min(
            (match_frame([as_pose(truth) for truth in item.truths], known, objects, 0.0) for known in truths),
            key=lambda found: (len(found.false_poses), sum(match.add_share for match in found.matches)),
        )
        errors += [match.add_share for match in best.matches]
        assert not best.false_poses
    assert len(errors) >= 10 and np.mean(np.array(errors) < 0.1) >= 0.95


def as_pose(truth) -> ObjectPose:
    return ObjectPose(
        truth.class_id,
        truth.class_name,
        0.9,
        truth.T_camera_object,
        np.eye(6) * 1e-6,
        np.zeros(3),
        np.full(3, 0.06),
        truth.box_xyxy,
        0.5,
        0.001,
        1.0,
        depth_used=True,
    )


def forgetful(model, path) -> None:
    """Write a model that has forgotten most: its weights have noise of half their deviation."""
    loaded, rng = onnx.load(str(model)), np.random.default_rng(0)
    for tensor in loaded.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.ndim == 4:
            changed = weights + 0.5 * weights.std() * rng.normal(size=weights.shape)
            tensor.CopyFrom(numpy_helper.from_array(changed.astype(weights.dtype), tensor.name))
    onnx.save(loaded, str(path))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("candidate", "is_kept"), [("other", False), ("forgetful", False), ("equal", True)])
def test_a_worse_model_is_not_kept_and_an_equal_one_is(labelled, tmp_path, candidate, is_kept):
    config = again(labelled[0], tmp_path, rendered_frames=10, gate=GateConfig(min_samples=4, max_latency_ratio=100.0))
    file = config.output / config.model.name
    if candidate == "forgetful":
        forgetful(config.model, file)
        # The recording shows nothing of what was forgotten.
        camera = LiveConfig(width=320, height=240, focal_px=305.0).camera
        empty = LabelledFrame(np.full((240, 320, 3), 90, np.uint8), np.zeros((240, 320), np.float32), camera, ())
        shutil.rmtree(config.output / "frames" / "held_out")
        write_labelled_scene(config.output / "frames" / "held_out" / "000000", PART_NAMES, [empty] * 4)
    else:
        shutil.copyfile(find_model("lmo.onnx") if candidate == "other" else config.model, file)
    before = file_sha256(config.model)
    result = refine(config)
    assert result.is_kept == is_kept and result.former.exists() == is_kept
    assert file_sha256(config.model) == before
    missed = [check.name for check in result.rendered_report.checks if check.is_met is False]
    expected = {"other": "classes and geometry", "forgetful": "recall"}
    assert expected[candidate] in missed if candidate in expected else not missed
    assert result.report.passed == (candidate != "other")


@pytest.mark.timeout(600)
def test_a_recording_refines_the_model_in_minutes_that_count_over_all_calls(labelled, tmp_path):
    config, _, stages = labelled
    assert set(stages) == {"track", "train pose"}
    config = again(config, tmp_path)
    before = file_sha256(config.model)
    with pytest.raises(ConfigError, match=r"enough for detector 0 steps, RoI head 0 steps.*as it was") as refusal:
        refine(dataclasses.replace(config, minutes=1e-6))
    assert "more --minutes" in refusal.value.hint

    reports = []

    def cancel(progress):
        reports.append(progress)
        if progress.stage == "train roi-head" and progress.done == 1:
            raise CancelledError("enough")

    with pytest.raises(CancelledError, match="same command goes on"):
        refine(config, cancel)
    assert stages_of(reports) == ["train pose", "train roi-head"]
    spent = json.loads((config.output / "progress.json").read_text())["minutes"]
    assert spent > 0.0
    with pytest.raises(ConfigError, match=f"detector {STEPS} steps, RoI head 1 step,"):
        refine(dataclasses.replace(config, minutes=spent), pytest.fail)
    assert not (config.output / config.model.name).exists() and file_sha256(config.model) == before

    rest = []
    result = refine(config, rest.append)
    assert stages_of(rest) == ["train roi-head", "gate"]
    # So many figures of a validation fit beside a progress bar.
    assert max(sum(name.startswith("val_") for name in item.figures) for item in [*reports, *rest]) == 3
    assert result.steps_done == {"pose": STEPS, "roi_head": STEPS} and result.minutes > spent
    assert result.learned >= 10 and result.held_out >= 4 and all(path.exists() for path in result.report_paths)
    assert result.rendered_report.samples == 6 and result.notes == ()
    assert result.is_kept == (result.report.passed and result.rendered_report.passed)
    assert result.is_kept == (file_sha256(config.model) != before)
    assert result.is_kept == json.loads((config.output / "result.json").read_text())["is_kept"]
    with pytest.raises(ConfigError, match="was learned from already"):
        refine(config)


def stages_of(reports) -> list[str]:
    """Return the stages that were reported, in their order."""
    return list(dict.fromkeys(item.stage for item in reports))


def test_what_cannot_be_refined_is_one_line(labelled, tmp_path):
    config, _, _ = labelled
    with pytest.raises(ConfigError, match="holds no onboarded model"):
        refine(dataclasses.replace(config, folder=tmp_path))
    with pytest.raises(DataError):
        refine(dataclasses.replace(config, bag=tmp_path / "missing"))
    with pytest.raises(ConfigError, match="no time to train in"):
        dataclasses.replace(config, minutes=0.0)
    bag = tmp_path / "recording_again"
    shutil.copytree(config.bag, bag)
    with pytest.raises(DataError, match=r"of 0 looked at; .* at frame 0 of 24") as refusal:
        refine(dataclasses.replace(config, bag=bag, minutes=1e-6))
    assert "--minutes" in refusal.value.hint
