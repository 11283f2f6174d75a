"""Outlines: where a surface's silhouette ends in the image, and poses moved to where colour says it does."""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.stable_poses import StablePoses, support
from object_pose.core.pose.config import AcceptanceConfig, ContourConfig, PoseSolverConfig
from object_pose.core.pose.contour import ContourSurface, draw_contour, even_sample
from object_pose.core.pose.contour_alignment import MOST_STARTS, ColourView, align_contour
from object_pose.core.pose.misalignment import Cause, Misalignment
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import (
    Detections,
    VisibleMask,
    VisibleMasks,
)
from object_pose.core.tracking.view_model import ViewModel, draw_view_models
from object_pose.core.vision.roi import RoiWindow
from raycast import BRACKET, model_of, render_depth

_CAMERA = Camera(640, 480, 600.0, 600.0, 319.5, 239.5)
_RADIUS_M = 0.05
_LINES, _MARGIN = 120, 12
_LENIENT = AcceptanceConfig(max_translation_sigma_without_depth_m=1.0)
_MODEL = model_of("bracket", BRACKET)
_SURFACE = ContourSurface.of(_MODEL.surface_object)
_TRUTH = se3.make_transform(se3.exp_so3((0.5, -0.7, 0.4)), (0.02, -0.01, 0.5))
# What keypoints know: 30 mm along the ray, 5 mm across it, 6 degrees.
_COVARIANCE = np.diag([0.005, 0.005, 0.03, 0.1, 0.1, 0.1]) ** 2
_OFF = (0.004, -0.003, 0.025, 0.06, -0.05, 0.08)


def sphere(count: int = 4000) -> ContourSurface:
    """Return a sphere, sampled evenly along a spiral."""
    z = 1.0 - 2.0 * (np.arange(count) + 0.5) / count
    angle = np.pi * (1.0 + 5.0**0.5) * np.arange(count)
    ring = np.sqrt(1.0 - z**2)
    return ContourSurface.of(_RADIUS_M * np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1))


_SPHERE = sphere()


def picture(pose: Array, seed: int = 0, camera: Camera = _CAMERA) -> Image:
    """Return a mottled orange bracket before mottled grey."""
    rng = np.random.default_rng(seed)
    covered = render_depth([(BRACKET, pose)], camera) > 0.0
    mottled = rng.normal(0.0, 12.0, (camera.height, camera.width, 3))
    return np.clip(np.where(covered[..., None], (190, 120, 50), (110, 115, 120)) + mottled, 0, 255).astype(np.uint8)


def mottled_grey() -> Image:
    """Return a picture whose colours say nothing."""
    return np.random.default_rng(0).normal(115.0, 12.0, (480, 640, 3)).clip(0, 255).astype(np.uint8)


def moved(pose: Array, offset: Array | tuple[float, ...]) -> Array:
    """Return a pose after a left perturbation (dt, dr)."""
    return se3.make_transform(se3.exp_so3(offset[3:]) @ pose[:3, :3], pose[:3, 3] + offset[:3])


def errors(pose: Array) -> tuple[float, float]:
    """Return millimetres and degrees from the truth."""
    turn = np.degrees(np.linalg.norm(se3.log_so3(pose[:3, :3] @ _TRUTH[:3, :3].T)))
    return float(1e3 * np.linalg.norm(pose[:3, 3] - _TRUTH[:3, 3])), float(turn)


@given(count=st.integers(1, 300), seed=st.integers(0, 99))
def test_an_even_sample_is_of_the_points_and_leaves_no_hole(count: int, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-1.0, 1.0, (500, 3)) * (1.0, 1.0, 0.0)
    chosen = even_sample(points, count)
    assert 1 <= len(chosen) <= count
    assert {tuple(point) for point in chosen} <= {tuple(point) for point in points}
    apart = np.linalg.norm(points[:, None] - chosen, axis=2).min(axis=1)
    assert apart.max() < 2.0 * np.sqrt(4.0 / len(chosen)) * np.sqrt(2.0)


