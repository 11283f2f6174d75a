"""Which frames of a recording teach: sure poses alone, new views, and nothing that the model only misses."""

from __future__ import annotations

import dataclasses
import weakref

import cv2
import numpy as np
import pytest

from object_pose.core.frame import NS_PER_S, Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose
from object_pose.core.vision.image import PADDING_VALUE
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.scenes.live import LiveConfig, LiveScene
from object_pose.workflows.teaching_frames import (
    SureFrame,
    TeachingConfig,
    TrackedFrame,
    diverse,
    labelled_frames,
    split_by_time,
    sure_frames,
    tracked_frames,
    tracking_estimator,
)

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
TEACHING = TeachingConfig()
GREY = Frame(np.full((48, 64, 3), 200, np.uint8), CAMERA, np.full((48, 64), 0.5, np.float32))
NOWHERE = np.zeros((0, 4))


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
    return [TrackedFrame(n, n, (pose(**values),), {1: agrees}, NOWHERE) for n, agrees in enumerate(agreements)]


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


def test_vague_and_weak_poses_teach_nothing():
    assert not sure_frames(tracked(True, True, sigma_m=0.01), [model()], TEACHING)
    assert not sure_frames(tracked(True, True, score=0.3), [model()], TEACHING)


def learned(unsure: list[ObjectPose], candidates: list[list[float]]):
    """Return the first of two frames with a sure pose, in which there are others and candidates."""
    agreements = {1: True} | {item.track_id: None for item in unsure}
    boxes = np.array(candidates).reshape(-1, 4)
    frames = [TrackedFrame(n, n, (pose(), *unsure), agreements, boxes) for n in (0, 1)]
    (found, _) = labelled_frames([GREY, GREY], sure_frames(frames, [model()], TEACHING))
    assert [item.track_id for item in found.poses] == [1] and found.depth_m is not None
    is_gone = np.any(found.rgb != 200, axis=2)
    np.testing.assert_array_equal(found.depth_m == 0.0, is_gone)
    return is_gone


def test_what_may_be_an_object_and_is_not_sure_is_neither_label_nor_background():
    unsure = dataclasses.replace(pose(track_id=2), box_xyxy=np.array([40.0, 5.0, 60.0, 20.0]))
    by_track = learned([unsure], [])
    by_candidate = learned([], [[40.0, 5.0, 60.0, 20.0]])  # no track ever found it
    at_the_border = learned([], [[50.3, 30.2, 70.0, 55.0]])
    for is_gone in (by_track, by_candidate):
        assert is_gone[5:21, 40:61].all() and is_gone.sum() == 16 * 21
    assert at_the_border[30:, 50:].all() and at_the_border.sum() == 18 * 14
    assert not learned([], []).any()


@pytest.mark.parametrize("box", [[10.0, 10.0, 30.0, 30.0], [5.0, 8.0, 32.0, 33.0], [12.0, 20.0, 20.0, 31.0]])
def test_candidates_of_a_sure_object_leave_it_in_the_picture(box):
    assert not learned([], [box]).any()


def test_frames_are_chosen_by_new_views():
    angles = np.radians([0, 0.1, 30, 30.1, 60])
    frames = [SureFrame(n, n, (pose(angle=angle),), NOWHERE) for n, angle in enumerate(angles)]
    assert [item.number for item in diverse(frames, 10, 2.0, fewest=2)] == [0, 2, 4]
    assert len(diverse(frames, 2, 2.0, fewest=2)) == 2 and len(diverse(frames, 10, 2.0, fewest=4)) == 4
    assert diverse([], 3, 2.0, 1) == []


def test_held_out_frames_are_stretches_of_time_apart_from_what_is_learned():
    frames = [SureFrame(n, n * NS_PER_S // 10, (pose(),), NOWHERE) for n in range(400)]
    taught, held_out = split_by_time(frames, 0.0)
    assert len(taught) == 300 and len(held_out) == 100
    taught, held_out = split_by_time(frames, 1.0)
    numbers = [item.number for item in held_out]
    assert len(taught) == 300 - 4 * 9 and numbers == [*range(100, 150), *range(300, 350)]
    stamps = np.array([[item.stamp_ns for item in taught]]).T - [item.stamp_ns for item in held_out]
    assert np.abs(stamps).min() == NS_PER_S
    assert split_by_time([], 1.0) == ([], [])


@pytest.mark.timeout(300)
def test_what_the_model_misses_is_painted_over_and_no_picture_is_kept():
    """A camera whose colours and lens the model does not know: it misses parts, of which some never have a track."""
    scene = LiveScene(5, LiveConfig(width=320, height=240, focal_px=305.0, duplicates=6, occlusion=False))
    truths, seen, most_alive = [], [], 0

    def recording():
        nonlocal most_alive
        for number in range(12):
            taken = scene.frame(number / 10.0, 0)
            warm = 0.7 * taken.frame.rgb * np.array([1.2, 0.95, 0.7]) + 40.0
            soft = np.clip(cv2.GaussianBlur(warm, (0, 0), 0.8), 0, 255).astype(np.uint8)
            frame = dataclasses.replace(taken.frame, rgb=soft, stamp_ns=number * 6 * NS_PER_S)
            truths.append(taken.truths)
            seen.append(weakref.ref(frame))
            most_alive = max(most_alive, sum(item() is not None for item in seen))
            yield frame

    estimator, teaching = PoseEstimator("parts.onnx"), TeachingConfig(check_every=1)
    tracks = list(tracked_frames(recording(), estimator, tracking_estimator(estimator), teaching))
    assert most_alive <= 5
    chosen = sure_frames(tracks, estimator.card.objects, teaching)
    shares = []
    for item, frame in zip(chosen, labelled_frames(recording(), chosen)):
        is_gone = np.all(frame.rgb == PADDING_VALUE, axis=2)
        for truth in truths[item.number]:
            near = [np.linalg.norm(truth.T_camera_object[:3, 3] - own.T_camera_object[:3, 3]) for own in frame.poses]
            if truth.visibility >= 0.3 and min(near) > 0.02:
                left, top, right, bottom = truth.box_xyxy.astype(int)
                shares.append(float(is_gone[top : bottom + 1, left : right + 1].mean()))
    assert len(shares) >= 20 and np.mean(np.array(shares) > 0.6) >= 0.9
