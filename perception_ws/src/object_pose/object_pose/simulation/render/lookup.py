"""Bilinear look-ups in the renderer's pictures: repeating textures and octahedral maps of the surroundings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.simulation.render.kernels import kernel

TexelSite = tuple[int, int, int, int, float, float]
MapSite = tuple[int, int, float, float]


@kernel
def texel_site(texture: NDArray[np.uint8], s: float, t: float) -> TexelSite:
    """Columns, rows and weights of the texels about (s, t); the texture has period 1 and a size of 2^n."""
    size = texture.shape[0]
    s, t = s * size, t * size
    column, row = int(np.floor(s)), int(np.floor(t))
    mask = size - 1
    return column & mask, (column + 1) & mask, row & mask, (row + 1) & mask, s - column, t - row


@kernel
def texel(texture: NDArray[np.uint8], site: TexelSite, channel: int) -> int:
    """Bilinear value 0..255 of one channel at a ``texel_site``."""
    c0, c1, r0, r1, fs, ft = site
    upper = texture[r0, c0, channel] + fs * (texture[r0, c1, channel] - 1.0 * texture[r0, c0, channel])
    lower = texture[r1, c0, channel] + fs * (texture[r1, c1, channel] - 1.0 * texture[r1, c0, channel])
    return int(upper + ft * (lower - upper) + 0.5)


@kernel
def octahedral_site(maps: NDArray[np.float32], x: float, y: float, z: float) -> MapSite:
    """Row, column and weights of direction (x, y, z) in an octahedral map."""
    size = maps.shape[1]
    norm = 1.0 / (abs(x) + abs(y) + abs(z) + 1e-12)
    p, q = x * norm, y * norm
    if z < 0.0:
        fold = (1.0 - abs(q)) * (1.0 if p >= 0.0 else -1.0)
        q = (1.0 - abs(p)) * (1.0 if q >= 0.0 else -1.0)
        p = fold
    s, t = (0.5 * p + 0.5) * (size - 1), (0.5 * q + 0.5) * (size - 1)
    column, row = min(max(int(s), 0), size - 2), min(max(int(t), 0), size - 2)
    return row, column, t - row, s - column


@kernel
def reflection(maps: NDArray[np.float32], level: int, site: MapSite, channel: int) -> float:
    """Bilinear value of one channel at an ``octahedral_site``."""
    row, column, ft, fs = site
    a, b = maps[level, row, column, channel], maps[level, row, column + 1, channel]
    c, d = maps[level, row + 1, column, channel], maps[level, row + 1, column + 1, channel]
    upper, lower = a + fs * (b - a), c + fs * (d - c)
    return upper + ft * (lower - upper)
