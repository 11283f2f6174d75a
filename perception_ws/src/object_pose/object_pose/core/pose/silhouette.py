"""What the outline of a pose says: does it stand out from its surroundings, and does it fill the detection's box?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry.camera import Camera
from object_pose.core.pose.candidates import Candidates, Surfaces
from object_pose.core.pose.depth_view import DepthView

Array = NDArray[np.float64]

_RING_PX = 3.0
_RING_STRIDE = 2
_MIN_DEPTH_M = 1e-3


def boundary_contrast_deficit(candidates: Candidates, surfaces: Surfaces, depth: DepthView, tolerance: Array) -> Array:
    """Return (B,) the share of the silhouette just outside of which depth goes on as if the object did.

    An object that lies in the open has edges all around; a pose sunk into the table has none.
    """
    turn = np.swapaxes(candidates.rotation, 1, 2)
    points = _in_front(surfaces.contour_points[:, ::_RING_STRIDE] @ turn + candidates.translation[:, None])
    outward = surfaces.contour_normals[:, ::_RING_STRIDE] @ turn
    ring = depth.camera.project(points + outward * (_RING_PX * points[..., 2:] / depth.camera.fx))
    measured, _, _ = depth.look_up(ring)
    same = np.abs(measured - points[..., 2]) < tolerance[:, None]
    return np.asarray(np.count_nonzero(same, axis=1) / same.shape[1])


def box_coverage_deficit(candidates: Candidates, surfaces: Surfaces, camera: Camera) -> Array:
    """Return (B,) the share of the detection's box that lies outside of the silhouette's.

    A box around what is visible, or around the whole object, is never larger than the object.
    """
    turn = np.swapaxes(candidates.rotation, 1, 2)
    outline = camera.project(_in_front(surfaces.contour_points @ turn + candidates.translation[:, None]))
    low, high = candidates.boxes_xyxy[:, :2], candidates.boxes_xyxy[:, 2:]
    overlap = np.minimum(outline.max(axis=1), high) - np.maximum(outline.min(axis=1), low)
    share = np.clip(overlap / np.maximum(high - low, 1.0), 0.0, 1.0)
    return np.asarray(1.0 - share[:, 0] * share[:, 1])


def _in_front(points_camera: Array) -> Array:
    points_camera[..., 2] = np.maximum(points_camera[..., 2], _MIN_DEPTH_M)
    return points_camera
