"""Depth against a plane, what views cover, and what a calibration is worth at a grasp point."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.calibration.boards import BoardView, parse_board
from object_pose.calibration.coverage import coverage, guidance
from object_pose.calibration.depth import calibrate_depth
from object_pose.calibration.simulated import exact_view, pose_before, simulate_hand_eye
from object_pose.calibration.verify import expected_grasp_errors, touch_off
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import apply, exp

CAMERA = Camera(320, 240, 280.0, 280.0, 159.5, 119.5, (-0.1, 0.02, 0.0, 0.0, 0.0))
BOARD = parse_board("charuco:9x6:0.05:0.035")


def plane_depth(T):
    y, x = np.mgrid[: CAMERA.height, : CAMERA.width].astype(np.float64)
    rays = CAMERA.backproject(CAMERA.undistort(np.stack([x, y], axis=-1)), np.ones(y.shape))
    return (T[:3, 2] @ T[:3, 3]) / (rays @ T[:3, 2])


def depth_scene(measure, count=12, distances=(0.5, 1.2)):
    generator = np.random.default_rng(0)
    views, depths = [], []
    for index in range(count):
        shift = generator.uniform(-0.1, 0.1, 2)
        T = pose_before(BOARD, generator.uniform(*distances), generator.uniform(-0.4, 0.4, 2), 0.0, shift)
        views.append(exact_view(BOARD, CAMERA, T, f"{index:02d}"))
        depths.append(measure(plane_depth(T)).astype(np.float32))
    return views, depths


@pytest.mark.parametrize("scale, offset", [(1.02, 0.004), (0.985, -0.01)])
def test_scale_and_offset_of_depth_are_found_and_undone(scale, offset):
    views, depths = depth_scene(lambda true: (true - offset) / scale)
    result = calibrate_depth(CAMERA, views, depths)
    assert result.scale == pytest.approx(scale, abs=1e-3)
    assert result.offset_m == pytest.approx(offset, abs=1e-3)
    assert result.rms_after_mm < 0.1 * result.rms_before_mm
    corrected = result.corrected(depths[0])
    good = depths[0] > 0
    np.testing.assert_allclose(corrected[good], scale * depths[0][good] + offset, atol=2e-3)


def test_boards_at_one_distance_give_a_scale_alone():
    views, depths = depth_scene(lambda true: true / 1.01, distances=(0.6, 0.61))
    result = calibrate_depth(CAMERA, views, depths)
    assert result.offset_m == 0.0 and result.scale == pytest.approx(1.01, abs=1e-3)


def test_depth_that_does_not_see_the_board_is_refused():
    views, depths = depth_scene(lambda true: np.zeros_like(true), 2)
    with pytest.raises(CalibrationError, match="no depth lies on the board"):
        calibrate_depth(CAMERA, views, depths)
    with pytest.raises(CalibrationError, match="not aligned"):
        calibrate_depth(CAMERA, views, [depth[:10] for depth in depths])


def test_coverage_says_what_is_missing_until_nothing_is():
    generator = np.random.default_rng(0)
    first = exact_view(BOARD, CAMERA, pose_before(BOARD, 0.9, np.zeros(2), 0.0), "first")
    said = [view.advice for view in coverage([first], CAMERA).missing()]
    assert any("top left" in sentence for sentence in said) and any("tilt" in sentence for sentence in said)
    views = [first]
    views.append(exact_view(BOARD, CAMERA, pose_before(BOARD, 0.42, np.zeros(2), 0.0), "near"))
    for _ in range(80):
        distance = generator.uniform(0.3, 1.3)
        shift = distance * generator.uniform(-0.45, 0.45, 2)
        T = pose_before(BOARD, distance, generator.uniform(-0.7, 0.7, 2), 0.0, shift)
        view = exact_view(BOARD, CAMERA, T, str(len(views)))
        if len(view.pixels) >= 12:
            views.append(view)
    assert coverage(views, CAMERA).missing() == []
    assert coverage(views, CAMERA).seen_share == 1.0


def test_guidance_speaks_of_the_newest_image():
    T = pose_before(BOARD, 0.9, np.array([0.1, 0.0]), 0.0)
    first = exact_view(BOARD, CAMERA, T, "first")
    assert "not visible" in guidance(None, []).advice
    assert "like first" in guidance(first, [first]).advice
    blurred = type(first)("second", first.image_wh, first.pixels + 60.0, first.hypotheses, 9.0)
    assert "blurred" in guidance(blurred, [first]).advice
    useful = guidance(first, [])
    assert useful.is_useful and "show the board" in useful.advice


def test_views_that_are_asked_for_cover_what_is_missing():
    views = [exact_view(BOARD, CAMERA, pose_before(BOARD, 0.9, np.zeros(2), 0.0), "first")]
    for _ in range(30):
        wanted = guidance(views[-1], views[:-1]).wanted
        if wanted is None:
            break
        contour = wanted.contour(BOARD, CAMERA.wh)
        assert (contour >= 0).all() and (contour <= np.array(CAMERA.wh) - 1).all()
        flat = BOARD.points_m[:, :2]
        rectangle = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * np.ptp(flat, axis=0) + flat.min(axis=0)
        to_image = cv2.getPerspectiveTransform(rectangle.astype(np.float32), contour.astype(np.float32))
        pixels = cv2.perspectiveTransform(flat[None], to_image)[0]
        views.append(BoardView(str(len(views)), CAMERA.wh, pixels, BOARD.points_m[None]))
    assert coverage(views).missing() == []


@given(st.floats(0.1, 3.0), st.floats(1e-5, 1e-2), st.floats(1e-5, 1e-2))
def test_a_rotation_errs_the_more_the_farther_a_point_is(distance, sigma_m, sigma_rad):
    covariance = np.diag(np.repeat([sigma_m**2, sigma_rad**2], 3))
    (error,) = expected_grasp_errors(np.eye(4), covariance, "eye_to_hand", 0.0, 0.0, CAMERA, 0.0, [distance])
    assert error.hand_eye_mm == pytest.approx(1e3 * np.hypot(sigma_m, distance * sigma_rad), rel=1e-6)
    assert error.robot_mm == 0.0


def test_touched_points_show_the_error_of_the_transform():
    truth = simulate_hand_eye(BOARD, CAMERA, samples=3, sigma_px=0.0, robot_sigma_mm=0.0, robot_sigma_deg=0.0)
    points = apply(truth.Y, BOARD.points_m)
    touched = {index: points[index] for index in (0, 7, 20)}
    wrong = truth.X @ exp([0.004, 0.0, 0.0, 0.0, 0.0, 0.0])
    for X, expected in ((truth.X, 0.0), (wrong, 4.0)):
        found = touch_off(CAMERA, BOARD, "eye_in_hand", X, truth.views[:1], truth.T_base_gripper[:1], touched)
        assert [item.point for item in found] == [0, 7, 20]
        assert [item.distance_mm for item in found] == pytest.approx([expected] * 3, abs=0.02)
    with pytest.raises(CalibrationError, match="no point 999"):
        touch_off(CAMERA, BOARD, "eye_in_hand", truth.X, truth.views, truth.T_base_gripper, {999: np.zeros(3)})
