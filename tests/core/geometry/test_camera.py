"""The camera: projection and its inverse, pixel centres, distortion, and refusals."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera, distorted_mask, undistortion_maps

IDEAL = Camera(640, 480, 600.0, 610.0, 319.5, 239.5)
REAL = Camera(640, 480, 600.0, 610.0, 325.0, 236.0, (0.12, -0.2, 0.001, -0.002, 0.05))

points = arrays(np.float64, (6, 3), elements=st.floats(-0.3, 0.3)).map(lambda p: p + np.array([0.0, 0.0, 0.8]))


@given(points)
def test_back_projection_undoes_projection(points_camera: Array) -> None:
    pixels = IDEAL.project(points_camera)
    np.testing.assert_allclose(IDEAL.backproject(pixels, points_camera[:, 2]), points_camera, atol=1e-12)


@given(points, arrays(np.float64, 3, elements=st.floats(-1.0, 1.0)))
def test_pixels_move_with_their_points_as_the_jacobian_says(points_camera: Array, direction: Array) -> None:
    step = 1e-5 * direction
    moved = (IDEAL.project(points_camera + step) - IDEAL.project(points_camera - step)) / 2.0
    np.testing.assert_allclose(IDEAL.projection_jacobian(points_camera) @ step, moved, atol=1e-6)


def test_the_optical_axis_of_a_centred_camera_meets_the_middle_of_the_image() -> None:
    np.testing.assert_allclose(IDEAL.project(np.array([[0.0, 0.0, 1.0]])), [[319.5, 239.5]])


@given(points)
def test_undistorting_what_opencv_distorts_gives_the_ideal_pixels(points_camera: Array) -> None:
    distorted, _ = cv2.projectPoints(points_camera, np.zeros(3), np.zeros(3), REAL.matrix, np.asarray(REAL.distortion))
    np.testing.assert_allclose(REAL.undistort(distorted[:, 0]), REAL.project(points_camera), atol=0.05)


def test_an_undistorted_camera_leaves_pixels_alone() -> None:
    pixels = np.array([[1.0, 2.0], [300.0, 5.0]])
    np.testing.assert_array_equal(IDEAL.undistort(pixels), pixels)
    assert REAL.undistort(np.zeros((0, 2))).shape == (0, 2)


@given(points, st.integers(1, 4))
def test_a_resized_image_shows_the_same_points(points_camera: Array, factor: int) -> None:
    small = IDEAL.resized(IDEAL.width // factor, IDEAL.height // factor)
    # A pixel of the small image covers factor x factor pixels, whose centres average to its own.
    centres = (small.project(points_camera) + 0.5) * IDEAL.width / small.width - 0.5
    np.testing.assert_allclose(centres[:, 0], IDEAL.project(points_camera)[:, 0], atol=1e-9)


@pytest.mark.parametrize(
    "change",
    [{"fx": 0.0}, {"fy": -1.0}, {"cx": float("nan")}, {"width": 0}, {"distortion": (0.1, 0.2)}],
)
def test_impossible_intrinsics_are_refused(change: dict[str, float]) -> None:
    values = {"width": 640, "height": 480, "fx": 600.0, "fy": 600.0, "cx": 319.5, "cy": 239.5} | change
    with pytest.raises(CalibrationError):
        Camera(**values)  # type: ignore[arg-type]


def test_a_mask_of_the_ideal_image_comes_back_from_the_real_one() -> None:
    ideal = np.zeros((480, 640), dtype=bool)
    ideal[100:300, 200:500] = True
    real = distorted_mask(ideal, REAL)
    again = cv2.remap(real.astype(np.uint8), *undistortion_maps(REAL), cv2.INTER_NEAREST) > 0
    assert np.mean(real != ideal) > 0.001
    assert np.mean(again != ideal) < 0.1 * np.mean(real != ideal)
    assert np.array_equal(distorted_mask(ideal, IDEAL), ideal)
