"""Rough poses weighed by a few points of their visible surface, each slid along its viewing ray to where it fits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask
from object_pose.core.kernels import kernel
from object_pose.core.matching.oriented_depth import STRIDE, OrientedDepth
from object_pose.core.tracking.view_model import Floats, Ints, ViewTables

_POINTS = 64
_STEPS = 12  # to either side along the ray
_TOLERANCE_SHARE, _LEAST_TOLERANCE_M, _SIGMAS = 0.06, 0.004, 2.0  # the first of the diameter
_SEEN_THROUGH, _OCCLUDED, _ON_PLANE = 0.6, 0.25, 0.3
_MIN_DEPTH_M = 0.05


def rank(
    tables: ViewTables,
    class_ids: NDArray[np.intp],
    poses: Array,
    scene: OrientedDepth,
    on_plane: Mask,
    reach_shares: Array,
) -> tuple[Array, Array]:
    """Return rough poses (N, 4, 4) slid along their rays, and how well each fits (N,): 1 is perfect.

    ``reach_shares`` (N,) are how far each may slide to either side, in diameters.
    """
    moved, support = np.array(poses, dtype=np.float64, order="C"), np.zeros(len(poses))
    if not len(poses):
        return moved, support
    camera = scene.view.camera
    _rank(
        np.require(scene.view.depth_m, np.float32, ("C", "W")),
        np.require(scene.view.front_m, np.float32, ("C", "W")),
        scene.normals,
        on_plane,
        np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
        np.array([scene.view.noise.floor_m, scene.view.noise.at_1m]),
        tables.surfaces,
        tables.visible,
        tables.visible_counts,
        tables.diameters,
        tables.centers,
        tables.directions,
        np.asarray(class_ids, dtype=np.intp),
        np.asarray(reach_shares, dtype=np.float64),
        moved,
        support,
    )
    return moved, support


@kernel
def _rank(
    depth: Floats,
    front: Floats,
    normals: Floats,
    on_plane: Mask,
    lens: Array,
    noise: Array,
    surfaces: Floats,
    visible: Ints,
    visible_counts: Ints,
    diameters: Floats,
    centers: Floats,
    directions: Floats,
    class_ids: NDArray[np.intp],
    reach_shares: Array,
    poses: Array,
    support: Array,
) -> None:
    height, width = depth.shape
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    gaps, agreement = np.empty(_POINTS), np.empty(_POINTS)
    for i in range(len(poses)):
        p, k = poses[i], class_ids[i]
        if p[2, 3] < _MIN_DEPTH_M:
            support[i] = -1.0
            continue
        sigma = math.sqrt(noise[0] ** 2 + (noise[1] * p[2, 3] ** 2) ** 2)
        limit = max(_TOLERANCE_SHARE * diameters[k], max(_LEAST_TOLERANCE_M, _SIGMAS * sigma))
        view = _nearest_view(p, centers[k], directions)
        count = min(visible_counts[k, view], _POINTS)
        usable = missing = 0
        for m in range(count):
            s = surfaces[k, visible[k, view, m]]
            x = p[0, 0] * s[0] + p[0, 1] * s[1] + p[0, 2] * s[2] + p[0, 3]
            y = p[1, 0] * s[0] + p[1, 1] * s[1] + p[1, 2] * s[2] + p[1, 3]
            z = p[2, 0] * s[0] + p[2, 1] * s[1] + p[2, 2] * s[2] + p[2, 3]
            if z < _MIN_DEPTH_M:
                continue
            column, row = int(fx * x / z + cx + 0.5), int(fy * y / z + cy + 0.5)
            if column < 0 or row < 0 or column >= width or row >= height:
                continue
            d = depth[row, column]
            # Beside an edge or a thin wire the nearer surface may be meant.
            near = front[row, column]
            is_beside = near > 0.0 and (d <= 0.0 or d - z > limit) and near - z > -limit
            if is_beside:
                d = near
            if d <= 0.0:
                missing += 1
                continue
            h, q = row // STRIDE, column // STRIDE
            cosine = 0.7
            if normals[h, q, 2] != 0.0 and not is_beside:
                cosine = 0.0
                for a in range(3):
                    cosine += normals[h, q, a] * (p[a, 0] * s[3] + p[a, 1] * s[4] + p[a, 2] * s[5])
            # What lies on a plane is no part of the object, however well it fits.
            is_on_plane = on_plane[h, q] and not is_beside
            gaps[usable], agreement[usable] = d - z, -_ON_PLANE if is_on_plane else max(cosine, 0.0)
            usable += 1
        if usable < 8:
            support[i] = -1.0
            continue
        step = 0.5 * limit
        reach = min(int(reach_shares[i] * diameters[k] / step), _STEPS)
        best, best_shift = -1e9, 0.0
        for t in range(-reach, reach + 1):
            shift = t * step
            score = 0.0
            for m in range(usable):
                gap = gaps[m] - shift
                if abs(gap) < limit:
                    score += (1.0 - abs(gap) / limit * 0.5) * agreement[m]
                elif gap > 0.0:
                    score -= _SEEN_THROUGH
                else:
                    score -= _OCCLUDED
            if score > best:
                best, best_shift = score, shift
        support[i] = best / (usable + 0.5 * missing)
        scale = 1.0 + best_shift / p[2, 3]
        for a in range(3):
            p[a, 3] *= scale


@kernel
def _nearest_view(p: Array, center: Floats, directions: Floats) -> int:
    """Return the index of the direction (V, 3) nearest to where the camera is, seen from the object at a pose."""
    best, best_cosine = 0, -1e30
    x = p[0, 3] + p[0, 0] * center[0] + p[0, 1] * center[1] + p[0, 2] * center[2]
    y = p[1, 3] + p[1, 0] * center[0] + p[1, 1] * center[1] + p[1, 2] * center[2]
    z = p[2, 3] + p[2, 0] * center[0] + p[2, 1] * center[1] + p[2, 2] * center[2]
    dx = -(p[0, 0] * x + p[1, 0] * y + p[2, 0] * z)
    dy = -(p[0, 1] * x + p[1, 1] * y + p[2, 1] * z)
    dz = -(p[0, 2] * x + p[1, 2] * y + p[2, 2] * z)
    for index in range(len(directions)):
        cosine = directions[index, 0] * dx + directions[index, 1] * dy + directions[index, 2] * dz
        if cosine > best_cosine:
            best, best_cosine = index, cosine
    return best
