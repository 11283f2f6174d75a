"""Triangles drawn into small images of inverse depth."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.kernels import kernel

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_LEAST_Z_M = 0.03


@kernel
def project(vertices: Floats, pose: Array, lens: Array, projected: Array) -> bool:
    """Write pixels and inverse depths (V, 3) of vertices at a pose (4, 4); return whether all are before the camera.

    ``lens`` are fx, fy, cx and cy.
    """
    nearest = 1e9
    for k in range(len(vertices)):
        a, b, c = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        x = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3]
        y = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3]
        z = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3]
        nearest = min(nearest, z)
        z = max(z, _LEAST_Z_M)
        projected[k, 0], projected[k, 1] = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
        projected[k, 2] = 1.0 / z
    return bool(nearest > _LEAST_Z_M)


@kernel
def draw(projected: Array, faces: Ints, left: int, top: int, stride: int, inverse: Array, face_of: Ints) -> None:
    """Draw projected vertices (V, 3) as inverse depth (h, w), 0 for nothing, and which face is seen (h, w).

    The image's samples are ``stride`` pixels apart, the first at (``left``, ``top``).
    """
    height, width = inverse.shape
    inverse[:] = 0.0
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay = (projected[a, 0] - left) / stride, (projected[a, 1] - top) / stride
        bx, by = (projected[b, 0] - left) / stride, (projected[b, 1] - top) / stride
        gx, gy = (projected[c, 0] - left) / stride, (projected[c, 1] - top) / stride
        area = (bx - ax) * (gy - ay) - (by - ay) * (gx - ax)
        if abs(area) < 1e-9:
            continue
        y0, y1 = math.ceil(min(ay, min(by, gy))), math.floor(max(ay, max(by, gy)))
        x0, x1 = math.ceil(min(ax, min(bx, gx))), math.floor(max(ax, max(bx, gx)))
        za, zb, zc = projected[a, 2], projected[b, 2], projected[c, 2]
        for y in range(max(y0, 0), min(y1, height - 1) + 1):
            for x in range(max(x0, 0), min(x1, width - 1) + 1):
                second = ((x - ax) * (gy - ay) - (y - ay) * (gx - ax)) / area
                third = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                if second < -1e-9 or third < -1e-9 or second + third > 1.0 + 1e-9:
                    continue
                w = za + second * (zb - za) + third * (zc - za)
                if w > inverse[y, x]:
                    inverse[y, x] = w
                    face_of[y, x] = f
