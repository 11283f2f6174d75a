"""Measurements of a data set: images and near-duplicates, boxes of each class, masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.core.vision.image import to_grey
from object_pose.io.datasets.mask_pairs import read_mask
from object_pose.io.datasets.near_duplicates import (
    NearDuplicate,
    Thumbnail,
    find_near_duplicates,
    join_groups,
    make_thumbnail,
)
from object_pose.io.datasets.samples import BoxDataset, Dataset, LabelledBoxes, MaskDataset, image_paths
from object_pose.io.datasets.splitting import recording_of
from object_pose.io.images import read_image

Progress = Callable[[Sequence[tuple[str, Path]]], Iterable[tuple[str, Path]]]
_PERCENTILES = (5, 50, 95)
# Sharpness depends on resolution, so it is measured with the longer side brought down to this.
_SHARPNESS_SIDE = 640
EXTREMES = 6
_GRID = 24
# COCO's limits between small, medium and large, in pixels squared.
_SMALL_AREA, _LARGE_AREA = 32.0**2, 96.0**2


@dataclass(frozen=True)
class ImageFigures:
    """One image: grey mean and standard deviation (0..255), and variance of the Laplacian at 640 px."""

    path: Path
    split: str
    wh: tuple[int, int]
    brightness: float
    contrast: float
    sharpness: float
    thumbnail: Thumbnail


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicate pairs of the images, by their places in the list, and the group of each image."""

    pairs: tuple[NearDuplicate, ...]
    groups: NDArray[np.int64]


def measure_images(splits: Mapping[str, Dataset], progress: Progress = iter) -> tuple[ImageFigures, ...]:
    """Read and measure every image; raises ``DataError`` naming one that cannot be decoded."""
    entries = [(name, path) for name, dataset in splits.items() for path in image_paths(dataset)]
    return tuple(_measure(read_image(path), name, path) for name, path in progress(entries))


def find_duplicates(images: Sequence[ImageFigures]) -> Duplicates:
    """Return which images show nearly the same."""
    pairs = tuple(find_near_duplicates([image.thumbnail for image in images]))
    return Duplicates(pairs, join_groups(len(images), [(pair.first, pair.second) for pair in pairs]))


def image_summary(images: Sequence[ImageFigures]) -> dict[str, Any]:
    """Describe the images as plain JSON values."""
    sizes = Counter(f"{image.wh[0]}x{image.wh[1]}" for image in images)
    summary: dict[str, Any] = {"sizes": dict(sizes.most_common(10)), "distinct_sizes": len(sizes)}
    for name in ("brightness", "contrast", "sharpness"):
        order = sorted(images, key=lambda image, name=name: getattr(image, name))  # type: ignore[misc]
        summary[name] = {
            **percentiles(np.array([getattr(image, name) for image in images])),
            "lowest": [str(image.path) for image in order[:EXTREMES]],
            "highest": [str(image.path) for image in order[: -EXTREMES - 1 : -1]],
        }
    return summary


def duplicate_summary(images: Sequence[ImageFigures], duplicates: Duplicates) -> dict[str, Any]:
    """Describe near-duplicates as plain JSON values; ``leaked`` counts a split's images that another split has, too."""
    sizes = Counter(Counter(duplicates.groups.tolist()).values())
    across = across_splits(images, duplicates)
    leaked: dict[str, set[int]] = {}
    for pair in across:
        for place in (pair.first, pair.second):
            leaked.setdefault(images[place].split, set()).add(place)
    return {
        "pairs": len(duplicates.pairs),
        "distinct_images": sum(sizes.values()),
        "group_sizes": {str(size): count for size, count in sorted(sizes.items())},
        "across_splits": [
            {
                "first": str(images[pair.first].path),
                "second": str(images[pair.second].path),
                "correlation": round(pair.correlation, 3),
            }
            for pair in across
        ],
        "leaked": {split: len(places) for split, places in leaked.items()},
        "recordings": recording_summary(images),
    }


def recording_summary(images: Sequence[ImageFigures]) -> dict[str, Any]:
    """Tell how many recordings file names speak of, which are the largest, and which are in several splits."""
    counts = Counter((recording_of(image.path) or image.path.stem) for image in images)
    splits: dict[str, set[str]] = {}
    for image in images:
        splits.setdefault((recording_of(image.path) or image.path.stem), set()).add(image.split)
    return {
        "count": len(counts),
        "largest": dict(counts.most_common(10)),
        "in_several_splits": sorted(name for name, names in splits.items() if len(names) > 1),
    }


def across_splits(images: Sequence[ImageFigures], duplicates: Duplicates) -> list[NearDuplicate]:
    """Return the pairs whose images are in different splits."""
    return [pair for pair in duplicates.pairs if images[pair.first].split != images[pair.second].split]


def percentiles(values: Array) -> dict[str, float]:
    """Return p5, p50 and p95 of values, rounded; zeros where there are none."""
    found = np.percentile(values, _PERCENTILES) if len(values) else np.zeros(len(_PERCENTILES))
    return {f"p{share}": round(float(value), 4) for share, value in zip(_PERCENTILES, found)}


def _measure(rgb: Image, split: str, path: Path) -> ImageFigures:
    grey = to_grey(rgb)
    height, width = grey.shape
    scale = min(1.0, _SHARPNESS_SIDE / max(width, height))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1.0 else grey
    return ImageFigures(
        path,
        split,
        (width, height),
        float(grey.mean()),
        float(grey.std()),
        float(cv2.Laplacian(small, cv2.CV_32F).var()),
        make_thumbnail(rgb),
    )


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


def mask_covers(splits: Mapping[str, MaskDataset]) -> dict[str, Array]:
    """Return the (N,) shares of their image that masks cover, for each split."""
    return {
        name: np.array([read_mask(pair.mask_path).mean() for pair in dataset.samples])
        for name, dataset in splits.items()
    }
