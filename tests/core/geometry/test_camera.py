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
from object_pose.core.geometry.camera import (
    Camera,
    distorted_mask,
    undistorted_depth,
    undistorted_image,
    undistortion_maps,
)

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


LENSES = {
    "plumb_bob": st.tuples(*[st.floats(-low, low) for low in (0.3, 0.1, 0.003, 0.003)]),
    "plumb_bob with k3": st.tuples(*[st.floats(-low, low) for low in (0.3, 0.1, 0.003, 0.003, 0.02)]),
    "rational_polynomial": st.tuples(*[st.floats(-low, low) for low in (0.3, 0.1, 0.003, 0.003, 0.02, 0.2, 0.1, 0.02)]),
    "thin prism": st.tuples(*[st.floats(-0.2, 0.2)] * 2, *[st.floats(-0.003, 0.003)] * 10),
    "tilted": st.tuples(*[st.floats(-0.2, 0.2)] * 2, *[st.floats(-0.003, 0.003)] * 10, *[st.floats(-0.05, 0.05)] * 2),
    "equidistant": st.tuples(*[st.floats(-low, low) for low in (0.1, 0.05, 0.02, 0.01)]),
}
wide_points = arrays(np.float64, (12, 2), elements=st.floats(-0.6, 0.6)).map(lambda p: np.hstack([p, np.ones((12, 1))]))


def lens(name: str, coefficients: tuple[float, ...]) -> Camera:
    return Camera(640, 480, 500.0, 510.0, 325.0, 236.0, coefficients, name if name == "equidistant" else "")


def opencv_pixels(points_camera: Array, camera: Camera) -> Array:
    """Project with OpenCV's own functions."""
    zero, coefficients = np.zeros(3), np.asarray(camera.distortion)
    if camera.distortion_model == "equidistant":
        return cv2.fisheye.projectPoints(points_camera[:, None], zero, zero, camera.matrix, coefficients)[0][:, 0]
    return cv2.projectPoints(points_camera, zero, zero, camera.matrix, coefficients)[0][:, 0]


@pytest.mark.parametrize("name", LENSES)
@given(data=st.data(), points_camera=wide_points)
def test_every_model_is_opencvs_and_its_inverse_is_exact(name: str, data: st.DataObject, points_camera: Array) -> None:
    camera = lens(name, data.draw(LENSES[name]))
    ideal = camera.project(points_camera)
    real = camera.distort(ideal)
    inside = camera.sees(ideal)
    np.testing.assert_allclose(real[inside], opencv_pixels(points_camera, camera)[inside], atol=1e-6)
    np.testing.assert_allclose(camera.undistort(real), ideal, atol=1e-4)


TURNING_BACK = [("plumb_bob", (-0.4, 0.12, 0.0, 0.0)), ("equidistant", (-1.1525, 2.9132, -2.4823, 0.1785))]


@pytest.mark.parametrize(("name", "coefficients"), TURNING_BACK)
@given(angle=st.floats(0.0, 6.28))
def test_a_lens_does_not_fold_back_beyond_its_field_of_view(
    name: str, coefficients: tuple[float, ...], angle: float
) -> None:
    camera, centre = Camera(640, 480, 500.0, 500.0, 319.5, 239.5, coefficients, name), np.array([319.5, 239.5])
    ray = centre + np.linspace(0.0, 4000.0, 500)[:, None] * [np.cos(angle), np.sin(angle)]
    real = camera.distort(ray)
    assert np.all(np.diff(np.linalg.norm(real - centre, axis=-1)) > 0.0)
    np.testing.assert_allclose(camera.undistort(real), ray, atol=1e-3)


def test_a_fisheye_bends_rays_even_without_coefficients() -> None:
    fisheye = Camera(640, 480, 300.0, 300.0, 319.5, 239.5, (0.0,) * 4, "equidistant")
    assert fisheye.is_distorted
    np.testing.assert_allclose(fisheye.undistort(np.array([319.5 + 300.0 * np.pi / 4, 239.5])), [619.5, 239.5])


def test_undistorted_images_are_opencvs() -> None:
    rgb = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8), (0, 0), 3)
    own = undistorted_image(rgb, REAL).astype(int)
    theirs = cv2.undistort(rgb, REAL.matrix, np.asarray(REAL.distortion)).astype(int)
    assert np.abs(own - theirs).max() <= 2
    fisheye = lens("equidistant", (0.05, -0.01, 0.002, 0.0))
    theirs = cv2.fisheye.undistortImage(rgb, fisheye.matrix, np.asarray(fisheye.distortion), Knew=fisheye.matrix)
    assert np.abs(undistorted_image(rgb, fisheye).astype(int) - theirs).max() <= 2
    assert undistorted_image(rgb, IDEAL) is rgb


def test_rays_that_a_lens_does_not_see_stay_empty() -> None:
    narrow = Camera(640, 480, 250.0, 250.0, 319.5, 239.5, (-0.3, 0.0, 0.0, 0.0))
    depth_m = undistorted_depth(np.ones((480, 640), np.float32), narrow)
    assert depth_m[240, 320] == 1.0 and depth_m[0, 0] == 0.0


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


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 100), st.integers(0, 100))
def test_crops_and_bins_are_those_of_the_image(bin_x: int, bin_y: int, x: int, y: int) -> None:
    columns, rows = np.meshgrid(np.arange(640.0), np.arange(480.0))
    part = REAL.cropped(x, y, 400, 300).binned(bin_x, bin_y)

    def of_image(values: Array) -> Array:
        kept = values[y : y + 300, x : x + 400][: 300 // bin_y * bin_y, : 400 // bin_x * bin_x]
        return kept.reshape(300 // bin_y, bin_y, 400 // bin_x, bin_x).mean(axis=(1, 3))

    assert part.wh == of_image(columns).shape[::-1]
    own_columns, own_rows = np.meshgrid(np.arange(float(part.width)), np.arange(float(part.height)))
    np.testing.assert_allclose((own_columns - part.cx) / part.fx, (of_image(columns) - REAL.cx) / REAL.fx, atol=1e-12)
    np.testing.assert_allclose((own_rows - part.cy) / part.fy, (of_image(rows) - REAL.cy) / REAL.fy, atol=1e-12)


def test_a_region_beyond_the_image_is_refused() -> None:
    with pytest.raises(CalibrationError, match="reaches beyond"):
        REAL.cropped(300, 0, 400, 100)


@pytest.mark.parametrize(
    "change",
    [
        {"fx": 0.0},
        {"fy": -1.0},
        {"cx": float("nan")},
        {"width": 0},
        {"distortion": (0.1, 0.2)},
        {"distortion": (0.1,) * 5, "distortion_model": "equidistant"},
        {"distortion_model": "equidistant"},
        {"distortion": (0.1,) * 4, "distortion_model": "omnidirectional"},
    ],
)
def test_impossible_intrinsics_are_refused(change: dict[str, object]) -> None:
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
