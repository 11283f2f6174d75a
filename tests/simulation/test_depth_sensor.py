"""The depth camera's errors are those of a D435: size, holes, steps."""

import numpy as np
import pytest

from object_pose.core.geometry.camera import Camera
from object_pose.simulation.depth_sensor import DepthSensor, DepthSensorConfig

CAMERA = Camera(640, 480, 610.0, 610.0, 319.5, 239.5)
NO_GLARE = np.zeros((480, 640), dtype=np.uint8)


def flat(depth_m):
    return np.full((480, 640), depth_m, dtype=np.float32)


def measure(depth_m, seed=0, glare=NO_GLARE, **options):
    sensor = DepthSensor(DepthSensorConfig(**options))
    return sensor.measure(depth_m, CAMERA, glare, np.random.default_rng(seed))


@pytest.mark.parametrize("depth_m", [0.5, 1.0, 1.5])
def test_noise_grows_with_the_square_of_depth(depth_m):
    measured = measure(flat(depth_m))
    expected = depth_m**2 * 0.08 / (424.0 * 0.05)
    assert (measured > 0).mean() > 0.99
    assert measured[measured > 0].std() == pytest.approx(expected, rel=0.25)
    assert measured[measured > 0].mean() == pytest.approx(depth_m, abs=0.2 * expected)


def test_noise_of_neighbours_is_correlated():
    error = measure(flat(1.0), jitter_px=0.0) - 1.0
    assert np.corrcoef(error[:, :-1].ravel(), error[:, 1:].ravel())[0, 1] > 0.5


def test_depth_comes_in_whole_millimetres_and_disparity_steps():
    measured = measure(flat(2.0), jitter_px=0.0)
    assert measured.dtype == np.float32
    np.testing.assert_allclose(measured * 1000, np.rint(measured * 1000), atol=2e-3)
    levels = np.unique(np.rint(measured[measured > 0] * 1000))
    step_mm = 1000 * 2.0**2 * 0.03125 / (424.0 * 0.05)
    assert np.diff(levels).min() == pytest.approx(step_mm, abs=1.0)


def test_the_same_random_state_gives_the_same_image():
    np.testing.assert_array_equal(measure(flat(0.7), seed=4), measure(flat(0.7), seed=4))
    assert not np.array_equal(measure(flat(0.7), seed=4), measure(flat(0.7), seed=5))


def test_too_near_too_far_and_nothing_are_holes():
    assert np.all(measure(flat(0.2)) == 0)
    assert np.all(measure(flat(7.0)) == 0)
    assert np.all(measure(flat(0.0)) == 0)


def test_the_background_left_of_an_edge_is_hidden_from_the_right_imager():
    scene = flat(1.0)
    scene[:, 300:400] = 0.5
    holes = (measure(scene, jitter_px=0.0, grazing_cos=0.0) == 0).mean(axis=0)
    shadow_px = round(610.0 * 0.05 * (1 / 0.5 - 1 / 1.0))
    assert np.all(holes[300 - shadow_px + 1 : 300] > 0.9)
    assert np.all(holes[300 - shadow_px - 20 : 300 - shadow_px - 1] < 0.1)
    assert np.all(holes[402:600] < 0.1)


def test_edges_have_flying_pixels_between_front_and_back():
    scene = flat(1.0)
    scene[:, 300:400] = 0.5
    measured = measure(scene, grazing_cos=0.0)
    flying = (measured > 0.55) & (measured < 0.9)
    assert flying[:, 398:403].sum() > 50 and flying[:, 410:].sum() == 0


def test_grazing_surfaces_and_highlights_drop_out_in_part():
    column = np.arange(640, dtype=np.float32)
    steep = np.repeat(np.clip(0.5 + 0.006 * column, 0, 5)[None], 480, axis=0)
    assert 0.2 < (measure(steep, jitter_px=0.0)[:, 10:30] == 0).mean() < 0.8
    dazzled = measure(flat(0.6), glare=np.full((480, 640), 128, dtype=np.uint8))
    assert 0.3 < (dazzled == 0).mean() < 0.7


def test_a_unit_with_a_scale_error_is_off_by_it_everywhere():
    assert np.median(measure(flat(0.8), scale_bias=0.01)) == pytest.approx(0.808, abs=1e-3)
