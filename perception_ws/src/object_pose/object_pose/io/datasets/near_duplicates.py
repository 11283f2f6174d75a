"""Near-duplicate images: neighbouring frames of a recording, one object under another light, saved twice.

Thumbnails are correlated after what most images of the set have in common (a part's shading, the sky above the road)
has been taken out as their mean and leading principal components; without that all images of one kind of part look
alike. Looked at on warehouse recordings and on photographs of tiles: pairs just above the limit show one scene, one
tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Image
from object_pose.core.vision.image import to_grey

Thumbnail = NDArray[np.float32]

_SIDE = 32
_MIN_CORRELATION = 0.65
_COMMON_COMPONENTS = 8
# One component is taken out for this many images, so that it is of many and not of one pair.
_IMAGES_PER_COMPONENT = 50
# A small set tells nothing of what its images have in common; then only very similar ones count.
_MIN_PLAIN_CORRELATION = 0.9
# Where less contrast is left than this, in grey levels, correlation is that of noise.
_MIN_CONTRAST = 2.0
# Black bars make any two images alike; only a dark photograph has as dark an edge.
_BLACK = 16
_MIN_CONTENT = 16
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class NearDuplicate:
    """Two of the images, by their places in the list, and the correlation of what is their own."""

    first: int
    second: int
    correlation: float


def make_thumbnail(rgb: Image) -> Thumbnail:
    """Return the (32, 32) grey thumbnail of an (H, W, 3) image, without black bars, that others are compared with."""
    grey = _without_bars(to_grey(rgb))
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), dtype=np.float32)


def find_near_duplicates(thumbnails: Sequence[Thumbnail]) -> list[NearDuplicate]:
    """Return all pairs of images that show nearly the same, nearest first; time and not memory grows as N squared."""
    if len(thumbnails) < 2:
        return []
    flat = np.stack([thumbnail.ravel() for thumbnail in thumbnails])
    contrast = flat.std(axis=1)
    plain = _unit(flat - flat.mean(axis=1, keepdims=True))
    plain[contrast < _MIN_CONTRAST] = 0.0
    own, remainder = _without_common(plain)
    # An image that is nothing but what many have in common is compared as it is.
    limits = np.where(remainder * contrast < _MIN_CONTRAST, np.inf, _MIN_CORRELATION)
    if len(plain) < _IMAGES_PER_COMPONENT:
        limits[:] = np.inf
    found = []
    for start in range(0, len(plain), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        own_correlation, plain_correlation = own[rows] @ own.T, plain[rows] @ plain.T
        limit = np.maximum(limits[rows][:, None], limits[None])
        is_near = np.where(np.isinf(limit), plain_correlation >= _MIN_PLAIN_CORRELATION, own_correlation >= limit)
        correlation = np.where(np.isinf(limit), plain_correlation, own_correlation)
        for row, column in np.argwhere(is_near):
            if start + row < column:
                found.append(NearDuplicate(int(start + row), int(column), float(correlation[row, column])))
    return sorted(found, key=lambda pair: -pair.correlation)


def join_groups(count: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Return for each of ``count`` items the first item of its group, the items of a pair being in one group."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return np.array([root(item) for item in range(count)], dtype=np.int64)


def _without_bars(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut off black bars at the edges, where enough is left between them."""
    bright = grey > _BLACK
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    if len(rows) == 0 or min(np.ptp(rows), np.ptp(columns)) < _MIN_CONTENT:
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _without_common(plain: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return unit rows without mean and leading components, and the (N,) length of what had been left of each."""
    centred = plain - plain.mean(axis=0)
    count = min(_COMMON_COMPONENTS, len(plain) // _IMAGES_PER_COMPONENT)
    if count:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        common = vectors[:, -count:]
        centred = centred - (centred @ common) @ common.T
    return _unit(centred), np.linalg.norm(centred, axis=1)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6), dtype=np.float32)
