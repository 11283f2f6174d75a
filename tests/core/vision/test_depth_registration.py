"""Registered depth is what the colour camera would measure: planes, steps and lenses, by geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.vision.depth_registration import register_depth

DEPTH = Camera(80, 60, 60.0, 60.0, 39.5, 29.5)
COLOR = Camera(96, 72, 90.0, 90.0, 47.5, 35.5)
LENS = Camera(96, 72, 90.0, 90.0, 47.5, 35.5, (0.05, -0.02, 0.001, -0.001, 0.0))


def plane_depth(camera: Camera, T_camera_world: np.ndarray, distance_m: float) -> np.ndarray:
    """Depth along z of the plane z = ``distance_m`` of the world, as a camera sees it."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    pixels = camera.undistort(np.stack([columns, rows], -1).astype(float))
    rays = np.concatenate([(pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy), np.ones((*rows.shape, 1))], -1)
    normal, offset = T_camera_world[:3, 2], T_camera_world[:3, 2] @ T_camera_world[:3, 3] + distance_m
    return (offset / (rays @ normal)).astype(np.float32)


@given(
    st.floats(0.3, 2.0),
    st.tuples(*[st.floats(-0.05, 0.05)] * 3),
    st.tuples(*[st.floats(-0.1, 0.1)] * 3),
    st.sampled_from([COLOR, LENS]),
)
def test_a_plane_stays_a_plane_wherever_the_cameras_stand(distance_m, shift, turn, color):
    T_color_depth = se3.make_transform(se3.exp_so3(np.array(turn)), shift)
    measured = plane_depth(DEPTH, np.eye(4), distance_m)
    registered = register_depth(measured, DEPTH, color, T_color_depth)
    expected = plane_depth(color, T_color_depth, distance_m)
    known = registered > 0
    assert known.mean() > 0.3
    # A pixel holds the depth of the depth pixel that covers it, whose middle is up to a pixel away.
    np.testing.assert_allclose(registered[known], expected[known], rtol=0.03)


def test_the_same_camera_changes_nothing():
    depth = np.random.default_rng(0).uniform(0.3, 2.0, (60, 80)).astype(np.float32)
    depth[::7] = 0.0
    np.testing.assert_allclose(register_depth(depth, DEPTH, DEPTH, np.eye(4)), depth, rtol=1e-6)


def test_what_is_near_hides_what_is_behind():
    depth = np.full((60, 80), 1.0, np.float32)
    depth[20:40, 30:50] = 0.4
    registered = register_depth(depth, DEPTH, COLOR, se3.make_transform(translation=(0.05, 0.0, 0.0)))
    row = registered[36]
    near = np.flatnonzero(np.isclose(row, 0.4))
    # 20 pixels at 0.4 m, seen 90 / 60 times as wide, and moved by 90 * 0.05 / 0.4.
    assert len(near) == pytest.approx(30, abs=1)
    assert near.mean() == pytest.approx(47.5 + 90.0 * 0.05 / 0.4, abs=1.0)
    assert np.all(np.isclose(row[:, None], (0.0, 0.4, 1.0)).any(axis=1))


def test_holes_and_points_behind_the_camera_stay_empty():
    assert not register_depth(np.zeros((60, 80), np.float32), DEPTH, COLOR, np.eye(4)).any()
    behind = se3.make_transform(translation=(0.0, 0.0, -2.0))
    assert not register_depth(np.full((60, 80), 1.0, np.float32), DEPTH, COLOR, behind).any()
    with pytest.raises(ValueError, match="depth_m"):
        register_depth(np.zeros((10, 10), np.float32), DEPTH, COLOR, np.eye(4))
