"""One object found twice: suppression in space, whatever the class, where boxes in the image cannot tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def find_duplicates(centers: Array, scores: Array, diameters: Array, distance: float) -> list[int | None]:
    """Tell for each of N poses which better one it repeats, or None.

    Two poses are one object where their (N, 3) centres are nearer than ``distance`` times the smaller diameter.
    """
    better: list[int | None] = [None] * len(scores)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        reach = distance * np.minimum(diameters[kept], diameters[index])
        near = np.flatnonzero(np.linalg.norm(centers[kept] - centers[index], axis=1) < reach)
        if len(near):
            better[index] = kept[near[0]]
        else:
            kept.append(int(index))
    return better
