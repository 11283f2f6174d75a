"""Depth images as the pose head sees them: what counts as measured, and where a pixel lies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from object_pose.core.arrays import Array, DepthImage
from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.pose.candidates import Candidates, ViewTables, build_views, visible_surfaces
from object_pose.core.pose.depth_evidence import DepthNoise, DepthView, gather_evidence, make_depth_view
from object_pose.core.pose.gauss_newton import looked_up
from object_pose.core.pose.pnp import KeypointTargets
from pose_scene import BRACKET_ID, MODELS, SOLIDS, random_view
from raycast import CAMERA, render_depth

NOISE = DepthNoise(0.0005, 0.004)
BRACKET_VIEWS = ViewTables.of([build_views(MODELS[BRACKET_ID])])
WALL_M = 0.62


def contrast_deficit(pose: Array, depth_m: DepthImage) -> float:
    """Return the share of the bracket's silhouette beside which depth goes on."""
    whole = np.array([[0.0, 0.0, CAMERA.width, CAMERA.height]])
    nothing = KeypointTargets(np.zeros((1, 0, 3)), np.zeros((1, 0, 2)), np.zeros((1, 0)))
    first = np.zeros(1, np.intp)
    candidate = Candidates(pose[None, :3, :3], pose[None, :3, 3], first, first, nothing, whole)
    depth = make_depth_view(depth_m, CAMERA, NOISE)
    evidence = gather_evidence(candidate, visible_surfaces(candidate, BRACKET_VIEWS), depth, 0.003)
    return float(evidence.boundary_contrast_deficit[0])


def look_up(view: DepthView, pixel: tuple[float, float], z: float = 0.6) -> tuple[float, float, float]:
    """Return depth and ray of the pixel nearest to ``pixel``, where a surface is expected at ``z``."""
    x, y, _ = view.camera.backproject(np.array(pixel), np.array(z))
    return looked_up(view.depth_m, view.front_m, view.pinhole, x, y, z)


def test_what_is_no_distance_counts_as_a_hole() -> None:
    depth_m = np.full((240, 320), 0.7, np.float32)
    depth_m[0, :4] = [np.nan, np.inf, -np.inf, -0.3]
    view = make_depth_view(depth_m, CAMERA, NOISE)
    np.testing.assert_array_equal(view.depth_m[0, :5], np.float32([0, 0, 0, 0, 0.7]))
    assert view.is_usable
    assert not make_depth_view(np.full((240, 320), np.nan, np.float32), CAMERA, NOISE).is_usable


def test_another_size_is_an_error_that_names_both() -> None:
    with pytest.raises(DataError, match=r"640x480.*320x240"):
        make_depth_view(np.ones((480, 640), np.float32), CAMERA, NOISE)


def test_looked_up_rays_lead_to_the_measured_point() -> None:
    depth_m = np.zeros((240, 320), np.float32)
    depth_m[100, 200] = 0.6
    view = make_depth_view(depth_m, CAMERA, NOISE)
    depth, ray_x, ray_y = look_up(view, (200.3, 99.6))
    assert depth == pytest.approx(0.6)
    assert look_up(view, (-5.0, 10.0))[0] == look_up(view, (900.0, 2.0))[0] == 0.0
    point = np.array([ray_x * 0.6, ray_y * 0.6, 0.6])
    np.testing.assert_allclose(CAMERA.project(point[None]), [[200.0, 100.0]], atol=1e-9)


def test_lens_distortion_is_taken_out() -> None:
    bent = Camera(320, 240, 300.0, 300.0, 159.5, 119.5, (0.2, 0.0, 0.0, 0.0))
    point = np.array([[0.2, 0.12, 0.6]])
    pixel = cv2.projectPoints(point, np.zeros(3), np.zeros(3), bent.matrix, np.asarray(bent.distortion))[0][0, 0]
    depth_m = np.full((240, 320), 1.0, np.float32)
    column, row = np.rint(pixel).astype(int)
    depth_m[row - 1 : row + 2, column - 1 : column + 2] = 0.6
    assert look_up(make_depth_view(depth_m, bent, NOISE), bent.project(point)[0])[0] == pytest.approx(0.6)


def test_noise_grows_with_distance_from_its_floor() -> None:
    np.testing.assert_allclose(NOISE.sigma(np.array([0.0, 1.0])), [0.0005, np.hypot(0.0005, 0.004)])
    assert np.all(np.diff(NOISE.sigma(np.linspace(0.1, 2.0, 20))) > 0.0)


def test_where_two_surfaces_meet_the_expected_one_is_looked_up() -> None:
    depth_m = np.full((240, 320), 0.8, np.float32)
    depth_m[:, 160] = 0.7  # a wire one pixel wide
    view = make_depth_view(depth_m, CAMERA, NOISE)
    found = [look_up(view, (column, 100.0), z)[0] for column, z in ((161.0, 0.71), (161.0, 0.79), (170.0, 0.7))]
    np.testing.assert_allclose(found, [0.7, 0.8, 0.8], rtol=1e-6)


def test_a_hole_at_the_border_is_no_far_surface() -> None:
    depth_m = np.full((240, 320), 0.8, np.float32)
    depth_m[:40, :50] = 0.0
    view = make_depth_view(depth_m, CAMERA, NOISE)
    np.testing.assert_array_equal(view.front_m[:39, :49], 0.0)
    assert look_up(view, (0.0, 0.0))[0] == 0.0


def test_noise_of_one_surface_is_no_second_one() -> None:
    rng = np.random.default_rng(0)
    depth_m = (1.0 + 0.001 * rng.standard_normal((240, 320))).astype(np.float32)
    view = make_depth_view(depth_m, CAMERA, NOISE)
    np.testing.assert_array_equal(view.front_m, view.depth_m)


@pytest.mark.parametrize("widened_px", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_an_object_in_the_open_stands_out_though_the_camera_widens_it(widened_px: int, seed: int) -> None:
    pose = random_view(np.random.default_rng(seed))
    exact = render_depth([(SOLIDS[BRACKET_ID], pose)], background_m=WALL_M)
    around = np.ones((2 * widened_px + 1, 2 * widened_px + 1), np.uint8)
    assert contrast_deficit(pose, cv2.erode(exact, around)) <= 0.1


def test_a_pose_in_the_middle_of_a_wall_does_not_stand_out() -> None:
    pose = se3.make_transform(translation=(0.0, 0.0, 0.45))
    face_m = float(render_depth([(SOLIDS[BRACKET_ID], pose)], background_m=WALL_M)[120, 160])
    assert face_m < WALL_M - 0.01
    assert contrast_deficit(pose, np.full((240, 320), face_m, np.float32)) > 0.5
