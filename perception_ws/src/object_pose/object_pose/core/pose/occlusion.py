"""Objects that others cover: the pixels of confirmed objects, and which detections lie behind them.

Little of a covered object is seen, and most of what lies in its detection's box belongs to what covers it: as long as
that is there to be matched, it wins. Where it is a known object itself, its pixels are occluders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask
from object_pose.core.pose.confidence import PoseEstimate
from object_pose.core.pose.contour import ContourSurface, draw_depth
from object_pose.core.pose.depth_evidence import DepthView
from object_pose.core.vision.boxes import box_iou

# From this score on a pose is confirmed and its pixels are removed; what scores less than the other may be covered.
CONFIRMED_SCORE, _DOUBTFUL_SCORE = 0.7, 0.15
_OCCLUDER_M = 0.012  # a measured point may lie so far from the drawn surface
_EDGE = np.ones((3, 3), dtype=np.uint8)  # a stereo camera smears edges over their neighbours
# Of a box less than this is nothing to take out, and more than this leaves nothing to be seen.
_LEAST_SHARE, _GREATEST_SHARE = 0.03, 0.8


def find_covered(
    estimates: Sequence[PoseEstimate],
    rows: NDArray[np.intp],
    surfaces: Sequence[ContourSurface],
    candidate_ids: NDArray[np.int64],
    boxes_xyxy: Array,
    depth: DepthView,
    min_score: float,
) -> tuple[NDArray[np.intp], Mask]:
    """Return those of the ``rows`` of all detections that confirmed ones cover, and the covering pixels (H, W).

    What scores less than ``min_score`` may be covered. ``boxes_xyxy`` (N, 4) are in undistorted pixels.
    """
    scores = np.array([estimates[row].score for row in rows])
    confirmed = np.array([estimates[row].depth_used for row in rows], dtype=bool) & (scores >= CONFIRMED_SCORE)
    doubtful = scores < max(_DOUBTFUL_SCORE, min_score)
    front = rows[confirmed]
    others = rows[doubtful & ~np.isin(candidate_ids[rows], candidate_ids[front])]
    covering = front[np.any(box_iou(boxes_xyxy[front], boxes_xyxy[others]) > 0.0, axis=1)]
    occluders = occluder_pixels(depth, [(surfaces[row], estimates[row].T_camera_object) for row in covering])
    return others[are_covered(boxes_xyxy[others], occluders)], occluders


def occluder_pixels(depth: DepthView, poses: Iterable[tuple[ContourSurface, Array]]) -> Mask:
    """Return the pixels (H, W) whose depth surfaces at their poses ``T_camera_object`` (4, 4) account for."""
    occluders = np.zeros(depth.depth_m.shape, dtype=np.uint8)
    for surface, T_camera_object in poses:
        drawn = draw_depth(surface, T_camera_object, depth.camera)
        if drawn is not None:
            (left, top), depth_m = drawn
            part = np.s_[top : top + depth_m.shape[0], left : left + depth_m.shape[1]]
            occluders[part] |= np.abs(depth.depth_m[part] - depth_m) < _OCCLUDER_M
    return np.asarray(cv2.dilate(occluders, _EDGE) > 0)


def are_covered(boxes_xyxy: Array, occluders: Mask) -> Mask:
    """Tell for each of the boxes (B, 4), in pixels, whether others' pixels lie in it and leave something to be seen."""
    limits = np.array(occluders.shape[::-1] * 2)
    corners = np.clip(np.rint(boxes_xyxy), 0, limits).astype(np.intp)
    parts = (occluders[top : bottom + 1, left : right + 1] for left, top, right, bottom in corners)
    shares = np.array([part.mean() if part.size else 0.0 for part in parts], dtype=np.float64)
    return np.asarray((shares > _LEAST_SHARE) & (shares < _GREATEST_SHARE))
