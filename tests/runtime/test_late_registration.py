"""Detections that come late belong to the stamp of their image: they begin, confirm, correct and end tracks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from networks import save_pose_model
from object_pose.core.arrays import Array
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, RejectionReason
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.runtime.pose_estimator import PoseEstimator
from pose_scene import BRACKET_ID, MODELS, SHAFT_ID, SOLIDS, detect
from raycast import CAMERA, render_depth

PERIOD_NS, WALL_M = 33_000_000, 0.7
BRACKET_POSE = se3.make_transform(se3.exp_so3([0.5, -0.4, 0.3]), (-0.06, 0.0, 0.45))
SHAFT_POSE = se3.make_transform(se3.exp_so3([1.2, 0.3, 0.0]), (0.07, 0.02, 0.5))
LATE = 4
Placed = list[tuple[int, Array]]


class Stream:
    """A camera whose every frame is tracked, and whose detections come ``LATE`` frames after their image."""

    def __init__(self, estimator: PoseEstimator) -> None:
        self.estimator = estimator
        self.taken: list[tuple[Frame, Placed]] = []
        self.rejections: list[tuple[int, RejectionReason]] = []

    def see(self, placed: Placed, found: Placed | None = None) -> tuple[ObjectPose, ...]:
        """Take a frame of what is placed, of which the detector will find ``found``; returns the poses reported."""
        depth_m = render_depth([(SOLIDS[class_id], pose) for class_id, pose in placed], CAMERA, WALL_M)
        rgb = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
        frame = Frame(rgb, CAMERA, depth_m, len(self.taken) * PERIOD_NS)
        results = self.estimator.track(frame).results
        self.rejections = [(item.track_id, item.reason) for item in results.rejections]
        self.taken.append((frame, placed if found is None else found))
        if len(self.taken) > LATE:
            then, detected = self.taken[-1 - LATE]
            found_then = detect(detected) if detected else Detections.empty(8)
            self.estimator.register_late(then, detections=found_then)
        return results.poses


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """A camera and an estimator whose network cannot be opened."""
    model = save_pose_model(MODELS, CAMERA, [(BRACKET_ID, BRACKET_POSE)], tmp_path / "solids.onnx")
    estimator = PoseEstimator(model, tracker_config=TrackerConfig())
    estimator.prepare()
    model.unlink()
    return Stream(estimator)


def moved(pose: Array, steps: int, step_m: tuple[float, float, float] = (0.002, 0.001, 0.0)) -> Array:
    return se3.make_transform(pose[:3, :3], pose[:3, 3] + steps * np.array(step_m))


def test_a_late_pose_is_carried_to_the_newest_frame_and_keeps_its_id(stream: Stream) -> None:
    answers = [stream.see([(BRACKET_ID, moved(BRACKET_POSE, index))]) for index in range(20)]
    assert all(answer == () for answer in answers[: LATE + 1])
    for index in range(LATE + 1, 20):
        (pose,) = answers[index]
        np.testing.assert_allclose(pose.T_camera_object[:3, 3], moved(BRACKET_POSE, index)[:3, 3], atol=0.004)
    assert {pose.track_id for answer in answers for pose in answer} == {0}


def test_what_enters_later_gets_an_id_of_its_own(stream: Stream) -> None:
    for _ in range(10):
        stream.see([(BRACKET_ID, BRACKET_POSE)])
    both = [stream.see([(BRACKET_ID, BRACKET_POSE), (SHAFT_ID, SHAFT_POSE)]) for _ in range(10)]
    assert {pose.class_name: pose.track_id for pose in both[-1]} == {"bracket": 0, "shaft": 1}


def test_what_is_taken_away_is_said_to_be_lost_at_once(stream: Stream) -> None:
    for _ in range(10):
        stream.see([(BRACKET_ID, BRACKET_POSE), (SHAFT_ID, SHAFT_POSE)])
    poses = stream.see([(SHAFT_ID, SHAFT_POSE)])
    assert [pose.class_name for pose in poses] == ["shaft"]
    assert stream.rejections == [(0, RejectionReason.LOST)]
    # Detections of before, when it was there, do not bring it back.
    later = [stream.see([(SHAFT_ID, SHAFT_POSE)]) for _ in range(2 * LATE)]
    assert all([pose.class_name for pose in poses] == ["shaft"] for poses in later)


def test_detections_that_agree_change_nothing(stream: Stream) -> None:
    placed: Placed = [(BRACKET_ID, BRACKET_POSE)]
    for _ in range(8):
        stream.see(placed)
    before = stream.see(placed)
    after = [stream.see(placed) for _ in range(10)]
    for (pose,) in after:
        np.testing.assert_allclose(pose.T_camera_object, before[0].T_camera_object, atol=1e-3)


def test_a_track_is_not_lost_by_detections_that_miss_it(stream: Stream) -> None:
    """Depth confirms it: the detector is blind there."""
    placed: Placed = [(BRACKET_ID, BRACKET_POSE)]
    for _ in range(8):
        stream.see(placed)
    unseen = [stream.see(placed, found=[]) for _ in range(20)]
    assert all([pose.track_id for pose in poses] == [0] for poses in unseen)


def test_an_object_that_jumps_is_found_again_by_its_detections_under_its_id(stream: Stream) -> None:
    """Farther than tracking reaches between two frames."""
    for _ in range(10):
        stream.see([(BRACKET_ID, BRACKET_POSE)])
    elsewhere = moved(BRACKET_POSE, 1, (0.11, 0.03, 0.0))
    after = [stream.see([(BRACKET_ID, elsewhere)]) for _ in range(2 * LATE + 4)]
    assert after[0] == ()
    (pose,) = after[-1]
    assert pose.track_id == 0
    np.testing.assert_allclose(pose.T_camera_object[:3, 3], elsewhere[:3, 3], atol=0.003)


def test_detections_without_keypoints_confirm_and_begin_nothing(stream: Stream) -> None:
    for _ in range(10):
        stream.see([(BRACKET_ID, BRACKET_POSE)])
    frame, placed = stream.taken[-1]
    full = detect([*placed, (SHAFT_ID, SHAFT_POSE)])
    bare = replace(full, keypoint_sigmas=np.full_like(full.keypoint_sigmas, np.inf))
    results = stream.estimator.register_late(frame, detections=bare).results
    assert [pose.track_id for pose in results.poses] == [0]
    assert results.rejections == ()


def test_what_was_detected_before_time_jumped_back_begins_nothing(stream: Stream) -> None:
    for _ in range(10):
        stream.see([(BRACKET_ID, BRACKET_POSE)])
    frame, placed = stream.taken[-1]
    stream.estimator.forget_tracks()
    assert stream.estimator.register_late(frame, detections=detect(placed)).results.poses == ()
    assert stream.estimator.track(replace(frame, stamp_ns=0)).results.poses == ()


def test_nothing_is_detected_in_a_frame_without_detections(stream: Stream) -> None:
    for _ in range(6):
        stream.see([(BRACKET_ID, BRACKET_POSE)], found=[])
    frame, _ = stream.taken[0]
    assert stream.estimator.register_late(frame, detections=Detections.empty(8)).results.poses == ()


def test_what_is_followed_is_not_carried_again(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(LATE + 1):
        stream.see([(BRACKET_ID, BRACKET_POSE)])  # of the first of these frames a track began
    carrying = stream.estimator._aligners[1]
    monkeypatch.setattr(carrying, "align", lambda *_: pytest.fail("the track is there"))
    for _ in range(LATE):  # the frames from before the track
        (pose,) = stream.see([(BRACKET_ID, BRACKET_POSE)])
    assert pose.track_id == 0


def test_a_track_begins_however_fast_frames_come(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator, carrying = stream.estimator, stream.estimator._aligners[1]
    align, steps, count = carrying.align, [], LATE

    def frame_at(index: int) -> Frame:
        depth_m = render_depth([(SOLIDS[BRACKET_ID], BRACKET_POSE)], CAMERA, WALL_M)
        return Frame(np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8), CAMERA, depth_m, index * PERIOD_NS)

    def align_slowly(frame: Frame, expected: list[ObjectPose]) -> object:
        """Carry poses through a frame, while two more come unless tracking has to wait."""
        nonlocal count
        steps.append(frame.stamp_ns)
        for _ in range(2):
            if len(steps) < 30 and not estimator._lock.locked():
                estimator.track(frame_at(count))
                count += 1
        return align(frame, expected)

    monkeypatch.setattr(carrying, "align", align_slowly)
    for index in range(LATE):
        estimator.track(frame_at(index))
    estimator.register_late(frame_at(0), detections=detect([(BRACKET_ID, BRACKET_POSE)]))
    assert len(steps) < 10
    (pose,) = estimator.track(frame_at(count)).results.poses
    np.testing.assert_allclose(pose.T_camera_object[:3, 3], BRACKET_POSE[:3, 3], atol=0.004)
