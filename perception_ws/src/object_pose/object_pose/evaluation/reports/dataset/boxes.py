"""Boxes as measured: how many of each class, how large, where in the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.evaluation.reports.dataset.images import percentiles
from object_pose.io.datasets.samples import BoxDataset, LabelledBoxes

_GRID = 24
# COCO's limits between small, medium and large, in pixels squared.
_SMALL_AREA, _LARGE_AREA = 32.0**2, 96.0**2


def class_counts(splits: Mapping[str, BoxDataset]) -> dict[str, NDArray[np.int64]]:
    """Return (C,) boxes a class for each split."""
    return {
        name: np.bincount(
            np.concatenate([sample.class_ids for sample in dataset.samples] or [np.zeros(0, np.int64)]),
            minlength=len(dataset.labels),
        )
        for name, dataset in splits.items()
    }


def image_counts(splits: Mapping[str, BoxDataset]) -> dict[str, NDArray[np.int64]]:
    """Return (C,) images that have a class for each split."""
    counts = {}
    for name, dataset in splits.items():
        counts[name] = np.zeros(len(dataset.labels), dtype=np.int64)
        for sample in dataset.samples:
            counts[name][np.unique(sample.class_ids)] += 1
    return counts


def all_samples(splits: Mapping[str, BoxDataset]) -> list[LabelledBoxes]:
    """Return the samples of all splits, in order."""
    return [sample for dataset in splits.values() for sample in dataset.samples]


def relative_boxes(samples: Sequence[LabelledBoxes]) -> Array:
    """Return all boxes as (N, 4) x, y of the centre, width and height in shares of their image."""
    rows = [np.zeros((0, 4))]
    for sample in samples:
        corners = (sample.boxes_xyxy + 0.5) / np.tile(np.array(sample.image_wh, dtype=np.float64), 2)
        rows.append(np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1))
    return np.concatenate(rows)


def coverage(samples: Sequence[LabelledBoxes]) -> Array:
    """Return (24, 24) shares of all boxes that cover a cell of the image."""
    boxes = relative_boxes(samples)
    centers = (np.arange(_GRID) + 0.5) / _GRID
    inside_x = np.abs(centers[None] - boxes[:, :1]) <= boxes[:, 2:3] / 2
    inside_y = np.abs(centers[None] - boxes[:, 1:2]) <= boxes[:, 3:4] / 2
    return np.asarray(inside_y.astype(np.float64).T @ inside_x.astype(np.float64)) / max(len(boxes), 1)


def box_summary(splits: Mapping[str, BoxDataset]) -> dict[str, Any]:
    """Describe the boxes as plain JSON values."""
    samples = all_samples(splits)
    boxes = relative_boxes(samples)
    sizes_px = np.concatenate([np.zeros((0, 2)), *(s.boxes_xyxy[:, 2:] - s.boxes_xyxy[:, :2] for s in samples)])
    areas = sizes_px.prod(axis=1)
    in_middle = (np.abs(boxes[:, :2] - 0.5) < 1.0 / 6.0).all(axis=1)
    return {
        "classes": _class_rows(splits),
        "boxes": len(boxes),
        "objects_per_image": {
            str(count): images for count, images in sorted(Counter(len(s.class_ids) for s in samples).items())
        },
        "side_share": percentiles(np.sqrt(boxes[:, 2] * boxes[:, 3])),
        "side_px": percentiles(np.sqrt(areas)),
        "aspect_ratio": percentiles(sizes_px[:, 0] / np.maximum(sizes_px[:, 1], 1e-9)),
        "share_small": _share(np.asarray(areas < _SMALL_AREA)),
        "share_medium": _share(np.asarray((areas >= _SMALL_AREA) & (areas < _LARGE_AREA))),
        "share_large": _share(np.asarray(areas >= _LARGE_AREA)),
        "share_in_central_ninth": _share(np.asarray(in_middle)),
        "coverage": np.round(coverage(samples), 4).tolist(),
    }


def _class_rows(splits: Mapping[str, BoxDataset]) -> list[dict[str, Any]]:
    boxes, images = class_counts(splits), image_counts(splits)
    labels = next(iter(splits.values())).labels
    samples = all_samples(splits)
    sides = np.sqrt(relative_boxes(samples)[:, 2:].prod(axis=1))
    class_ids = np.concatenate([np.zeros(0, np.int64), *(sample.class_ids for sample in samples)])
    return [
        {
            "label": label,
            "boxes": {name: int(counts[class_id]) for name, counts in boxes.items()},
            "images": {name: int(counts[class_id]) for name, counts in images.items()},
            "side_share": percentiles(sides[class_ids == class_id]),
        }
        for class_id, label in enumerate(labels)
    ]


def _share(mask: NDArray[np.bool_]) -> float:
    return round(float(mask.mean()), 4) if len(mask) else 0.0
