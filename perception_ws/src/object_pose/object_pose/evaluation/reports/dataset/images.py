"""Images as measured: size, brightness, contrast, sharpness, and which of them show nearly the same."""

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
from object_pose.io.datasets.near_duplicates import (
    NearDuplicate,
    Thumbnail,
    find_near_duplicates,
    join_groups,
    make_thumbnail,
)
from object_pose.io.datasets.samples import Dataset, image_paths
from object_pose.io.datasets.splitting import recording_of
from object_pose.io.images import read_image

Progress = Callable[[Sequence[tuple[str, Path]]], Iterable[tuple[str, Path]]]
_PERCENTILES = (5, 50, 95)
# Sharpness depends on resolution, so it is measured with the longer side brought down to this.
_SHARPNESS_SIDE = 640
EXTREMES = 6


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
    counts = Counter(recording_of(image.path) for image in images)
    splits: dict[str, set[str]] = {}
    for image in images:
        splits.setdefault(recording_of(image.path), set()).add(image.split)
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
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
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
