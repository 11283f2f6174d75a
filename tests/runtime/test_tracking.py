"""Register and track: known objects are followed without the detector, keep their ids, and are lost, not drifted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cube import CAMERA as CUBE_CAMERA
from cube import HALF_SIZE_M, T_CAMERA_CUBE, make_cube
from networks import save_pose_model
from object_pose.core.arrays import Array
from object_pose.core.errors import ConfigError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.results.pose import RejectionReason
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.runtime.pose_estimator import FrameEstimate, PoseEstimator
from pose_scene import BRACKET_ID, MODELS, SHAFT_ID, SOLIDS, detect
from raycast import CAMERA, render_depth

PERIOD_NS = 66_000_000
WALL_M = 0.7
BRACKET_POSE = se3.make_transform(se3.exp_so3([0.5, -0.4, 0.3]), (-0.06, 0.0, 0.45))
SHAFT_POSE = se3.make_transform(se3.exp_so3([1.2, 0.3, 0.0]), (0.07, 0.02, 0.5))
Placed = list[tuple[int, Array]]


def seen(placed: Placed, index: int) -> Frame:
    """What a depth camera sees of solids before a wall; its colour shows nothing."""
    depth_m = render_depth([(SOLIDS[class_id], pose) for class_id, pose in placed], CAMERA, WALL_M)
    return Frame(np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8), CAMERA, depth_m, index * PERIOD_NS)


@pytest.fixture
def estimator(tmp_path: Path) -> PoseEstimator:
    """An estimator with a tracker whose network cannot be opened any more: nothing may detect."""
    model = save_pose_model(MODELS, CAMERA, [(BRACKET_ID, BRACKET_POSE)], tmp_path / "solids.onnx")
    estimator = PoseEstimator(model, tracker_config=TrackerConfig())
    model.unlink()
    return estimator


def register(estimator: PoseEstimator, placed: Placed, index: int = 0) -> dict[str, int]:
    """Register what is placed; returns the track ids by name."""
    found = estimator.register(seen(placed, index), detections=detect(placed)).results
    assert len(found.poses) == len(placed)
    return {pose.class_name: pose.track_id for pose in found.poses}


def poses(estimate: FrameEstimate) -> dict[str, Array]:
    return {pose.class_name: pose.T_camera_object for pose in estimate.results.poses}


def test_a_moving_object_is_followed_without_the_detector_and_keeps_its_id(estimator: PoseEstimator) -> None:
    placed: Placed = [(BRACKET_ID, BRACKET_POSE), (SHAFT_ID, SHAFT_POSE)]
    ids = register(estimator, placed)
    step = se3.make_transform(se3.exp_so3([0.01, 0.02, -0.02]), (0.003, 0.001, 0.002))
    pose = BRACKET_POSE
    for index in range(1, 9):
        pose = se3.make_transform(step[:3, :3] @ pose[:3, :3], pose[:3, 3] + step[:3, 3])
        found = estimator.track(seen([(BRACKET_ID, pose), (SHAFT_ID, SHAFT_POSE)], index))
        assert {item.class_name: item.track_id for item in found.results.poses} == ids
        assert found.results.rejections == () and all(item.depth_used for item in found.results.poses)
        np.testing.assert_allclose(poses(found)["bracket"][:3, 3], pose[:3, 3], atol=0.003)
        assert se3.rotation_angle(poses(found)["bracket"][:3, :3], pose[:3, :3]) < 0.08
        np.testing.assert_allclose(poses(found)["shaft"][:3, 3], SHAFT_POSE[:3, 3], atol=0.003)


def test_an_object_that_is_taken_away_is_lost_and_not_reported_elsewhere(estimator: PoseEstimator) -> None:
    placed: Placed = [(BRACKET_ID, BRACKET_POSE), (SHAFT_ID, SHAFT_POSE)]
    ids = register(estimator, placed)
    for index in range(1, 5):  # old enough to be bridged
        estimator.track(seen(placed, index))
    for index in range(5, 8):
        results = estimator.track(seen(placed[1:], index)).results
        assert [pose.class_name for pose in results.poses] == ["shaft"]
        (rejection,) = results.rejections
        assert (rejection.reason, rejection.track_id) == (RejectionReason.LOST, ids["bracket"])
        assert "depth sees through" in rejection.detail


def test_an_object_that_is_lost_for_a_moment_has_its_id_again(estimator: PoseEstimator) -> None:
    placed: Placed = [(BRACKET_ID, BRACKET_POSE), (SHAFT_ID, SHAFT_POSE)]
    ids = register(estimator, placed)
    estimator.track(seen(placed[1:], 1))
    assert register(estimator, placed, 2) == ids


def test_an_object_that_is_covered_is_bridged(estimator: PoseEstimator) -> None:
    placed: Placed = [(BRACKET_ID, BRACKET_POSE)]
    ids = register(estimator, placed)
    for index in range(1, 5):
        estimator.track(seen(placed, index))
    frame = seen(placed, 5)
    assert frame.depth_m is not None
    frame.depth_m[:] = np.minimum(frame.depth_m, np.float32(0.3))
    results = estimator.track(frame).results
    assert [rejection.reason for rejection in results.rejections] == [RejectionReason.DEPTH_DISAGREES]
    assert {pose.track_id for pose in results.poses} <= set(ids.values())
    assert all(pose.visibility == 0.0 for pose in results.poses)


@pytest.mark.parametrize("spoil", [lambda depth: None, np.zeros_like], ids=["none", "nothing measured"])
def test_without_usable_depth_the_contour_is_followed(spoil: Callable[[Array], Array | None], tmp_path: Path) -> None:
    model = save_pose_model([make_cube()], CUBE_CAMERA, [(0, T_CAMERA_CUBE)], tmp_path / "cube.onnx")
    estimator = PoseEstimator(model, tracker_config=TrackerConfig())

    def frame(offset_m: float, index: int) -> Frame:
        center = T_CAMERA_CUBE[:3, 3] + (offset_m, 0.0, 0.0)
        corners = CUBE_CAMERA.project(center + np.array([[-1, -1, -1], [1, 1, -1]]) * HALF_SIZE_M)
        rgb = np.full((CUBE_CAMERA.height, CUBE_CAMERA.width, 3), 80, np.uint8)
        (left, top), (right, bottom) = np.rint(corners).astype(int).tolist()
        cv2.rectangle(rgb, (left, top), (right, bottom), (200, 120, 40), -1)
        depth_m = spoil(np.ones(rgb.shape[:2], np.float32))
        return Frame(rgb, CUBE_CAMERA, depth_m, index * PERIOD_NS)

    (first,) = estimator.register(frame(0.0, 0)).results.poses
    for index in range(1, 6):
        (pose,) = estimator.track(frame(0.004 * index, index)).results.poses
        assert (pose.track_id, pose.depth_used) == (first.track_id, False)
        center = CUBE_CAMERA.project(pose.T_camera_object[:3, 3])
        moved = CUBE_CAMERA.project(T_CAMERA_CUBE[:3, 3] + (0.004 * index, 0.0, 0.0))
        np.testing.assert_allclose(center, moved, atol=3.0)
    lost = estimator.track(Frame(np.full_like(frame(0.0, 0).rgb, 80), CUBE_CAMERA, None, 6 * PERIOD_NS)).results
    assert lost.poses == () and [item.reason for item in lost.rejections] == [RejectionReason.LOST]


def test_what_leaves_the_image_is_rejected(estimator: PoseEstimator) -> None:
    register(estimator, [(BRACKET_ID, BRACKET_POSE)])
    T_world_camera = se3.make_transform(translation=(2.0, 0.0, 0.0))
    estimator.register(seen([(BRACKET_ID, BRACKET_POSE)], 1), np.eye(4), detect([(BRACKET_ID, BRACKET_POSE)]))
    results = estimator.track(seen([], 2), T_world_camera).results
    assert "not in the image" in results.rejections[0].detail


def test_objects_are_found_anew_when_it_is_time_or_one_was_lost(tmp_path: Path) -> None:
    model = save_pose_model(MODELS, CAMERA, [(BRACKET_ID, BRACKET_POSE)], tmp_path / "solids.onnx")
    estimator = PoseEstimator(model, tracker_config=TrackerConfig(register_interval_s=0.3))
    placed: Placed = [(BRACKET_ID, BRACKET_POSE)]
    frames = [placed] * 6 + [[]] + [placed] * 2
    found = [estimator.estimate(seen(there, index)) for index, there in enumerate(frames)]
    registered = ["inference" in estimate.timings_ms for estimate in found]
    #        first  0.3 s later                       lost before
    assert registered == [True, False, False, False, False, True, False, True, False]
    assert {pose.track_id for estimate in found for pose in estimate.results.poses} == {0}


def test_nothing_is_known_without_a_tracker(tmp_path: Path) -> None:
    model = save_pose_model([make_cube()], CUBE_CAMERA, [(0, T_CAMERA_CUBE)], tmp_path / "cube.onnx")
    with pytest.raises(ConfigError, match="no tracker"):
        PoseEstimator(model).track(seen([], 0))
