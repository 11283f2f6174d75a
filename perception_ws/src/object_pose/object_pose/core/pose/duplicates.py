"""One object found twice: suppression in space, across classes, where boxes in the image cannot tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def find_duplicates(
    centers: Array,
    scores: Array,
    diameters: Array,
    distance: float,
    candidate_ids: Ints | None = None,
    confirmed_ids: Ints | None = None,
) -> list[int | None]:
    """Tell for each of N poses which better one it repeats, or None.

    Two poses are one object where their (N, 3) centres are nearer than ``distance`` times the smaller diameter, or
    where their ``candidate_ids`` (N,) are the same. ``confirmed_ids`` (N,) are the classes of confirmed poses,
    -1 of others: two that are confirmed as two classes are two objects, one in or on the other.
    """
    candidate_ids = np.arange(len(scores)) if candidate_ids is None else candidate_ids
    ids = np.full(len(scores), -1) if confirmed_ids is None else confirmed_ids
    better: list[int | None] = [None] * len(scores)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        reach = distance * np.minimum(diameters[kept], diameters[index])
        is_near = np.linalg.norm(centers[kept] - centers[index], axis=1) < reach
        nested = (ids[kept] != ids[index]) & (ids[kept] >= 0) & (ids[index] >= 0)
        same = np.flatnonzero((is_near & ~nested) | (candidate_ids[kept] == candidate_ids[index]))
        if len(same):
            better[index] = kept[same[0]]
        else:
            kept.append(int(index))
    return better