@given(x=st.floats(-0.1, 0.1), y=st.floats(-0.07, 0.07), z=st.floats(0.35, 1.2))
@example(x=0.09270009126706111, y=0.0, z=0.35)
def test_a_sphere_ends_where_rays_touch_it(x: float, y: float, z: float) -> None:
    center = np.array([x, y, z])
    contour = draw_contour(_SPHERE, se3.make_transform(translation=center), _CAMERA, _LINES, _MARGIN)
    assert contour is not None
    rays = _CAMERA.backproject(contour.pixels, np.ones(_LINES))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    beside_m = np.linalg.norm(np.cross(rays, center), axis=1)
    pixel_m = z / _CAMERA.fx
    # At most 0.31 in random places, 0.354 in the worst one that hypothesis found.
    assert abs(beside_m.mean() - _RADIUS_M) < 0.4 * pixel_m
    assert np.abs(beside_m - _RADIUS_M).max() < 1.6 * pixel_m
    assert np.all(np.abs(contour.depth_m - z) < _RADIUS_M)
    outward = contour.pixels - _CAMERA.project(center)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert np.min(np.sum(outward * contour.normals, axis=1)) > 0.8


def beside_silhouette_px(pose: Array) -> tuple[Array, Array]:
    """Return how far outside the bracket's silhouette, drawn four times as fine, a contour is, and its depth."""
    fine = Camera(4 * 640, 4 * 480, 4 * 600.0, 4 * 600.0, 4 * 320.0 - 0.5, 4 * 240.0 - 0.5)
    contour = draw_contour(_SURFACE, pose, _CAMERA, _LINES, _MARGIN)
    assert contour is not None
    covered = np.asarray(render_depth([(BRACKET, pose)], fine) > 0.0, dtype=np.uint8)
    outlines, _ = cv2.findContours(covered, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.asarray(cv2.drawContours(np.zeros_like(covered), outlines, -1, 1, cv2.FILLED))
    outside = cv2.distanceTransform(1 - filled, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(filled, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    at = (4.0 * (contour.pixels + 0.5) - 0.5).astype(np.float32)
    distance = cv2.remap(outside - inside, at[:, 0], at[:, 1], cv2.INTER_LINEAR).ravel()
    return np.asarray(distance, dtype=np.float64) / 4.0, contour.depth_m


@pytest.mark.parametrize("diameters", [1.5, 2.5, 4.0, 8.0])
@pytest.mark.parametrize("turn", [(0.5, -0.7, 0.4), (2.0, 0.3, -0.6), (-0.4, 1.9, 1.0)])
def test_a_contour_goes_along_the_silhouette_however_near_the_object_is(
    diameters: float, turn: tuple[float, ...]
) -> None:
    """From near the gaps between the points of the surface are wide: none may open the contour."""
    pose = se3.make_transform(se3.exp_so3(np.array(turn)), (0.0, 0.0, diameters * _MODEL.diameter))
    beside_px, depth_m = beside_silhouette_px(pose)
    spacing_px = _SURFACE.spacing_m * _CAMERA.fx / depth_m.mean()
    assert abs(np.median(beside_px)) < 0.15 * spacing_px + 0.15
    assert np.quantile(np.abs(beside_px), 0.98) < 0.8 * spacing_px + 0.3


@pytest.mark.parametrize(
    "translation", [(0.0, 0.0, -0.5), (2.0, 0.0, 0.5), (0.0, 0.0, 30.0)], ids=["behind", "beside", "far away"]
)
def test_what_cannot_be_seen_has_no_contour(translation: tuple[float, ...]) -> None:
    assert draw_contour(_SPHERE, se3.make_transform(translation=translation), _CAMERA, _LINES, _MARGIN) is None


@pytest.mark.parametrize("seed", range(4))
def test_a_pose_moves_to_where_colours_change(seed: int) -> None:
    offset = np.array(_OFF) * np.where(np.random.default_rng(seed).random(6) < 0.5, -1.0, 1.0)
    start = moved(_TRUTH, offset)
    fit = align_contour(ColourView(picture(_TRUTH, seed), _CAMERA), _SURFACE, start, _COVARIANCE)
    assert fit is not None
    millimetres, degrees = errors(fit.T_camera_object)
    assert millimetres < 4.0 < errors(start)[0]
    assert degrees < 3.0 < errors(start)[1]
    assert fit.agreement > 0.8
    # It knows that it knows more, and does not claim too much.
    assert fit.covariance[2, 2] < 0.05 * _COVARIANCE[2, 2]
    offset_left = np.concatenate(
        [fit.T_camera_object[:3, 3] - _TRUTH[:3, 3], se3.log_so3(fit.T_camera_object[:3, :3] @ _TRUTH[:3, :3].T)]
    )
    assert offset_left @ np.linalg.solve(fit.covariance, offset_left) < 22.5  # 99.9 % of six degrees of freedom


def test_a_mask_finds_the_pose_where_colours_say_nothing() -> None:
    grey = mottled_grey()
    covered = render_depth([(BRACKET, _TRUTH)], _CAMERA) > 0.0
    window = RoiWindow.around(box_of(covered), 80)
    seen = VisibleMask(window.cut_mask(covered, 40), np.array([*window.center, window.side]))
    start = moved(_TRUTH, _OFF)
    view = ColourView(grey, _CAMERA)
    fit = align_contour(view, _SURFACE, start, _COVARIANCE, mask=seen)
    assert fit is not None
    millimetres, degrees = errors(fit.T_camera_object)
    assert millimetres < 8.0 and degrees < 4.5
    blind = align_contour(view, _SURFACE, start, _COVARIANCE)
    assert blind is None or errors(blind.T_camera_object)[0] > 2.0 * millimetres


def box_of(covered: NDArray[np.bool_]) -> Array:
    """Return the (4,) box around the pixels of a mask (H, W)."""
    rows, columns = np.nonzero(covered)
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()], dtype=np.float64)


@pytest.mark.parametrize("blur_px", [0.8, 1.5])
def test_a_blurred_edge_lies_in_its_middle(blur_px: float) -> None:
    image = cv2.GaussianBlur(picture(_TRUTH), (0, 0), blur_px)
    fit = align_contour(ColourView(image, _CAMERA), _SURFACE, _TRUTH, _COVARIANCE)
    assert fit is not None
    assert abs(np.linalg.norm(fit.T_camera_object[:3, 3]) / np.linalg.norm(_TRUTH[:3, 3]) - 1.0) < 0.01


@pytest.mark.parametrize("share", [0.93, 1.08, 1.2])
def test_from_several_places_a_pose_is_found_that_lies_far_off(share: float) -> None:
    start = se3.make_transform(_TRUTH[:3, :3], share * _TRUTH[:3, 3])
    view, wide = ColourView(picture(_TRUTH), _CAMERA), np.diag([0.01, 0.01, 0.1, 0.1, 0.1, 0.1]) ** 2
    keypoints = _CAMERA.project(se3.apply(_TRUTH, _SURFACE.points))
    box = np.concatenate([keypoints.min(axis=0), keypoints.max(axis=0)])
    fit = align_contour(view, _SURFACE, start, wide, box, MOST_STARTS)
    once = align_contour(view, _SURFACE, start, wide)
    assert fit is not None
    assert once is not None
    assert errors(fit.T_camera_object)[0] < 4.0
    assert fit.agreement >= once.agreement - 0.02


def test_what_hides_a_part_of_it_does_not_pull() -> None:
    image = picture(_TRUTH)
    image[:, 355:] = (40, 60, 150)
    start = moved(_TRUTH, _OFF)
    fit = align_contour(ColourView(image, _CAMERA), _SURFACE, start, _COVARIANCE)
    assert fit is not None
    assert errors(fit.T_camera_object)[0] < 0.5 * errors(start)[0]


def test_where_colours_say_nothing_keypoints_keep_the_word() -> None:
    plain = np.full((480, 640, 3), 120, np.uint8)
    fit = align_contour(ColourView(plain, _CAMERA), _SURFACE, _TRUTH, _COVARIANCE)
    assert fit is not None
    assert errors(fit.T_camera_object)[0] < 2.0
    assert fit.agreement < 0.1
    assert fit.covariance[2, 2] > 0.2 * _COVARIANCE[2, 2]


def test_a_distorted_image_is_seen_as_a_pinhole_would() -> None:
    bent = dataclasses.replace(_CAMERA, distortion=(-0.25, 0.08, 0.001, -0.001, 0.0), distortion_model="plumb_bob")
    columns, rows = np.meshgrid(np.arange(640.0), np.arange(480.0))
    ideal = bent.undistort(np.stack([columns, rows], axis=-1).reshape(-1, 2)).reshape(480, 640, 2).astype(np.float32)
    image = cv2.remap(picture(_TRUTH), ideal[..., 0], ideal[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    fit = align_contour(ColourView(image, bent), _SURFACE, moved(_TRUTH, _OFF), _COVARIANCE)
    assert fit is not None
    assert errors(fit.T_camera_object)[0] < 5.0


def seemingly_further() -> Detections:
    """Return a detection whose keypoints lie as if the object were 6 % further away."""
    keypoints = _CAMERA.project(se3.apply(_TRUTH, _MODEL.keypoints_object))
    middle = keypoints.mean(axis=0)
    pixels = middle + 0.94 * (keypoints - middle)
    box = np.concatenate([keypoints.min(axis=0), keypoints.max(axis=0)])
    return Detections(box[None], np.array([0.9]), np.array([0]), pixels[None], np.full((1, 8), 2.0))


def test_the_solver_listens_to_masks_on_request_only() -> None:
    grey = mottled_grey()
    covered = render_depth([(BRACKET, _TRUTH)], _CAMERA) > 0.0
    window = RoiWindow.around(box_of(covered), 80)
    masks = VisibleMasks(window.cut_mask(covered, 40)[None], np.array([[*window.center, window.side]]))
    found = dataclasses.replace(seemingly_further(), masks=masks)
    off = {}
    for listens in (False, True):
        config = PoseSolverConfig(acceptance=_LENIENT, contour=ContourConfig(use_masks=listens))
        (pose,) = PoseSolver([_MODEL], config).solve(found, _CAMERA, rgb=grey).poses
        off[listens] = errors(pose.T_camera_object)[0]
    assert off[True] < 8.0 < 20.0 < off[False]


def test_the_solver_aligns_what_lacks_depth() -> None:
    found = seemingly_further()
    solver = PoseSolver([_MODEL], PoseSolverConfig(acceptance=_LENIENT))
    (by_keypoints,) = solver.solve(found, _CAMERA).poses
    (aligned,) = solver.solve(found, _CAMERA, rgb=picture(_TRUTH)).poses
    assert errors(aligned.T_camera_object)[0] < 4.0 < 20.0 < errors(by_keypoints.T_camera_object)[0]
    assert aligned.score > by_keypoints.score
    older = dataclasses.replace(_MODEL, surface_object=np.zeros((0, 3)))
    (as_before,) = (
        PoseSolver([older], PoseSolverConfig(acceptance=_LENIENT)).solve(found, _CAMERA, rgb=picture(_TRUTH)).poses
    )
    np.testing.assert_allclose(as_before.T_camera_object, by_keypoints.T_camera_object)


def in_doubt(off: tuple[float, ...] = (0.0,) * 6) -> tuple[Detections, NDArray[np.float32]]:
    """Return a detection of little score, and depth, as both are of the bracket moved by ``off``."""
    pose = moved(_TRUTH, off)
    pixels = _CAMERA.project(se3.apply(pose, _MODEL.keypoints_object))[None]
    box = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    found = Detections(box, np.array([0.05]), np.array([0]), pixels, np.full((1, 8), 3.0))
    return found, render_depth([(BRACKET, pose)], _CAMERA, background_m=0.7)


@functools.cache
def drawn() -> list[ViewModel]:
    return draw_view_models([_MODEL])


def judging(max_judged: int = 1) -> PoseSolver:
    """Return a solver that gives every pose, and looks at the contours of some."""
    acceptance = dataclasses.replace(_LENIENT, min_score=0.0)
    config = PoseSolverConfig(acceptance=acceptance, contour=ContourConfig(max_judged=max_judged))
    return PoseSolver([_MODEL], config, draw=lambda _: drawn())


def judged(found: Detections, depth_m: NDArray[np.float32], rgb: Image | None, max_judged: int = 1) -> float:
    """Return the score of the only pose."""
    (pose,) = judging(max_judged).solve(found, _CAMERA, depth_m, rgb=rgb).poses
    assert pose.depth_used
    return pose.score


@pytest.mark.parametrize("turn_deg", [0, 1, 2])
def test_what_depth_leaves_in_doubt_is_decided_by_the_contour(turn_deg: int) -> None:
    found, depth_m = in_doubt((0.001, 0.0, 0.0, 0.0, 0.0, np.radians(turn_deg)))
    by_depth = judged(found, depth_m, None)
    assert 0.01 < by_depth < 0.99
    assert judged(found, depth_m, picture(_TRUTH)) > by_depth > judged(found, depth_m, mottled_grey())


def test_no_contour_is_looked_at_where_none_is_asked_for() -> None:
    found, depth_m = in_doubt()
    assert judged(found, depth_m, mottled_grey(), max_judged=0) == judged(found, depth_m, None)
    assert PoseSolverConfig().contour.max_judged == 0


def test_contours_say_nothing_where_image_and_depth_are_known_to_be_apart() -> None:
    found, depth_m = in_doubt()
    misalignment = Misalignment(Cause.SHIFT, np.array([9.0, 0.0]), np.eye(2), objects=1)
    scores = [
        judging().solve(found, _CAMERA, depth_m, rgb=rgb, misalignment=misalignment).poses[0].score
        for rgb in (None, mottled_grey())
    ]
    assert scores[0] == scores[1]


def test_the_solver_knows_that_objects_stand_on_one_plane() -> None:
    """Of four brackets on a table, in a picture that says nothing, one seems to be 6 % further away."""
    normal = np.array([0.0, np.sin(0.9), np.cos(0.9)])
    rest = StablePoses.of(_MODEL.surface_object, _MODEL.diameter).poses[0]
    axis = np.cross(rest.down, normal)
    upright = se3.exp_so3(axis / np.linalg.norm(axis) * np.arccos(rest.down @ normal))
    keypoints, truths = [], []
    for x, y, turn in ((-0.2, -0.1, 0.3), (0.2, -0.1, 1.4), (-0.2, 0.15, 2.5), (0.2, 0.15, -0.7)):
        rotation = se3.exp_so3(turn * normal) @ upright
        reach = support(se3.make_transform(rotation, np.zeros(3)), rest, normal)
        ray = np.array([x, y, 1.0])
        truths.append(se3.make_transform(rotation, ray * (0.6 - reach) / (normal @ ray)))
        keypoints.append(_CAMERA.project(se3.apply(truths[-1], _MODEL.keypoints_object)))
    middle = keypoints[-1].mean(axis=0)
    keypoints[-1] = middle + 0.94 * (keypoints[-1] - middle)
    pixels = np.stack(keypoints)
    sigmas = np.repeat([[0.5], [0.5], [0.5], [4.0]], 8, axis=1)
    boxes = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    found = Detections(boxes, np.full(4, 0.9), np.zeros(4, dtype=np.int64), pixels, sigmas)
    off, sure = {}, {}
    for knows in (False, True):
        config = PoseSolverConfig(acceptance=_LENIENT, contour=ContourConfig(max_poses=4), support_plane=knows)
        poses = PoseSolver([_MODEL], config).solve(found, _CAMERA, rgb=mottled_grey()).poses
        assert len(poses) == 4
        places = np.array([pose.T_camera_object[:3, 3] for pose in poses])
        distances = np.stack([np.linalg.norm(places - truth[:3, 3], axis=1) for truth in truths])
        off[knows] = distances.min(axis=1)
        sure[knows] = [np.trace(poses[nearest].covariance) for nearest in distances.argmin(axis=1)]
    assert off[True][-1] < 0.5 * off[False][-1]
    assert max(off[True][:-1]) < 0.01
    np.testing.assert_allclose(sure[True], sure[False])
