"""Intrinsics: what is known comes out, the lens model is chosen, and the uncertainty is that of the error."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.calibration.boards import parse_board
from object_pose.calibration.intrinsics import IntrinsicsConfig, calibrate_intrinsics, projection_difference
from object_pose.calibration.simulated import exact_view, pose_before
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera

BOARD = parse_board("charuco:12x9:0.02:0.015")
PLUMB_BOB = Camera(640, 480, 520.0, 523.0, 330.0, 235.0, (-0.25, 0.08, 0.001, -0.001, 0.0))
FISHEYE = Camera(640, 480, 240.0, 241.0, 318.0, 243.0, (0.03, -0.02, 0.005, -0.001), "equidistant")


def make_views(camera, count=16, sigma_px=0.1, seed=0):
    """Return views over the whole image, of which a fisheye's reach far to the sides."""
    reach = 0.12 if camera is PLUMB_BOB else 0.5
    generator = np.random.default_rng(seed)
    views = []
    while len(views) < count:
        distance, shift = generator.uniform(0.2, 0.4), generator.uniform(-reach, reach, 2)
        T = pose_before(BOARD, distance, generator.uniform(-0.6, 0.6, 2), generator.uniform(-1, 1), shift)
        view = exact_view(BOARD, camera, T, f"{len(views):02d}", generator, sigma_px)
        if len(view.pixels) >= 20:
            views.append(view)
    return views


@pytest.mark.parametrize("camera", [PLUMB_BOB, FISHEYE], ids=["plumb_bob", "equidistant"])
def test_a_camera_is_found_and_its_lens_model_chosen(camera):
    result = calibrate_intrinsics(make_views(camera))
    assert result.camera.distortion_model == camera.distortion_model
    assert result.fit.rms_px == pytest.approx(0.1 * np.sqrt(2), rel=0.1)
    assert result.camera.fx == pytest.approx(camera.fx, rel=3e-3)
    assert result.cross_validation_px < 1.5


def test_the_uncertainty_is_that_of_the_error():
    ratios = []
    for seed in range(6):
        result = calibrate_intrinsics(make_views(PLUMB_BOB, seed=seed), IntrinsicsConfig(lens_model="plumb_bob"))
        x, y = np.meshgrid(np.linspace(0, 639, 20), np.linspace(0, 479, 15))
        error = projection_difference(result.camera, PLUMB_BOB, np.stack([x, y], axis=-1))
        inner = (slice(3, -3), slice(4, -4))
        ratios.append(float(np.median(error[inner] / result.sigma_px[inner])))
    assert 0.4 < np.median(ratios) < 2.5


def test_a_rotation_of_the_camera_is_no_difference():
    turned = Camera(640, 480, 520.0, 520.0, 319.5, 239.5)
    x, y = np.meshgrid(np.linspace(200, 440, 5), np.linspace(150, 330, 5))
    pixels = np.stack([x, y], axis=-1)
    assert projection_difference(turned, turned, pixels).max() < 1e-9
    moved = Camera(640, 480, 520.0, 520.0, 321.5, 239.5)  # two pixels are as good as a turn
    assert projection_difference(turned, moved, pixels).max() < 0.2


def test_a_view_that_does_not_fit_is_named():
    views = make_views(PLUMB_BOB, 12)
    bad = views[5]
    spoilt = bad.pixels + np.random.default_rng(1).normal(0.0, 3.0, bad.pixels.shape)
    views[5] = type(bad)(bad.name, bad.image_wh, spoilt, bad.hypotheses)
    assert calibrate_intrinsics(views, IntrinsicsConfig(lens_model="plumb_bob")).rejected == (bad.name,)


def test_too_few_views_and_views_of_two_sizes_are_refused():
    views = make_views(PLUMB_BOB, 5)
    with pytest.raises(CalibrationError, match="at least 4"):
        calibrate_intrinsics(views[:3])
    other = views[0]
    with pytest.raises(CalibrationError, match="different sizes"):
        calibrate_intrinsics([*views, type(other)("x", (320, 240), other.pixels, other.hypotheses)])
