"""Aligns pose candidates with a depth image: along the viewing ray first, then projective point-to-plane ICP.

Every model point is compared with the depth at its own pixel, so no correspondence is searched for. Keypoints stay in
the same least-squares problem, because depth alone cannot see the turn of a plate in its plane or of a disc about its
axis. Chen and Medioni, "Object modelling by registration of multiple range images", 1992; the robust scale is annealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.pose.candidates import Candidates, ModelViews, Surfaces, visible_surfaces
from object_pose.core.pose.depth_evidence import DepthView, SurfaceComparison, compare, tolerance
from object_pose.core.pose.pnp import normal_equations, reproject, step, tukey_weights

_RAY_TOLERANCE_M = 0.006
_RAY_PRIOR = 0.09
_SEEN_THROUGH, _OCCLUDED = 0.5, 0.2
_FAR = 10.0  # in tolerances: all the same from here on
# Neighbouring depth pixels share their noise over about this many pixels.
_CORRELATED_PX = 12.0
# While the scale is coarse, points meet the wrong surface about this share of it away.
_ASSOCIATION = 0.25
_GAP_SCALES = 3.0


@dataclass(frozen=True)
class Stage:
    """Part of the annealing: robust ``scales_m``, one per iteration, on every ``stride``-th surface point."""

    scales_m: tuple[float, ...]
    stride: int


@dataclass(frozen=True)
class RaySearch:
    """How finely a viewing ray is searched: ``steps`` places, every ``stride``-th surface point."""

    steps: int = 41
    stride: int = 2


COARSE = Stage((0.015, 0.013, 0.011, 0.010, 0.009, 0.008, 0.007, 0.006), 2)
FINE = Stage((0.006, 0.005, 0.004, 0.003), 1)


def shift_along_ray(
    candidates: Candidates,
    views: Sequence[ModelViews],
    depth: DepthView,
    relative_reach: Array,
    search: RaySearch = RaySearch(),
) -> Candidates:
    """Slide each candidate along its viewing ray to where most of its surface meets the depth image.

    ``relative_reach`` (B,) is how far the search goes to either side, as a share of the candidate's distance.
    """
    surfaces = visible_surfaces(candidates, views, search.stride)
    seen = compare(surfaces, candidates.rotation, candidates.translation, depth)
    steps = np.linspace(-1.0, 1.0, search.steps)
    shifts = steps * relative_reach[:, None]
    moved = shifts * candidates.translation[:, 2:3]
    limit = np.maximum(tolerance(candidates.translation, depth, _RAY_TOLERANCE_M), 1.2 * (moved[:, 1] - moved[:, 0]))
    # Single precision halves the cost of the one array here that is large: (B, N, steps).
    residual = (seen.gaps[:, :, None] - moved[:, None, :]) / limit[:, None, None]
    residual = np.clip(residual, -_FAR, _FAR).astype(np.float32)
    agreement = (
        np.maximum(1.0 - np.abs(residual), 0.0) - _SEEN_THROUGH * (residual > 2.0) - _OCCLUDED * (residual < -2.0)
    )
    votes = np.matmul(seen.usable[:, None].astype(np.float32), agreement)[:, 0]
    votes = votes / np.maximum(np.count_nonzero(seen.facing, axis=1), 1)[:, None] - _RAY_PRIOR * steps**2
    best = np.take_along_axis(shifts, np.argmax(votes, axis=1)[:, None], 1)
    return candidates.moved(candidates.rotation, candidates.translation * (1.0 + best))


def refine(
    candidates: Candidates, views: Sequence[ModelViews], depth: DepthView, stage: Stage
) -> tuple[Candidates, Surfaces]:
    """Align every candidate; returns them and the surface that was seen of each."""
    surfaces = visible_surfaces(candidates, views, stage.stride)
    rotation, translation = candidates.rotation, candidates.translation
    for scale_m in stage.scales_m:
        state = candidates.moved(rotation, translation)
        depth_information, depth_gradient = _depth_system(state, surfaces, depth, scale_m)
        information, gradient = _keypoint_system(state, depth)
        information, gradient = information + depth_information, gradient + depth_gradient
        rotation, translation = step(rotation, translation, information, gradient, damping=1e-3)
    return candidates.moved(rotation, translation), surfaces


def information(candidates: Candidates, surfaces: Surfaces, depth: DepthView, scale_m: float) -> Array:
    """Return the (B, 6, 6) information that depth and keypoints together hold about each pose."""
    by_depth, _ = _depth_system(candidates, surfaces, depth, scale_m)
    by_keypoints, _ = _keypoint_system(candidates, depth)
    return by_depth + by_keypoints


def _depth_system(candidates: Candidates, surfaces: Surfaces, depth: DepthView, scale_m: float) -> tuple[Array, Array]:
    seen = compare(surfaces, candidates.rotation, candidates.translation, depth)
    scale = tolerance(candidates.translation, depth, scale_m)[:, None]
    weights = np.maximum(1.0 - (seen.distances / scale) ** 2, 0.0) ** 2
    weights *= seen.usable & (np.abs(seen.gaps) < _GAP_SCALES * scale)
    weights *= _point_information(candidates.translation, surfaces, depth, scale_m)[:, None]
    return _plane_system(seen, weights)


def _point_information(translation: Array, surfaces: Surfaces, depth: DepthView, scale_m: float) -> Array:
    """Return (B,) 1 / variance of one model point, less where several share one independent piece of the image."""
    z = np.maximum(translation[:, 2], 1e-3)
    pixels = surfaces.areas * depth.camera.fx * depth.camera.fy / z**2
    independent = np.minimum(1.0, pixels / (_CORRELATED_PX * surfaces.points.shape[1]))
    return np.asarray(independent / (depth.noise.sigma(z) ** 2 + (_ASSOCIATION * scale_m) ** 2))


def _plane_system(seen: SurfaceComparison, weights: Array) -> tuple[Array, Array]:
    jacobian = np.empty((*seen.distances.shape, 6))
    jacobian[..., :3] = seen.normals
    p, n = seen.rotated, seen.normals
    jacobian[..., 3] = p[..., 1] * n[..., 2] - p[..., 2] * n[..., 1]
    jacobian[..., 4] = p[..., 2] * n[..., 0] - p[..., 0] * n[..., 2]
    jacobian[..., 5] = p[..., 0] * n[..., 1] - p[..., 1] * n[..., 0]
    weighted = np.swapaxes(jacobian * weights[..., None], 1, 2)
    return weighted @ jacobian, -(weighted @ seen.distances[..., None])[..., 0]


def _keypoint_system(candidates: Candidates, depth: DepthView) -> tuple[Array, Array]:
    state = reproject(candidates.targets, candidates.rotation, candidates.translation, depth.camera)
    weights = tukey_weights(state.whitened_residual)
    return normal_equations(state, candidates.targets, weights, depth.camera)
