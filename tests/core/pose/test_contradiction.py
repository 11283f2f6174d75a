"""Depth that is not where the image shows the object: not both sure and wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.pose.misalignment import Cause, Misalignment, find_misalignment
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import PoseResults, RejectionReason
from pose_scene import BRACKET_ID, MODELS, SOLIDS, detect
from raycast import CAMERA, add_sensor_noise, render_depth

WALL_M = 0.62
POSES = [
    se3.make_transform(se3.exp_so3(turn), (x, y, 0.45))
    for turn, x, y in (((2.2, 0.5, 0.3), -0.12, -0.06), ((1.9, -0.6, 0.2), 0.0, 0.05), ((2.4, 0.2, -0.9), 0.12, -0.05))
]


@pytest.fixture(scope="module")
def solver() -> PoseSolver:
    return PoseSolver(MODELS)


def seen(rng: np.random.Generator) -> Detections:
    """Return what a detector says whose boxes enclose what can be seen, to a pixel."""
    found = detect([(BRACKET_ID, pose) for pose in POSES], rng)
    boxes = []
    for pose in POSES:
        visible = np.argwhere(render_depth([(SOLIDS[BRACKET_ID], pose)], background_m=WALL_M) < WALL_M - 0.02)
        boxes.append([*visible.min(axis=0)[::-1], *visible.max(axis=0)[::-1]])
    return dataclasses.replace(found, boxes_xyxy=np.array(boxes, dtype=np.float64) + rng.normal(0.0, 1.0, (3, 4)))


def solve(solver: PoseSolver, shift: int, count: int = len(POSES), known: Misalignment | None = None) -> PoseResults:
    rng = np.random.default_rng(9)
    depth_m = render_depth([(SOLIDS[BRACKET_ID], pose) for pose in POSES], background_m=WALL_M)
    detections = seen(rng).select(np.arange(count))
    moved = np.roll(add_sensor_noise(depth_m, rng), shift, axis=1)
    return solver.solve(detections, CAMERA, moved, misalignment=known)


def errors_m(results: PoseResults) -> list[tuple[float, float, float]]:
    """Return score, error of the position and greatest sigma of every pose."""
    rows = []
    for pose in results.poses:
        offsets: Array = np.array([pose.T_camera_object[:3, 3] - truth[:3, 3] for truth in POSES])
        sigma = np.sqrt(np.linalg.eigvalsh(pose.covariance[:3, :3])[-1])
        rows.append((pose.score, float(np.linalg.norm(offsets, axis=1).min()), float(sigma)))
    return rows


def test_aligned_depth_gives_sure_poses(solver: PoseSolver) -> None:
    rows = errors_m(solve(solver, 0))
    assert len(rows) == len(POSES)
    assert all(score >= 0.5 and error < 0.002 for score, error, _ in rows), rows


@pytest.mark.parametrize("shift", [8, 10, 15, -15, 40])
def test_no_pose_is_sure_and_wrong_where_depth_is_shifted(solver: PoseSolver, shift: int) -> None:
    rows = errors_m(solve(solver, shift))
    assert all(score < 0.5 or error <= 3.0 * sigma for score, error, sigma in rows), rows


def test_poses_are_rejected_by_the_shift_that_several_objects_agree_on(solver: PoseSolver) -> None:
    results = solve(solver, 10)
    assert results.poses == ()
    assert [item.reason for item in results.rejections] == [RejectionReason.DEPTH_DISAGREES] * len(POSES)


def test_an_object_alone_loses_certainty_but_no_score(solver: PoseSolver) -> None:
    rows = errors_m(solve(solver, 10, count=1))
    assert len(rows) == 1
    score, error, sigma = rows[0]
    assert score > 0.9 and 0.01 < error < 3.0 * sigma


def test_the_shift_of_depth_is_recovered_from_three_objects(solver: PoseSolver) -> None:
    found = find_misalignment(solve(solver, 8).image_offsets)
    assert found is not None and found.cause is Cause.SHIFT
    np.testing.assert_allclose(found.parameters, (-8.0, 0.0), atol=2.0)
    assert find_misalignment(solve(solver, 0).image_offsets) is None


def test_what_other_images_showed_counts_where_an_image_cannot_tell(solver: PoseSolver) -> None:
    known = Misalignment(Cause.SHIFT, np.array([-5.0, 0.0]), np.eye(2), 20)
    (alone,), (warned,) = (solve(solver, 5, count=1, known=item).poses for item in (None, known))
    assert warned.score < alone.score
    assert warned.covariance[0, 0] > alone.covariance[0, 0] + (0.8 * 5.0 / CAMERA.fx * 0.45) ** 2
