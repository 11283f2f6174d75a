"""One object found twice: suppression in space, whatever the class, where boxes in the image cannot tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def find_duplicates(
    centers: Array, scores: Array, diameters: Array, distance: float, groups: NDArray[np.int64] | None = None
) -> list[int | None]:
    """Tell for each of N poses which better one it repeats, or None.

    Two poses are one object where their (N, 3) centres are nearer than ``distance`` times the smaller diameter, or
    where they are of one of the ``groups`` (N,).
    """
    groups = np.arange(len(scores)) if groups is None else groups
    better: list[int | None] = [None] * len(scores)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        reach = distance * np.minimum(diameters[kept], diameters[index])
        is_near = np.linalg.norm(centers[kept] - centers[index], axis=1) < reach
        same = np.flatnonzero(is_near | (groups[kept] == groups[index]))
        if len(same):
            better[index] = kept[same[0]]
        else:
            kept.append(int(index))
    return better
