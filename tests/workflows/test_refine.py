"""A model refined by a recording of what it tracks: only what is sure teaches, and only what is not worse is kept."""

from __future__ import annotations

import dataclasses
import shutil

import cv2
import numpy as np
import pytest

from object_pose.core.errors import ConfigError, DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.metrics.pose import match_frame
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose
from object_pose.io.bag_frames import write_frame
from object_pose.io.bags import make_typestore, write_bag
from object_pose.io.bop import bop_names, read_bop_scene
from object_pose.io.bop_writing import LabelledFrame
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.resources import find_model
from object_pose.simulation.generators.bop import write_bop_models
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.scenes.live import LiveConfig, LiveScene
from object_pose.workflows.promote import GateConfig
from object_pose.workflows.refine import RefineConfig, refine
from object_pose.workflows.teaching_frames import (
    TeachingConfig,
    TrackedFrame,
    diverse,
    split_by_time,
    sure_frames,
)
from object_pose.workflows.train import make_job, train
from small_training import NETWORK, RUN, SCENE

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
TEACHING = TeachingConfig()


def model() -> ObjectModel:
    points = np.random.default_rng(0).uniform(-0.03, 0.03, (50, 3))
    return ObjectModel("part", points[:8], points, points / 0.03, np.zeros(3), np.full(3, 0.06), 0.1)


def pose(track_id: int = 1, score: float = 0.9, sigma_m: float = 0.001, angle: float = 0.0) -> ObjectPose:
    return ObjectPose(
        class_id=0,
        class_name="part",
        score=score,
        T_camera_object=se3.make_transform(se3.exp_so3((0.0, angle, 0.0)), (0.0, 0.0, 0.5)),
        covariance=np.eye(6) * sigma_m**2,
        box_center=np.zeros(3),
        box_size=np.full(3, 0.06),
        box_xyxy=np.array([10.0, 10.0, 30.0, 30.0]),
        reprojection_rms_px=0.5,
        depth_rms_m=0.001,
        visibility=1.0,
        depth_used=True,
        track_id=track_id,
    )


def tracked(*agreements: bool | None, **values: float) -> list[TrackedFrame]:
    frame = Frame(np.full((48, 64, 3), 200, np.uint8), CAMERA, np.full((48, 64), 0.5, np.float32))
    return [TrackedFrame(frame, (pose(**values),), {1: agrees}) for agrees in agreements]


@pytest.mark.parametrize(
    ("agreements", "count"),
    [
        ((True, None, None, True, None), 4),  # what no detection confirms any more is not sure
        ((None, True, None), 0),
        ((True, None, False, None, True), 0),  # contradicted between
        ((True, True, False, True, None, True), 5),
    ],
)
def test_a_track_is_sure_between_detections_that_agree(agreements, count):
    assert len(sure_frames(tracked(*agreements), [model()], TEACHING)) == count


def test_vague_and_weak_poses_teach_nothing_and_what_is_doubtful_is_painted_over():
    assert not sure_frames(tracked(True, True, sigma_m=0.01), [model()], TEACHING)
    assert not sure_frames(tracked(True, True, score=0.3), [model()], TEACHING)
    doubtful = dataclasses.replace(pose(track_id=2), box_xyxy=np.array([40.0, 5.0, 60.0, 20.0]))
    frames = [
        dataclasses.replace(item, poses=(*item.poses, doubtful), agreements={1: True, 2: None})
        for item in tracked(True, True)
    ]
    first, _ = sure_frames(frames, [model()], TEACHING)
    assert [item.track_id for item in first.poses] == [1]
    assert first.rgb[10, 50].tolist() != [200, 200, 200] and first.rgb[20, 20].tolist() == [200, 200, 200]
    assert first.depth_m is not None and first.depth_m[10, 50] == 0.0 and first.depth_m[20, 20] == 0.5


def test_frames_are_chosen_by_new_views_and_held_out_as_stretches_of_time():
    image = np.zeros((48, 64, 3), np.uint8)
    frames = [LabelledFrame(image, None, CAMERA, (pose(angle=angle),)) for angle in np.radians([0, 0.1, 30, 30.1, 60])]
    chosen = diverse(frames, 10, 2.0, fewest=2)
    assert [item is frame for item, frame in zip(chosen, frames[::2])] == [True] * 3 and len(chosen) == 3
    assert len(diverse(frames, 2, 2.0, fewest=2)) == 2 and len(diverse(frames, 10, 2.0, fewest=4)) == 4
    learned, held_out = split_by_time(frames * 8)
    assert len(learned) == 30 and len(held_out) == 10
    assert diverse([], 3, 2.0, 1) == []


