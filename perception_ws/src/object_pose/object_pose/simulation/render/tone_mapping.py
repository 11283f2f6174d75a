"""From linear light to the camera's 8-bit picture: tone curve and sensor noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.simulation.render.kernels import kernel


@kernel
def tone_map(
    radiance: NDArray[np.float32], gains: NDArray[np.float64], curve: NDArray[np.uint8], image: NDArray[np.uint8]
) -> None:
    """Fill ``image`` (H, W, 3) uint8 with ``curve`` of ``radiance`` times the (3,) channel ``gains``; 1.0 saturates."""
    height, width = image.shape[0], image.shape[1]
    last = curve.shape[0] - 1
    for v in range(height):
        for u in range(width):
            for channel in range(3):
                level = radiance[v, u, channel] * gains[channel] * last
                image[v, u, channel] = curve[int(min(max(level, 0.0), 1.0 * last))]


@kernel
def add_noise(image: NDArray[np.uint8], noise: NDArray[np.int8], amplitude: float, row: int, column: int) -> None:
    """Add ``amplitude`` times the ``noise`` tile (32 counts = one sigma), read from (row, column) on."""
    height, width = image.shape[0], image.shape[1]
    mask = noise.shape[0] - 1
    scale = amplitude / 32.0
    for v in range(height):
        for u in range(width):
            for channel in range(3):
                # Channels read far-apart parts of the tile, so that their noise is independent.
                shift = column + u + channel * 173
                value = image[v, u, channel] + scale * noise[(row + v + channel * 59) & mask, shift & mask] + 0.5
                image[v, u, channel] = int(min(max(value, 0.0), 255.0))
