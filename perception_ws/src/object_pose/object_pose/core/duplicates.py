"""One object found twice: suppression in space, whatever the class, where boxes in the image cannot tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def repeat_known(centers: Array, diameters: Array, known: Array, known_diameters: Array, distance: float) -> Mask:
    """Tell for each of N poses whether it is one of the M ``known`` ones, as of ``find_duplicates``."""
    near = [_are_near(*one, known, known_diameters, distance) for one in zip(centers, diameters)]
    return np.asarray(np.reshape(near, (len(centers), len(known))).any(axis=1), dtype=np.bool_)


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
        is_near = _are_near(centers[index], diameters[index], centers[kept], diameters[kept], distance)
        same = np.flatnonzero(is_near | (groups[kept] == groups[index]))
        if len(same):
            better[index] = kept[same[0]]
        else:
            kept.append(int(index))
    return better


def _are_near(center: Array, diameter: float, others: Array, other_diameters: Array, distance: float) -> Mask:
    """Tell which of (M, 3) other centres are nearer than ``distance`` times the smaller diameter."""
    reach = distance * np.minimum(other_diameters, diameter)
    return np.asarray(np.linalg.norm(others - center, axis=1) < reach)
