"""What is left of a depth image once the objects that are sure are taken out of it.

Little of a covered object is seen, and most of what lies in its detection's box belongs to what covers it: as long as
that is there to be matched, it wins. Where it is a known object itself, its pixels are occluders.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.pose.contour import ContourSurface, draw_depth
from object_pose.core.pose.depth_view import DepthView

Mask = NDArray[np.bool_]

_EXPLAINED_M = 0.012  # a measured point may lie so far from the drawn surface
_EDGE = np.ones((3, 3), dtype=np.uint8)  # a stereo camera smears edges over their neighbours
# Of a box less than this is nothing to take out, and more than this leaves nothing to be seen.
_LEAST_SHARE, _GREATEST_SHARE = 0.03, 0.8


def occluder_pixels(depth: DepthView, poses: Iterable[tuple[ContourSurface, Array]]) -> Mask:
    """Return the pixels (H, W) whose depth surfaces at their poses ``T_camera_object`` (4, 4) account for."""
    occluders = np.zeros(depth.depth_m.shape, dtype=np.uint8)
    for surface, T_camera_object in poses:
        drawn = draw_depth(surface, T_camera_object, depth.camera)
        if drawn is not None:
            (left, top), depth_m = drawn
            part = np.s_[top : top + depth_m.shape[0], left : left + depth_m.shape[1]]
            occluders[part] |= np.abs(depth.depth_m[part] - depth_m) < _EXPLAINED_M
    return np.asarray(cv2.dilate(occluders, _EDGE) > 0)


def are_covered(boxes_xyxy: Array, occluders: Mask) -> Mask:
    """Tell for each of the boxes (B, 4), in pixels, whether others' pixels lie in it and leave something to be seen."""
    limits = np.array(occluders.shape[::-1] * 2)
    corners = np.clip(np.rint(boxes_xyxy), 0, limits).astype(np.intp)
    parts = (occluders[top : bottom + 1, left : right + 1] for left, top, right, bottom in corners)
    shares = np.array([_share(part) for part in parts], dtype=np.float64)
    return np.asarray((shares > _LEAST_SHARE) & (shares < _GREATEST_SHARE))


def _share(part: Mask) -> float:
    return float(part.mean()) if part.size else 0.0