def as_another_camera_sees_it(frame: Frame) -> Frame:
    """Return a frame in other colours: warm light, less contrast, a soft lens."""
    warm = 0.7 * frame.rgb * np.array([1.2, 0.95, 0.7]) + 40.0
    return dataclasses.replace(frame, rgb=np.clip(cv2.GaussianBlur(warm, (0, 0), 0.8), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def onboarded(tmp_path_factory):
    """A folder as onboarding leaves it, with the shipped model in the place of one of minutes, and a recording."""
    folder = tmp_path_factory.mktemp("refine") / "mine"
    objects = part_objects()
    write_bop_models(folder, objects)
    shutil.copyfile(find_model("parts.onnx"), folder / "mine.onnx")
    common = {**SCENE, **RUN, "batch_size": 4, "validation_frames": 1, "reuse": 8, "steps": 1}
    for kind, values in (("pose", common | NETWORK), ("roi_head", common)):
        train(make_job(kind, folder / "runs" / kind, values))
    scene = LiveScene(0, LiveConfig(width=320, height=240, focal_px=305.0, occlusion=False, motion=2.0), objects)
    truths = []
    with write_bag(folder.parent / "recording", make_typestore()) as bag:
        for number in range(20):
            taken = scene.frame(number / 10.0, number * 100_000_000)
            write_frame(bag, as_another_camera_sees_it(taken.frame))
            truths.append(taken.truths)
    teaching = TeachingConfig(check_every=1, min_new_deg=0.1)
    gate = GateConfig(min_samples=4, max_loss=1.0, max_latency_ratio=100.0)
    options = {"workers": 0, "threads": 1, "validation_frames": 1}
    config = RefineConfig(
        folder, folder.parent / "recording", minutes=1e-6, teaching=teaching, gate=gate, options=options
    )
    return config, truths


@pytest.mark.timeout(600)
def test_a_recording_refines_the_model_and_the_gate_says_what_is_kept(onboarded):
    config, truths = onboarded
    before = file_sha256(config.model)
    reports = []
    result = refine(config, reports.append)
    assert {"track", "train pose", "train roi-head", "gate"} <= {item.stage for item in reports}
    # So many figures of a validation fit beside a progress bar.
    assert max(sum(name.startswith("val_") for name in item.figures) for item in reports) == 3
    assert result.learned >= 10 and result.held_out >= 4 and result.report_path.exists()
    assert result.steps_done == {"pose": 1, "roi_head": 1}
    assert result.is_kept == result.report.passed == (file_sha256(config.model) != before)

    objects = [item.model for item in part_objects()]
    names = bop_names([item.name for item in objects])
    # Each label is right: the frames are compared with the truth that the simulation knows.
    errors = []
    for item in read_bop_scene(config.output / "frames" / "learned" / "000000", names):
        best = min(
            (match_frame([_as_pose(truth) for truth in item.truths], known, objects, 0.0) for known in truths),
            key=lambda found: (len(found.false_poses), sum(match.add_share for match in found.matches)),
        )
        errors += [match.add_share for match in best.matches]
        assert not best.false_poses
    assert len(errors) >= 10 and np.mean(np.array(errors) < 0.1) >= 0.95
    with pytest.raises(ConfigError, match="was learned from already"):
        refine(config)


def _as_pose(truth) -> ObjectPose:
    return dataclasses.replace(pose(), class_id=truth.class_id, T_camera_object=truth.T_camera_object)


@pytest.mark.timeout(600)
def test_a_worse_model_is_not_kept_and_an_equal_one_is(onboarded, tmp_path):
    config, _ = onboarded
    if not (config.output / "frames").exists():
        pytest.skip("the frames come from the test before")
    for name, candidate, is_kept in (("worse", find_model("lmo.onnx"), False), ("equal", config.model, True)):
        bag = tmp_path / name
        shutil.copytree(config.bag, bag)
        again = dataclasses.replace(
            config, bag=bag, gate=GateConfig(min_samples=5, max_loss=0.0, max_latency_ratio=100.0)
        )
        shutil.copytree(config.output / "frames", again.output / "frames")
        shutil.copyfile(candidate, again.output / config.model.name)
        before = file_sha256(config.model)
        result = refine(again)
        assert result.is_kept == is_kept and file_sha256(config.model) == before
        assert result.former.exists() == is_kept


def test_what_cannot_be_refined_is_one_line(onboarded, tmp_path):
    config, _ = onboarded
    with pytest.raises(ConfigError, match="holds no onboarded model"):
        refine(dataclasses.replace(config, folder=tmp_path))
    with pytest.raises(DataError):
        refine(dataclasses.replace(config, bag=tmp_path / "missing"))
