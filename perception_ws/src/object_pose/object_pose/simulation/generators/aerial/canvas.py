"""The drawing surface of aerial scenes: colour, height and roof mask, and precomputed noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Map = NDArray[np.float32]
Flags = NDArray[np.bool_]
Window = tuple[slice, slice]
Color = tuple[float, float, float]

METRES_PER_PIXEL = 0.075
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
    metres_per_pixel: float = METRES_PER_PIXEL

    @classmethod
    def blank(cls, size: int, metres_per_pixel: float = METRES_PER_PIXEL) -> Canvas:
        """Return an empty canvas of ``size`` pixels a side."""
        maps = (np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32))
        return cls(*maps, np.zeros((size, size), np.bool_), metres_per_pixel)

    @property
    def scale(self) -> float:
        """Pixels in 0.075 m, the unit of what ``tile`` draws."""
        return METRES_PER_PIXEL / self.metres_per_pixel

    @property
    def pixels_per_metre(self) -> float:
        """Pixels in a metre."""
        return 1 / self.metres_per_pixel

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
        self,
        window: Window,
        cover: Map,
        color: Map | Color,
        height: Map | float | None = None,
        roof: bool | None = False,
    ) -> None:
        """Lay ``color`` over a window where ``cover`` (h, w) in [0, 1] says; from one half on it is also its shape.

        ``height`` None leaves the height as it is: a stain or a road. ``roof`` None leaves what is roof.
        """
        area = self.color[window]
        area += cover[..., None] * (np.asarray(color, dtype=np.float32) - area)
        solid = cover >= 0.5
        if height is not None:
            np.copyto(self.height[window], np.asarray(height, dtype=np.float32), where=solid)
            if roof is not None:
                self.roof[window][solid] = roof

    def has_roof_near(self, place: NDArray[np.float64], reach: int) -> bool:
        """Whether there is roof in the square of ``reach`` pixels on all sides of a place (x, y)."""
        x, y = place.astype(int)
        return bool(self.roof[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].any())


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


def pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    """Return one of some colours."""
    return colors[int(rng.integers(len(colors)))]


def random_color(rng: np.random.Generator) -> Color:
    """Return any colour, most of them not far from grey."""
    grey = rng.uniform(0.2, 0.85)
    return as_color(np.clip(grey + rng.normal(0, 0.12, 3), 0.05, 0.98).astype(np.float32))


def as_color(color: Map) -> Color:
    """Return a colour (3,) as a tuple."""
    return float(color[0]), float(color[1]), float(color[2])


def mix(color_a: Map, color_b: Map, weight: Map) -> Map:
    """Return (h, w, 3): ``color_a`` where ``weight`` (h, w) is 0, ``color_b`` where it is 1."""
    return np.asarray(color_a + weight[..., None] * (color_b - color_a), dtype=np.float32)


def grid(window: Window) -> tuple[Map, Map]:
    """Return the x (1, w) and y (h, 1) of a window's pixels."""
    rows, columns = window
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None]
    return x, np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]


def line_cover(window: Window, lines: Sequence[NDArray[np.float64]], thickness: int) -> Map:
    """Return the (h, w) cover of polylines (N, 2), their edges smoothed."""
    rows, columns = window
    cover = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.uint8)
    shifted = [np.rint((line - [columns.start, rows.start]) * 16).astype(np.int32) for line in lines]
    cv2.polylines(cover, shifted, False, 255, thickness, cv2.LINE_AA, shift=4)
    return cover.astype(np.float32) / np.float32(255)


def polygon_cover(window: Window, corners_xy: NDArray[np.float64]) -> Map:
    """Return the (h, w) cover of a convex or simple polygon, its edge smoothed."""
    rows, columns = window
    cover = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.uint8)
    shifted = (corners_xy - [columns.start, rows.start]) * 16
    cv2.fillPoly(cover, [np.rint(shifted).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return cover.astype(np.float32) / np.float32(255.0)


def rectangle_corners(half: ArrayLike) -> NDArray[np.float64]:
    """Return the (4, 2) corners of a rectangle of these half sides (2,) around the origin."""
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.asarray(half)


def placed(points: NDArray[np.float64], middle: ArrayLike, angle: float) -> NDArray[np.float64]:
    """Return points (N, 2) or (2,), turned by ``angle`` (from x to y) about the origin and moved to ``middle``."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]) + middle)
