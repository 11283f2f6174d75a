"""Starts beyond a detection's keypoints: where the object is expected, and where its first pose finds no support.

Keypoints fail in a few typical ways: the object taken for its own half turn, a flat object tilted to the wrong side,
a pose turned by some tens of degrees. Each becomes a start. Where keypoints fail altogether, the detection's box says
where, depth how far, and all orientations compete whose silhouette has the box's shape and size.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.candidates import Candidates, ModelViews, sphere_directions
from object_pose.core.pose.depth_evidence import DepthView
from object_pose.core.pose.pnp import KeypointTargets
from object_pose.core.results.pose import ObjectPose
from object_pose.core.vision.boxes import box_iou

_TILT_RAD = np.radians(25.0)
_SAME_ROTATION_RAD = np.radians(30.0)
_SAME_PLACE_IOU = 0.3
_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
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


def expected_starts(first: Candidates, expected: Sequence[ObjectPose], camera: Camera) -> Candidates:
    """Return a start for every detection of ``first`` and ``expected`` pose of its class that would fill its box."""
    if not expected or not len(first):
        return first.take(np.zeros(0, dtype=np.intp))
    boxes = np.stack([_projected_box(pose, camera) for pose in expected])
    class_ids = np.array([pose.class_id for pose in expected])
    same = (box_iou(first.boxes_xyxy, boxes) > _SAME_PLACE_IOU) & (first.class_ids[:, None] == class_ids)
    rows, columns = np.nonzero(same)
    transforms = np.stack([pose.T_camera_object for pose in expected])[columns]
    return first.take(rows).moved(transforms[:, :3, :3], transforms[:, :3, 3])


def _projected_box(pose: ObjectPose, camera: Camera) -> Array:
    """Return the (4,) pixels around the eight corners of an object's metric box."""
    corners = pose.box_center + 0.5 * pose.box_size * _CORNERS
    pixels = camera.project(se3.apply(pose.T_camera_object, corners))
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def half_turns(model: ObjectModel) -> Array:
    """Return (F, 4, 4) half turns about the box axes that are not symmetries of the object."""
    turns = []
    for axis in np.eye(3):
        rotation = se3.exp_so3(np.pi * axis)
        turn = se3.make_transform(rotation, model.box_center - rotation @ model.box_center)
        nearest = model.symmetry.closest(turn, np.eye(4))
        if se3.rotation_angle(nearest[:3, :3], np.eye(3)) > _SAME_ROTATION_RAD:
            turns.append(turn)
    return np.stack(turns) if turns else np.zeros((0, 4, 4))


def expand(candidates: Candidates, turns: Sequence[Array]) -> Candidates:
    """Return the candidates and all their variations; ``turns``, from ``half_turns``, are indexed by class id."""
    parts = [candidates, *_tilted(candidates)]
    for index, class_id in enumerate(candidates.class_ids):
        parts += [_turned(candidates.take(np.array([index])), turn) for turn in turns[class_id]]
    return Candidates.join(parts)


def _tilted(candidates: Candidates) -> list[Candidates]:
    """Turn about the camera's axes, to both sides."""
    twists = [sign * _TILT_RAD * axis for axis in np.eye(3) for sign in (-1.0, 1.0)]
    return [candidates.moved(se3.exp_so3(twist) @ candidates.rotation, candidates.translation) for twist in twists]


def _turned(candidate: Candidates, turn: Array) -> Candidates:
    """Assume that the network took the object for its half turn: the keypoints then belong to turned places."""
    rotation = candidate.rotation @ turn[:3, :3]
    translation = candidate.translation + candidate.rotation @ turn[:3, 3]
    # A half turn is its own inverse, so turning the object's keypoints undoes the change of the pose.
    points = se3.apply(turn, candidate.targets.points_object[0])[None]
    targets = KeypointTargets(points, candidate.targets.pixels, candidate.targets.sigmas)
    return dataclasses.replace(candidate, rotation=rotation, translation=translation, targets=targets)


@dataclass(frozen=True)
class RotationGrid:
    """(G, 3, 3) ``rotations`` spread evenly, without those that only turn about an axis of revolution.

    ``extents`` (G, 4) are the silhouettes' x_min, y_min, x_max, y_max in metres about the box centre, seen from afar.
    """

    rotations: Array
    extents: Array


def build_grid(model: ObjectModel, views: ModelViews) -> RotationGrid:
    """Tabulate the silhouettes of an object in all orientations."""
    rotations = spread_rotations(model.symmetry.axis)
    far = np.array([0.0, 0.0, _FAR_M]) - rotations @ model.box_center
    contours = views.contour_points[views.nearest(rotations, far)] - model.box_center
    contours = (contours @ np.swapaxes(rotations, 1, 2))[..., :2]
    return RotationGrid(rotations, np.concatenate([contours.min(axis=1), contours.max(axis=1)], axis=1))


def spread_rotations(axis: Array | None) -> Array:
    """Return rotations (G, 3, 3) spread evenly, without those that only turn about an ``axis`` of revolution (3,)."""
    return _all_rotations(_ROTATIONS) if axis is None else _axis_rotations(axis, _AXIS_DIRECTIONS)


@cache
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
