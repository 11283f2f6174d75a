"""Trees, bushes, palms and banana plants from above; they hide what stands under them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.simulation.generators.aerial.canvas import Canvas, Color, Map, grid, noise, vary

Array = NDArray[np.float64]


def draw_tree(
    canvas: Canvas, middle: Array, radius: float, lushness: float, sun_xy: Array, rng: np.random.Generator
) -> None:
    """Draw a crown of leaf clumps; ``lushness`` 0 is autumn or drought, 1 deep green; ``sun_xy`` says its lit side."""
    window = canvas.window(middle - 1.5 * radius, middle + 1.5 * radius)
    if window is None:
        return
    x, y = grid(window)
    x, y = x - np.float32(middle[0]), y - np.float32(middle[1])
    shape = (y.shape[0], x.shape[1])
    rim = noise(rng, shape, 16) * np.float32(0.16) + noise(rng, shape, 4) * np.float32(rng.uniform(0.04, 0.12))
    depth = 1 - np.sqrt(x * x + y * y) / np.float32(radius) + rim
    if rng.random() < 0.25:
        depth = depth + _fronds(x, y, rng)
    clumps = noise(rng, shape, 8) * np.float32(0.6) + noise(rng, shape, 4) * np.float32(0.5)
    clumps = clumps + noise(rng, shape, 2) * np.float32(0.5)
    side = (x * sun_xy[0] + y * sun_xy[1]).astype(np.float32) / radius
    lit = clumps + _slope(clumps, sun_xy) * np.float32(0.8) + side
    green = vary(rng, _GREENS[int(rng.integers(len(_GREENS)))], 0.25)
    if lushness < 0.5:
        tired = vary(rng, _TIRED[int(rng.integers(len(_TIRED)))], 0.2)
        green = green + np.float32(0.7 - lushness) * (tired - green)
    contrast = np.float32(rng.uniform(0.12, 0.32))
    color = green * np.clip(1 + contrast * lit, 0.25, 2.2)[..., None]
    thin = np.float32(rng.uniform(2.5, 9.0))
    height = np.float32(25) + np.float32(radius * rng.uniform(0.8, 1.5)) * np.clip(depth * 2, 0.35, 1)
    top = np.asarray(height, dtype=np.float32)
    canvas.paint(window, np.clip(depth * thin + 0.5, 0, 1), np.clip(color, 0, 1), top)


def _fronds(x: Map, y: Map, rng: np.random.Generator) -> Map:
    """Return how far leaves reach out (positive) or in, as those of palms and bananas do."""
    count = int(rng.integers(6, 13))
    turn = np.arctan2(y, x) * np.float32(count) + np.float32(rng.uniform(0, 6))
    return np.asarray(np.float32(0.35) * (np.cos(turn) - np.float32(0.6)), dtype=np.float32)


def _slope(field: Map, direction: Array) -> Map:
    """Return how ``field`` falls towards a direction (x, y): what faces the sun is bright."""
    result = np.zeros_like(field)
    result[:, 1:] -= np.float32(direction[0]) * (field[:, 1:] - field[:, :-1])
    result[1:] -= np.float32(direction[1]) * (field[1:] - field[:-1])
    return result


_GREENS: tuple[Color, ...] = (
    (0.24, 0.34, 0.14), (0.30, 0.38, 0.22), (0.36, 0.46, 0.18),
    (0.20, 0.28, 0.17), (0.40, 0.46, 0.33), (0.48, 0.52, 0.15),
)  # fmt: skip
_TIRED: tuple[Color, ...] = ((0.50, 0.42, 0.24), (0.55, 0.35, 0.18), (0.42, 0.38, 0.30))
