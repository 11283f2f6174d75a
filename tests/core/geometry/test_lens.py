"""The camera as kernels read it projects as the camera does, through every model of lens."""

import numpy as np
import pytest

from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.lens import lens_of, pixel_of, rays_of

SIZE = (160, 120, 140.0, 142.0, 79.5, 59.5)
CAMERAS = [
    Camera(*SIZE),
    Camera(*SIZE, (-0.2, 0.05, 0.001, -0.002, 0.01)),
    Camera(*SIZE, (0.1, 0.02, 0.001, 0.002, 0.01, 0.05, 0.01, 0.002, 0.001, -0.001, 0.002, 0.001, 0.02, -0.01)),
    Camera(*SIZE, (0.05, -0.01, 0.003, -0.001), "equidistant"),
]


@pytest.mark.parametrize("camera", CAMERAS)
def test_projects_as_the_camera_does(camera):
    rng = np.random.default_rng(0)
    rays = rng.uniform(-0.5, 0.5, (50, 2))
    ideal = rays * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    pixels = np.array([pixel_of(lens_of(camera), x, y) for x, y in rays])
    np.testing.assert_allclose(pixels, camera.distort(ideal), atol=1e-6)


@pytest.mark.parametrize("camera", CAMERAS[1:])
def test_rays_lead_back_to_their_pixels(camera):
    rays = rays_of(camera)
    for row, column in ((0, 0), (60, 80), (119, 159), (30, 150)):
        x, y = (float(value) for value in rays[row, column])
        np.testing.assert_allclose(pixel_of(lens_of(camera), x, y), (column, row), atol=1e-3)


def test_what_the_lens_does_not_see_is_in_no_image():
    camera = Camera(*SIZE, (-0.5, 0.0, 0.0, 0.0))
    u, v = pixel_of(lens_of(camera), 3.0, 0.0)
    assert not (0.0 <= u < camera.width and 0.0 <= v < camera.height)
