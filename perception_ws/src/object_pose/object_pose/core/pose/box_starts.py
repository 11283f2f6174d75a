"""Starts where keypoints fail altogether: the detection's box says where, depth how far, and all orientations compete.

Before depth is asked, the orientations whose silhouette does not have the box's shape and size are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry import se3
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.candidates import Candidates
from object_pose.core.pose.depth_view import DepthView
from object_pose.core.pose.model_views import ModelViews, sphere_directions

Array = NDArray[np.float64]

_ROTATIONS = 1024
_AXIS_DIRECTIONS = 128
_BEST_SHAPES = 96
_FAR_M = 1e3
# Depth is read in the middle of the box; its near part belongs to the object, unless something covers it.
_MIDDLE_SHARE = 0.6
_NEAR_PERCENTILE = 25.0
_MIN_PIXELS = 10
_DEPTH_DIAMETERS = 0.2
# A silhouette may be cut by an occluder but not be smaller than the box.
_TOO_SMALL_COST = 4.0


@dataclass(frozen=True)
class RotationGrid:
    """(G, 3, 3) ``rotations`` spread evenly, without those that only turn about an axis of revolution.

    ``extents`` (G, 4) are the silhouettes' x_min, y_min, x_max, y_max in metres about the box centre, seen from afar.
    """

    rotations: Array
    extents: Array


def build_grid(model: ObjectModel, views: ModelViews) -> RotationGrid:
    """Tabulate the silhouettes of an object in all orientations."""
    axis = model.symmetry.axis
    rotations = _all_rotations(_ROTATIONS) if axis is None else _axis_rotations(axis, _AXIS_DIRECTIONS)
    far = np.array([0.0, 0.0, _FAR_M]) - rotations @ model.box_center
    outlines = views.contour_points[views.nearest(rotations, far)] - model.box_center
    outlines = (outlines @ np.swapaxes(rotations, 1, 2))[..., :2]
    return RotationGrid(rotations, np.concatenate([outlines.min(axis=1), outlines.max(axis=1)], axis=1))


def _all_rotations(count: int) -> Array:
    """Spread rotations evenly (Alexa, "Super-Fibonacci spirals", 2022)."""
    index = np.arange(count) + 0.5
    radius, other = np.sqrt(index / count), np.sqrt(1.0 - index / count)
    a, b = 2.0 * np.pi * index / np.sqrt(2.0), 2.0 * np.pi * index / 1.533751168755204288118041
    quats = np.stack([radius * np.sin(a), radius * np.cos(a), other * np.sin(b), other * np.cos(b)], axis=1)
    return np.stack([se3.rotation_from_quat_wxyz(quat) for quat in quats])


def _axis_rotations(axis: Array, count: int) -> Array:
    """Turn ``axis`` into evenly spread directions, each by the shortest way."""
    return np.stack([_shortest_turn(axis, direction) for direction in sphere_directions(count)])


def _shortest_turn(start: Array, end: Array) -> Array:
    normal = np.cross(start, end)
    sine = float(np.linalg.norm(normal))
    if sine < 1e-9:
        return np.eye(3)
    return se3.exp_so3(normal / sine * np.arctan2(sine, start @ end))


def starts_in_box(base: Candidates, model: ObjectModel, grid: RotationGrid, depth: DepthView) -> Candidates | None:
    """Return starts for the detection of ``base`` (one candidate), or None where depth shows nothing in its box."""
    low, high = base.boxes_xyxy[0, :2], base.boxes_xyxy[0, 2:]
    near = _near_depth(low, high, depth)
    if near is None:
        return None
    middle, size = 0.5 * (low + high), np.maximum(high - low, 1.0)
    center = depth.camera.backproject(middle, np.array(near + _DEPTH_DIAMETERS * model.diameter))
    distance = float(np.linalg.norm(center))
    scale = np.array([depth.camera.fx, depth.camera.fy]) / distance
    misfit = np.log(np.maximum((grid.extents[:, 2:] - grid.extents[:, :2]) * scale / size, 1e-6))
    cost = np.sum(np.where(misfit < 0.0, _TOO_SMALL_COST, 1.0) * misfit**2, axis=1)
    chosen = np.argsort(cost)[:_BEST_SHAPES]
    # The grid is seen along z; turning it to the viewing ray shows the camera the same side.
    to_ray = _shortest_turn(np.array([0.0, 0.0, 1.0]), center / distance)
    rotation = to_ray @ grid.rotations[chosen]
    aside = -0.5 * (grid.extents[chosen, :2] + grid.extents[chosen, 2:])
    translation = center + aside @ to_ray[:, :2].T - rotation @ model.box_center
    return base.take(np.zeros(len(chosen), dtype=np.intp)).moved(rotation, translation)


def _near_depth(low: Array, high: Array, depth: DepthView) -> float | None:
    middle, half = 0.5 * (low + high), 0.5 * _MIDDLE_SHARE * (high - low)
    left, top = np.maximum(np.floor(middle - half), 0).astype(int)
    right, bottom = np.maximum(np.ceil(middle + half), 0).astype(int) + 1
    patch = depth.depth_m[top:bottom, left:right]
    measured = patch[patch > 0.0]
    return float(np.percentile(measured, _NEAR_PERCENTILE)) if len(measured) >= _MIN_PIXELS else None
