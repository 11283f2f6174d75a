"""The drawing surface of aerial scenes: colour, height and roof mask, and precomputed noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Flags = NDArray[np.bool_]
Window = tuple[slice, slice]
Color = tuple[float, float, float]

_BANK_SIZE = 1024
_BANK_SEED = 4
_GRAINS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Canvas:
    """What has been drawn so far: ``color`` (S, S, 3) in [0, 1], ``height`` (S, S) pixels, ``roof`` (S, S) flags.

    Colour is a surface's own, times how it is turned to the sun; cast shadows come later, from ``height``.
    """

    color: Map
    height: Map
    roof: Flags

    @classmethod
    def blank(cls, size: int) -> Canvas:
        """Return an empty canvas of ``size`` pixels a side."""
        return cls(
            np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32), np.zeros((size, size), np.bool_)
        )

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.height.shape[0]

    def window(self, low_xy: NDArray[np.float64], high_xy: NDArray[np.float64]) -> Window | None:
        """Return the pixels between two corners, clipped to the canvas; None where nothing is left."""
        x0, y0 = (max(0, int(value)) for value in np.floor(low_xy))
        x1, y1 = (min(self.size, int(value) + 2) for value in np.floor(high_xy))
        return (slice(y0, y1), slice(x0, x1)) if x1 - x0 > 1 and y1 - y0 > 1 else None

    def paint(
        self, window: Window, cover: Map, color: Map | Color, height: Map | float | None = None, roof: bool = False
    ) -> None:
        """Lay ``color`` over a window where ``cover`` (h, w) in [0, 1] says; from one half on it is also its shape.

        ``height`` None leaves the height as it is: a stain or a road.
        """
        area = self.color[window]
        area += cover[..., None] * (np.asarray(color, dtype=np.float32) - area)
        solid = cover >= 0.5
        if height is not None:
            np.copyto(self.height[window], np.asarray(height, dtype=np.float32), where=solid)
            self.roof[window][solid] = roof


@lru_cache(maxsize=1)
def _bank() -> dict[int, Map]:
    rng = np.random.default_rng(_BANK_SEED)
    bank: dict[int, Map] = {}
    for grain in _GRAINS:
        cells = _BANK_SIZE // grain
        padded = np.pad(rng.standard_normal((cells, cells), dtype=np.float32), 1, mode="wrap")
        side = (cells + 2) * grain
        noise = cv2.resize(padded, (side, side), interpolation=cv2.INTER_CUBIC)[grain:-grain, grain:-grain]
        bank[grain] = np.ascontiguousarray(noise / noise.std(), dtype=np.float32)
    return bank


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: int) -> Map:
    """Return (h, w) noise, h and w up to 512, of unit deviation whose spots are ``grain`` pixels (a power of 2 to 64).

    It is a view into a fixed bank: do not write into it.
    """
    row, column = (int(rng.integers(_BANK_SIZE - size + 1)) for size in shape)
    view = _bank()[grain][row : row + shape[0], column : column + shape[1]]
    flip_rows, flip_columns = rng.random(2) < 0.5
    return view[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def noise_at(rng: np.random.Generator, u: Map, v: Map, grain: int) -> Map:
    """Return noise of spots of ``grain`` at any coordinates (pixels), so that it can lie in a roof's own axes."""
    row, column = rng.integers(_BANK_SIZE, size=2)
    index_u = (u.astype(np.int32) + column) & (_BANK_SIZE - 1)
    index_v = (v.astype(np.int32) + row) & (_BANK_SIZE - 1)
    return _bank()[grain][index_v, index_u]


def vary(rng: np.random.Generator, color: Color, spread: float) -> Map:
    """Return a colour (3,) lighter or darker by up to ``spread``, and a little warmer or colder."""
    scale = rng.uniform(1 - spread, 1 + spread) * rng.uniform(1 - spread / 4, 1 + spread / 4, 3)
    return np.clip(np.asarray(color) * scale, 0.02, 1.0).astype(np.float32)


def mix(color_a: Map, color_b: Map, weight: Map) -> Map:
    """Return (h, w, 3): ``color_a`` where ``weight`` (h, w) is 0, ``color_b`` where it is 1."""
    return np.asarray(color_a + weight[..., None] * (color_b - color_a), dtype=np.float32)


def grid(window: Window) -> tuple[Map, Map]:
    """Return the x (1, w) and y (h, 1) of a window's pixels."""
    rows, columns = window
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None]
    return x, np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]


def polygon_cover(window: Window, corners_xy: NDArray[np.float64]) -> Map:
    """Return the (h, w) cover of a convex or simple polygon, its edge smoothed."""
    rows, columns = window
    cover = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.uint8)
    shifted = (corners_xy - [columns.start, rows.start]) * 16
    cv2.fillPoly(cover, [np.rint(shifted).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return cover.astype(np.float32) / np.float32(255.0)
