"""Boxes: areas, intersection over union, and non-maximum suppression that says what each kept box suppressed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.kernels import exact_kernel, for_kernels


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
    order = np.argsort(-scores, kind="stable")
    classes = for_kernels(class_ids, np.int64)
    corners = for_kernels(boxes, np.float64)
    return _suppress(corners, box_area(corners), classes, order, float(iou_threshold), int(max_kept))


@exact_kernel
def _suppress(
    boxes: Array,
    areas: Array,
    class_ids: NDArray[np.int64],
    order: NDArray[np.int64],
    iou_threshold: float,
    max_kept: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    owner = np.full(len(order), -1, dtype=np.int64)
    kept = np.empty(min(len(order), max_kept), dtype=np.int64)
    count = 0
    for place, best in enumerate(order):
        if count >= max_kept:
            break
        if owner[best] >= 0:
            continue
        owner[best], kept[count] = count, best
        for other in order[place + 1 :]:
            if owner[other] >= 0 or class_ids[other] != class_ids[best]:
                continue
            width = min(boxes[best, 2], boxes[other, 2]) - max(boxes[best, 0], boxes[other, 0])
            height = min(boxes[best, 3], boxes[other, 3]) - max(boxes[best, 1], boxes[other, 1])
            shared = max(width, 0.0) * max(height, 0.0)
            if shared > iou_threshold * (areas[best] + areas[other] - shared):
                owner[other] = count
        count += 1
    return kept[:count], owner
