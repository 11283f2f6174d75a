"""Aligns pose candidates with a depth image: along the viewing ray first, then projective point-to-plane ICP.

Every model point is compared with the depth at its own pixel, so no correspondence is searched for. Keypoints stay in
the same least-squares problem, because depth alone cannot see the turn of a plate in its plane or of a disc about its
axis. Chen and Medioni, "Object modelling by registration of multiple range images", 1992; the robust scale is annealed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage
from object_pose.core.geometry.lens import rotated
from object_pose.core.kernels import for_kernels, kernel
from object_pose.core.pose.candidates import Candidates, Surfaces, ViewTables, visible_surfaces
from object_pose.core.pose.depth_evidence import DepthView
from object_pose.core.pose.gauss_newton import MIN_DEPTH_M, fit_depth, looked_up, tolerance_at

_DAMPING = 1e-3
_RAY_TOLERANCE_M = 0.006
_RAY_PRIOR = 0.09
_SEEN_THROUGH, _OCCLUDED = 0.5, 0.2


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
    tables: ViewTables,
    depth: DepthView,
    relative_reach: Array,
    search: RaySearch = RaySearch(),
) -> Candidates:
    """Slide each candidate along its viewing ray to where most of its surface meets the depth image.

    ``relative_reach`` (B,) is how far the search goes to either side, as a share of the candidate's distance.
    """
    surfaces = visible_surfaces(candidates, tables)
    translation = _shifted(
        tables.points,
        tables.normals,
        surfaces.class_ids,
        surfaces.views,
        search.stride,
        depth.depth_m,
        depth.front_m,
        depth.noise.values,
        depth.pinhole,
        np.linspace(-1.0, 1.0, search.steps),
        for_kernels(relative_reach, np.float64),
        candidates.rotation,
        candidates.translation,
    )
    return candidates.moved(candidates.rotation, translation)


@kernel
def _shifted(
    points: Array,
    normals: Array,
    class_ids: NDArray[np.intp],
    views: NDArray[np.intp],
    stride: int,
    depth_m: DepthImage,
    front_m: DepthImage,
    noise: Array,
    pinhole: Array,
    steps: Array,
    relative_reach: Array,
    rotation: Array,
    translation: Array,
) -> Array:
    """Return the translations (B, 3) at the steps, from -1 to 1 of the reach, where most surface points agree."""
    result, votes = translation.copy(), np.empty(len(steps))
    for i in range(len(class_ids)):
        k, view, r, t = class_ids[i], views[i], rotation[i], translation[i]
        reach_m = relative_reach[i] * t[2]
        limit = max(tolerance_at(t[2], noise, _RAY_TOLERANCE_M), 1.2 * (steps[1] - steps[0]) * reach_m)
        facing, votes[:] = 0, 0.0
        for m in range(0, points.shape[2], stride):
            point, normal = points[k, view, m], normals[k, view, m]
            nx, ny, nz = rotated(r, normal[0], normal[1], normal[2])
            x, y, z = rotated(r, point[0], point[1], point[2])
            x, y, z = x + t[0], y + t[1], z + t[2]
            if nx * x + ny * y + nz * z >= 0.0:
                continue
            facing += 1
            if z <= 0.0:
                continue
            z = max(z, MIN_DEPTH_M)
            measured, _, _ = looked_up(depth_m, front_m, pinhole, x, y, z)
            if measured <= 0.0:
                continue
            for s in range(len(steps)):
                residual = (measured - z - steps[s] * reach_m) / limit
                votes[s] += max(1.0 - abs(residual), 0.0)
                if residual > 2.0:
                    votes[s] -= _SEEN_THROUGH
                elif residual < -2.0:
                    votes[s] -= _OCCLUDED
        best = -1e300
        for s in range(len(steps)):
            vote = votes[s] / max(facing, 1) - _RAY_PRIOR * steps[s] ** 2
            if vote > best:
                best = vote
                for axis in range(3):
                    result[i, axis] = t[axis] * (1.0 + steps[s] * relative_reach[i])
    return result


def refine(candidates: Candidates, tables: ViewTables, depth: DepthView, stage: Stage) -> tuple[Candidates, Surfaces]:
    """Align every candidate; returns them and the surface that was seen of each."""
    surfaces = visible_surfaces(candidates, tables)
    moved, _ = _fitted(candidates, surfaces, depth, np.array(stage.scales_m), stage.stride, _DAMPING)
    return moved, surfaces


def information(candidates: Candidates, surfaces: Surfaces, depth: DepthView, scale_m: float) -> Array:
    """Return the (B, 6, 6) information that depth and keypoints together hold about each pose."""
    return _fitted(candidates, surfaces, depth, np.array([scale_m]), 1, 0.0)[1]


def _fitted(
    candidates: Candidates, surfaces: Surfaces, depth: DepthView, scales_m: Array, stride: int, damping: float
) -> tuple[Candidates, Array]:
    rotation, translation = candidates.rotation.copy(), candidates.translation.copy()
    systems, tables = np.zeros((len(candidates), 6, 6)), surfaces.tables
    fit_depth(
        *candidates.targets.for_kernels(),
        depth.pinhole,
        tables.points,
        tables.normals,
        tables.areas,
        surfaces.class_ids,
        surfaces.views,
        stride,
        depth.depth_m,
        depth.front_m,
        depth.noise.values,
        scales_m,
        damping,
        rotation,
        translation,
        systems,
    )
    return candidates.moved(rotation, translation), systems
