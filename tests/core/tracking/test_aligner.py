"""Known objects carried to the next frame by depth, against ray-cast truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.tracking.aligner import FrameAligner, LossReason, TrackStatus
from object_pose.core.tracking.view_model import ViewModel
from pose_scene import BRACKET_ID, MODELS, PLATE_ID, SHAFT_ID, SOLIDS, random_view
from raycast import CAMERA, add_sensor_noise, render_depth

WALL_M = 0.8
# 0.5 m/s and 90 degrees/s, at 30 frames a second.
STEP_M, STEP_RAD = 0.017, np.radians(3.0)
LOOSE = np.diag(np.repeat([0.02, 0.1], 3) ** -2.0)


@pytest.fixture(scope="module")
def aligner():
    return FrameAligner([ViewModel.of(model) for model in MODELS])


def frame_of(placed, camera=CAMERA, rng=None, background_m=WALL_M):
    depth = render_depth([(SOLIDS[class_id], pose) for class_id, pose in placed], camera, background_m)
    if rng is not None:
        depth = add_sensor_noise(depth, rng)
    return frame_with(depth, camera)


def frame_with(depth, camera=CAMERA):
    return Frame(np.zeros((camera.height, camera.width, 3), dtype=np.uint8), camera, depth)


def moved(pose, twist):
    """Return a pose after a left perturbation."""
    return se3.make_transform(se3.exp_so3(twist[3:]) @ pose[:3, :3], pose[:3, 3] + twist[:3])


def align(aligner, frame, placed, prior=LOOSE):
    class_ids = np.array([class_id for class_id, _ in placed])
    poses = np.stack([pose for _, pose in placed])
    return aligner.align(frame, class_ids, poses, np.tile(prior, (len(placed), 1, 1)))


def errors(aligned, truth, symmetry, row=0):
    pose = symmetry.closest(aligned.T_camera_object[row], truth)
    return np.linalg.norm(pose[:3, 3] - truth[:3, 3]), se3.rotation_angle(pose[:3, :3], truth[:3, :3])


directions = (
    st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)
)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    class_id=st.sampled_from([BRACKET_ID, SHAFT_ID]),
    shift=directions,
    turn=directions,
    size=st.floats(0.0, 1.0),
)
def test_a_motion_between_two_frames_is_recovered(aligner, seed, class_id, shift, turn, size):
    rng = np.random.default_rng(seed)
    truth = random_view(rng)
    twist = size * np.concatenate([STEP_M * shift / np.linalg.norm(shift), STEP_RAD * turn / np.linalg.norm(turn)])
    aligned = align(aligner, frame_of([(class_id, truth)], rng=rng), [(class_id, moved(truth, twist))])
    assert aligned.status[0] == TrackStatus.TRACKED
    translation, rotation = errors(aligned, truth, MODELS[class_id].symmetry)
    assert translation < 0.003
    assert np.degrees(rotation) < 3.0


@pytest.mark.parametrize(
    "model, coefficients", [("plumb_bob", (-0.25, 0.08, 0.001, -0.001, 0.0)), ("equidistant", (0.05, -0.01, 0.0, 0.0))]
)
def test_a_lens_is_honoured(aligner, model, coefficients):
    camera = Camera(*CAMERA.wh, CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy, coefficients, model)
    rng = np.random.default_rng(1)
    rotation = random_view(rng)[:3, :3]
    truth = se3.make_transform(rotation, (0.15, 0.1, 0.45))  # where the lens bends by many pixels
    frame = frame_of([(BRACKET_ID, truth)], camera)
    aligned = align(aligner, frame, [(BRACKET_ID, moved(truth, np.array([0.004, -0.003, 0.005, 0.02, 0.02, -0.02])))])
    translation, rotation = errors(aligned, truth, MODELS[BRACKET_ID].symmetry)
    assert translation < 0.001
    assert np.degrees(rotation) < 0.7


def test_an_occluder_is_no_error(aligner):
    rng = np.random.default_rng(2)
    for _ in range(5):
        truth = random_view(rng)
        start = moved(truth, np.array([0.003, -0.002, 0.004, 0.02, -0.02, 0.01]))
        frame = frame_of([(BRACKET_ID, truth)])
        covered = frame.depth_m.copy()
        column = int(CAMERA.project(truth[:3, 3])[0])
        covered[:, :column] = 0.3
        free, hidden = (align(aligner, item, [(BRACKET_ID, start)]) for item in (frame, frame_with(covered)))
        assert hidden.status[0] == TrackStatus.TRACKED
        assert hidden.depth.occluded[0] > 0.15
        assert hidden.depth.seen_through[0] < 0.1
        assert (
            errors(hidden, truth, MODELS[BRACKET_ID].symmetry)[0]
            < errors(free, truth, MODELS[BRACKET_ID].symmetry)[0] + 0.002
        )


def test_an_object_that_was_taken_away_is_lost(aligner):
    truth = random_view(np.random.default_rng(3))
    aligned = align(aligner, frame_of([]), [(BRACKET_ID, truth)])
    assert aligned.status[0] == TrackStatus.LOST
    assert aligned.reasons[0] == LossReason.SEEN_THROUGH
    np.testing.assert_array_equal(aligned.T_camera_object[0], truth)


def test_a_hidden_object_stays_where_it_is_expected(aligner):
    truth = random_view(np.random.default_rng(4))
    for depth, reason in ((0.2, LossReason.OCCLUDED), (0.0, LossReason.NOT_MEASURED)):
        hidden = np.full((CAMERA.height, CAMERA.width), depth, dtype=np.float32)
        aligned = align(aligner, frame_with(hidden), [(BRACKET_ID, truth)])
        assert aligned.status[0] == TrackStatus.OCCLUDED
        assert aligned.reasons[0] == reason
        np.testing.assert_array_equal(aligned.T_camera_object[0], truth)
        np.testing.assert_allclose(np.linalg.inv(aligned.covariance[0]), LOOSE, rtol=1e-3)


def test_an_object_outside_of_the_image_is_lost(aligner):
    pose = se3.make_transform(translation=(0.6, 0.0, 0.5))
    aligned = align(aligner, frame_of([]), [(BRACKET_ID, pose)])
    assert aligned.reasons[0] == LossReason.NOT_IN_IMAGE


def test_a_wrong_pose_is_never_called_tracked(aligner):
    """Whatever the jump, the pose is right or not ``TRACKED``."""
    rng = np.random.default_rng(5)
    tight = np.diag(np.repeat([0.002, 0.01], 3) ** -2.0)
    found = 0
    for _ in range(30):
        truth = random_view(rng)
        jump = np.concatenate([rng.normal(size=3) * 0.03, rng.normal(size=3) * 0.2])
        aligned = align(aligner, frame_of([(BRACKET_ID, truth)], rng=rng), [(BRACKET_ID, moved(truth, jump))], tight)
        if aligned.status[0] == TrackStatus.TRACKED:
            found += errors(aligned, truth, MODELS[BRACKET_ID].symmetry)[0] < 0.1 * MODELS[BRACKET_ID].diameter
            assert errors(aligned, truth, MODELS[BRACKET_ID].symmetry)[0] < 0.2 * MODELS[BRACKET_ID].diameter
    assert found >= 15


def test_many_objects_are_aligned_as_one_by_one(aligner):
    rng = np.random.default_rng(6)
    poses = [
        se3.make_transform(random_view(rng)[:3, :3], (x, y, 0.6)) for x, y in ((-0.15, 0.0), (0.0, 0.05), (0.14, -0.03))
    ]
    placed = list(zip((BRACKET_ID, SHAFT_ID, PLATE_ID), poses))
    frame = frame_of(placed, rng=rng)
    starts = [(class_id, moved(pose, rng.normal(size=6) * 0.004)) for class_id, pose in placed]
    together = align(aligner, frame, starts)
    for row, start in enumerate(starts):
        alone = align(aligner, frame, [start])
        np.testing.assert_allclose(together.T_camera_object[row], alone.T_camera_object[0], atol=1e-9)
        np.testing.assert_allclose(together.covariance[row], alone.covariance[0], rtol=1e-6)
        assert together.status[row] == alone.status[0]


def test_nothing_known_is_nothing_aligned(aligner):
    aligned = aligner.align(frame_of([]), np.zeros(0, dtype=int), np.zeros((0, 4, 4)), np.zeros((0, 6, 6)))
    assert len(aligned) == 0
    assert aligned.T_camera_object.shape == (0, 4, 4)


def test_the_prior_keeps_what_a_flat_surface_leaves_open(aligner):
    """A plate flush with a wall shows where its plane is, and nothing of its place or turn in it."""
    truth = se3.make_transform(translation=(0.0, 0.0, 0.5))
    frame = frame_of([(PLATE_ID, truth)], background_m=0.497)
    start = moved(truth, np.array([0.004, -0.003, 0.006, 0.02, -0.02, 0.0]))
    aligned = align(aligner, frame, [(PLATE_ID, start)])
    assert aligned.status[0] == TrackStatus.TRACKED
    pose, sigmas = aligned.T_camera_object[0], np.sqrt(np.diag(aligned.covariance[0]))
    np.testing.assert_allclose(pose[:2, 3], start[:2, 3], atol=5e-4)
    np.testing.assert_allclose(pose[2, 3], truth[2, 3], atol=5e-4)
    assert np.degrees(se3.rotation_angle(pose[:3, :3], truth[:3, :3])) < 0.3
    np.testing.assert_allclose(sigmas[[0, 1, 5]], [0.02, 0.02, 0.1], rtol=0.05)
    assert sigmas[2] < 0.001


def test_the_covariance_covers_the_error(aligner):
    rng = np.random.default_rng(7)
    inside = []
    for _ in range(60):
        truth = random_view(rng)
        start = moved(truth, np.concatenate([rng.normal(size=3) * 0.005, rng.normal(size=3) * 0.03]))
        aligned = align(aligner, frame_of([(BRACKET_ID, truth)], rng=rng), [(BRACKET_ID, start)])
        pose, covariance = aligned.T_camera_object[0], aligned.covariance[0]
        offset = np.concatenate([pose[:3, 3] - truth[:3, 3], se3.log_so3(pose[:3, :3] @ truth[:3, :3].T)])
        inside.append(offset @ np.linalg.solve(covariance, offset) < 12.6)  # 95 % of six degrees of freedom
    assert np.mean(inside) >= 0.8
