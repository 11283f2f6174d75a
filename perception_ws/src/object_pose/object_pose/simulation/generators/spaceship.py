"""The cloaked spaceship of the oriented-box task, drawn exactly as its published generator does.

One channel, 200x200: a noisy background, six random lines and, in four of five images, the contour of a chevron.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

IMAGE_SIZE = 200
SHIP_PROBABILITY = 0.8
NOISE_LEVEL = 0.8
LINES = 6
# Centres keep off the border; widths are whole pixels, both bounds among them.
MARGIN = 10
WIDTHS = (18, 36)
# Mean and deviation of height over width, and of the tail's notch over height.
ASPECT = (1.5, 0.2)
TAIL = (1.0 / 3.0, 0.1)


@njit(cache=True)
def draw_line(image: NDArray[np.float32], x0: int, y0: int, x1: int, y1: int) -> None:
    """Bresenham's line, a step taken halfway; each pixel gets a fresh uniform value, the last written one stays."""
    dx, dy = abs(x1 - x0), abs(y1 - y0)
    step_x, step_y = (1 if x0 < x1 else -1), (1 if y0 < y1 else -1)
    error = dx - dy
    x, y = x0, y0
    while True:
        if 0 <= x < image.shape[1] and 0 <= y < image.shape[0]:
            image[y, x] = np.random.random()
        if x == x1 and y == y1:
            return
        twice = 2 * error
        if twice >= -dy:
            error -= dy
            x += step_x
        if twice <= dx:
            error += dx
            y += step_y


@njit(cache=True)
def _sample(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    np.random.seed(seed)
    size = IMAGE_SIZE
    ship = np.zeros((size, size), dtype=np.float32)
    lines = np.zeros((size, size), dtype=np.float32)
    label = np.full(5, np.nan)
    if np.random.random() < SHIP_PROBABILITY:
        x, y = np.random.randint(MARGIN, size - MARGIN), np.random.randint(MARGIN, size - MARGIN)
        yaw = np.random.uniform(0.0, 2.0 * math.pi)
        width = float(np.random.randint(WIDTHS[0], WIDTHS[1] + 1))
        height = width * abs(np.random.normal(ASPECT[0], ASPECT[1]))
        tail = height * abs(np.random.normal(TAIL[0], TAIL[1]))
        along = np.array([height, 0.0, tail, 0.0]) - height / 2.0
        across = np.array([0.0, -width / 2.0, 0.0, width / 2.0])
        columns = np.empty(4, dtype=np.int64)
        rows = np.empty(4, dtype=np.int64)
        for i in range(4):
            columns[i] = round(math.cos(yaw) * across[i] + math.sin(yaw) * along[i] + x)
            rows[i] = round(-math.sin(yaw) * across[i] + math.cos(yaw) * along[i] + y)
        for i in range(4):
            j = (i + 1) % 4
            draw_line(ship, columns[i], rows[i], columns[j], rows[j])
        label[:] = np.array([float(x), float(y), yaw, width, height])
    for _ in range(LINES):
        x0, y0 = np.random.randint(0, size), np.random.randint(0, size)
        x1, y1 = np.random.randint(0, size), np.random.randint(0, size)
        draw_line(lines, x0, y0, x1, y1)
    image = np.maximum(ship, lines)
    for row in range(size):
        for column in range(size):
            image[row, column] = max(image[row, column], np.float32(NOISE_LEVEL * np.random.random()))
    return image, label


def spaceship_sample(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return an image (200, 200) float32 in [0, 1] and its label (x, y, yaw, width, height); five NaN for no ship.

    Pixels and radians; the ship's nose points to (sin yaw, cos yaw), x right and y down.
    """
    image, label = _sample(int(seed))
    return image, label
