"""Poses that mean the same, joined: their votes are one candidate's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.kernels import kernel


def cluster(
    poses: Array, votes: Array, center: Array, symmetry: Symmetry, reach_m: float, reach_rad: float, most: int
) -> tuple[NDArray[np.intp], Array]:
    """Join poses (N, 4, 4) within ``reach_m`` of the object's ``center`` (3,) and ``reach_rad``, symmetries aside.

    Returns the indices of the clusters' first poses, most votes first and at most ``most``, and the sums of votes.
    """
    order = np.argsort(-votes, kind="stable")
    ordered = np.ascontiguousarray(poses[order])
    turns = np.concatenate([np.eye(3)[None], symmetry.discrete[:, :3, :3]])
    axis = np.zeros(3) if symmetry.axis is None else symmetry.axis
    heads, sums = np.zeros(len(poses), dtype=np.int64), np.zeros(len(poses))
    args = np.ascontiguousarray(turns), np.ascontiguousarray(axis), np.ascontiguousarray(center, dtype=np.float64)
    count = _cluster(ordered, votes[order], *args, reach_m, math.cos(reach_rad), heads, sums)
    best = np.argsort(-sums[:count], kind="stable")[:most]
    return order[heads[:count][best]], sums[:count][best]


@kernel
def _cluster(
    poses: Array,
    votes: Array,
    turns: Array,
    axis: Array,
    center: Array,
    reach_m: float,
    least_cosine: float,
    heads: NDArray[np.int64],
    sums: Array,
) -> int:
    """Give every pose, the one of most votes first, to the first cluster that it is near to, or begin one."""
    count = 0
    has_axis = axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2] > 0.5
    middles = np.empty((len(poses), 3))
    turned = np.empty((3, 3))
    for i in range(len(poses)):
        p = poses[i]
        for row in range(3):
            middles[i, row] = p[row, 0] * center[0] + p[row, 1] * center[1] + p[row, 2] * center[2] + p[row, 3]
        found = -1
        for k in range(count):
            h = heads[k]
            dx, dy = middles[i, 0] - middles[h, 0], middles[i, 1] - middles[h, 1]
            dz = middles[i, 2] - middles[h, 2]
            if dx * dx + dy * dy + dz * dz > reach_m * reach_m:
                continue
            q = poses[h]
            for s in range(len(turns)):
                # Relative rotation: transpose of the head's times this one's, times the symmetry.
                for row in range(3):
                    for column in range(3):
                        value = 0.0
                        for n in range(3):
                            value += p[row, n] * turns[s, n, column]
                        turned[row, column] = value
                if has_axis:
                    cosine = 0.0
                    for row in range(3):
                        u = turned[row, 0] * axis[0] + turned[row, 1] * axis[1] + turned[row, 2] * axis[2]
                        v = q[row, 0] * axis[0] + q[row, 1] * axis[1] + q[row, 2] * axis[2]
                        cosine += u * v
                else:
                    trace = 0.0
                    for row in range(3):
                        for column in range(3):
                            trace += turned[row, column] * q[row, column]
                    cosine = 0.5 * (trace - 1.0)
                if cosine > least_cosine:
                    found = k
                    break
            if found >= 0:
                break
        if found < 0:
            heads[count] = i
            found = count
            count += 1
        sums[found] += votes[i]
    return count
