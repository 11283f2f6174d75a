"""Boxes: areas, intersection over union, and non-maximum suppression that says what each kept box suppressed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array


def box_iou(boxes_a: Array, boxes_b: Array) -> Array:
    """Return the (A, B) intersection over union of (A, 4) and (B, 4) xyxy boxes; 0 where both are empty."""
    intersection = box_intersection(boxes_a, boxes_b)
    union = box_area(boxes_a)[:, None] + box_area(boxes_b)[None, :] - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0))


def box_intersection(boxes_a: Array, boxes_b: Array) -> Array:
    """Return the (A, B) areas that (A, 4) and (B, 4) xyxy boxes have in common."""
    low = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    high = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    return np.asarray(np.prod(np.clip(high - low, 0.0, None), axis=-1))


def box_area(boxes: Array) -> Array:
    """Return the (N,) areas of (N, 4) xyxy boxes; 0 for an inverted one."""
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None), axis=1))


def suppress(
    boxes: Array, scores: Array, class_ids: NDArray[np.int64], iou_threshold: float, max_kept: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep the best-scored of the boxes of one class that overlap by more than ``iou_threshold``.

    Returns ``kept`` (M,) indices in falling score, M <= ``max_kept``, and ``owner`` (N,): the position in ``kept`` of
    the box that suppressed each candidate (its own for a kept one), -1 for those left over past ``max_kept``.
    """
    remaining = np.argsort(-scores, kind="stable")
    low, high, areas = boxes[:, :2], boxes[:, 2:], box_area(boxes)
    owner = np.full(len(scores), -1, dtype=np.int64)
    kept: list[int] = []
    while len(remaining) and len(kept) < max_kept:
        best = remaining[0]
        overlap = np.minimum(high[best], high[remaining]) - np.maximum(low[best], low[remaining])
        shared = np.prod(np.maximum(overlap, 0.0), axis=1)
        merged = shared > iou_threshold * (areas[best] + areas[remaining] - shared)
        merged &= class_ids[remaining] == class_ids[best]
        merged[0] = True
        owner[remaining[merged]] = len(kept)
        kept.append(int(best))
        remaining = remaining[~merged]
    return np.asarray(kept, dtype=np.int64), owner
