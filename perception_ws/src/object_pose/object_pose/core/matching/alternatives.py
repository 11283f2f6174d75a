"""Two parts that both explain a piece of surface: which of them it is, by the pixels at which their depths differ."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.kernels import kernel
from object_pose.core.matching.drawing import draw, project
from object_pose.core.object_model import TriangleMesh
from object_pose.core.pose.depth_evidence import DepthView

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_SIDE = 96  # of the patch that both are drawn in, samples at most
_TOLERANCE_M, _SIGMAS = 0.003, 3.0


def differing_pixels(
    first: TriangleMesh, first_pose: Array, second: TriangleMesh, second_pose: Array, view: DepthView
) -> tuple[int, int]:
    """Return at how many samples depth is as only the first part has it, and at how many as only the second has it.

    Both are at poses (4, 4). Where one is not, depth is as it has it if it is that of something behind the other.
    Samples next to one where both are right do not count: there a small error of a pose makes the difference.
    """
    camera, counts = view.camera, np.zeros(2, dtype=np.int64)
    _compare(
        first.vertices,
        first.faces,
        np.ascontiguousarray(first_pose, dtype=np.float64),
        second.vertices,
        second.faces,
        np.ascontiguousarray(second_pose, dtype=np.float64),
        np.require(view.depth_m, np.float32, ("C", "W")),
        np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
        np.array([view.noise.floor_m, view.noise.at_1m]),
        counts,
    )
    return int(counts[0]), int(counts[1])


@kernel
def _compare(
    first_vertices: Floats,
    first_faces: Ints,
    first_pose: Array,
    second_vertices: Floats,
    second_faces: Ints,
    second_pose: Array,
    depth: Floats,
    lens: Array,
    noise: Array,
    counts: NDArray[np.int64],
) -> None:
    first_projected, second_projected = np.empty((len(first_vertices), 3)), np.empty((len(second_vertices), 3))
    if not project(first_vertices, first_pose, lens, first_projected):
        return
    if not project(second_vertices, second_pose, lens, second_projected):
        return
    first_u = min(first_projected[:, 0].min(), second_projected[:, 0].min())
    first_v = min(first_projected[:, 1].min(), second_projected[:, 1].min())
    last_u = max(first_projected[:, 0].max(), second_projected[:, 0].max())
    last_v = max(first_projected[:, 1].max(), second_projected[:, 1].max())
    stride = max(1, math.ceil((max(last_u - first_u, last_v - first_v) + 1.0) / (_SIDE - 4)))
    left, top = math.floor(first_u) - stride, math.floor(first_v) - stride
    one, other = np.empty((_SIDE, _SIDE)), np.empty((_SIDE, _SIDE))
    faces = np.empty((_SIDE, _SIDE), dtype=np.int32)
    draw(first_projected, first_faces, left, top, stride, one, faces)
    draw(second_projected, second_faces, left, top, stride, other, faces)
    # 1 where the measured depth is the first part's alone, 2 where the second's, 0 where both or neither have it.
    told = np.zeros((_SIDE, _SIDE), dtype=np.int8)
    for y in range(_SIDE):
        for x in range(_SIDE):
            row, column = top + y * stride, left + x * stride
            if row < 0 or column < 0 or row >= depth.shape[0] or column >= depth.shape[1]:
                continue
            d = depth[row, column]
            if d <= 0.0 or (one[y, x] <= 0.0 and other[y, x] <= 0.0):
                continue
            limit = max(_TOLERANCE_M, _SIGMAS * math.sqrt(noise[0] ** 2 + (noise[1] * d * d) ** 2))
            z, w = 1.0 / max(one[y, x], 1e-9), 1.0 / max(other[y, x], 1e-9)
            if abs(z - w) < 2.0 * limit:
                continue
            is_one = abs(d - z) < limit or (one[y, x] <= 0.0 and d > w + limit)
            is_other = abs(d - w) < limit or (other[y, x] <= 0.0 and d > z + limit)
            if is_one != is_other:
                told[y, x] = 1 if is_one else 2
    for y in range(1, _SIDE - 1):
        for x in range(1, _SIDE - 1):
            value = told[y, x]
            is_inner = told[y - 1, x] == told[y + 1, x] == told[y, x - 1] == told[y, x + 1] == value
            if value > 0 and is_inner:
                counts[value - 1] += 1
