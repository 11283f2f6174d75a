"""What roofs are covered with: the colours and patterns of their materials, in the axes of a roof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from object_pose.simulation.generators.aerial.canvas import Color, Map, mix, noise_at, pick, vary


@dataclass
class Surface:
    """A roof over a window: depth inside its contour, height over the eaves, slope in p and q, axes of its covering.

    The covering's axes are in units of 0.075 m; ``fineness`` is the share of its fine patterns' contrast that pixels
    of the canvas show.
    """

    inside: Map
    height: Map
    slope_p: Map
    slope_q: Map
    along: Map
    down: Map
    fineness: float = 1.0

    def noise(self, rng: np.random.Generator, grain: int, stretch: tuple[float, float] = (1, 1)) -> Map:
        """Return noise that lies in the covering's axes, its spots ``stretch`` times as large along and down."""
        along, down = (axis if by == 1 else axis / np.float32(by) for axis, by in zip((self.along, self.down), stretch))
        spots = noise_at(rng, along, down, grain)
        return spots if self.fineness == 1 else spots * np.float32(min(1.0, grain * self.fineness))


def _metal(surface: Surface, rng: np.random.Generator) -> Map:
    """Return corrugated sheets, each of its own age: plain zinc to all rust."""
    base = vary(rng, pick(rng, _ZINC), 0.12)
    rust = vary(rng, pick(rng, _RUST), 0.2)
    sheet, sheet_shade, seams = _sheets(surface, rng)
    ages = [rng.uniform(-0.9, -0.3), rng.uniform(-0.3, 0.5), rng.uniform(0.5, 1.5)]
    level = float(rng.choice(ages, p=[0.45, 0.3, 0.25]))
    streaks = surface.noise(rng, 2, (1, 6)) * np.float32(rng.uniform(0.05, 0.4))
    patches = surface.noise(rng, 16) * np.float32(rng.uniform(0.0, 0.35))
    weight = np.clip(level + sheet * np.float32(rng.uniform(0.1, 0.8)) + streaks + patches, 0, 1)
    return mix(base, rust, weight) * (sheet_shade * seams * _ribs(surface, rng))[..., None]


def _painted(surface: Surface, rng: np.random.Generator) -> Map:
    """Return painted sheets, faded in places."""
    base = vary(rng, pick(rng, _PAINT), 0.2)
    faded = base + np.float32(rng.uniform(0.2, 0.6)) * (np.float32(0.75) - base)
    _, sheet_shade, seams = _sheets(surface, rng)
    fading = surface.noise(rng, 16, (1, 3)) * np.float32(rng.uniform(0.05, 0.5))
    weight = np.clip(fading + np.float32(rng.uniform(-0.3, 0.5)), 0, 1)
    return mix(base, faded, weight) * (sheet_shade * seams * _ribs(surface, rng))[..., None]


def _tile(surface: Surface, rng: np.random.Generator) -> Map:
    """Return rows of tiles with darker ones strewn in."""
    base = vary(rng, pick(rng, _CLAY), 0.15)
    row, column = rng.uniform(3.5, 6.0), rng.uniform(3.0, 5.0)
    strength = rng.uniform(0.02, 0.1)
    rows = np.sin(surface.down * np.float32(2 * np.pi / row)) * np.float32(strength) * np.float32(surface.fineness**2)
    columns = (
        np.sin(surface.along * np.float32(2 * np.pi / column))
        * np.float32(strength * 0.5)
        * np.float32(surface.fineness**2)
    )
    speckle = surface.noise(rng, 4) * np.float32(rng.uniform(0.02, 0.09))
    spots = (surface.noise(rng, 2) > rng.uniform(1.6, 3.0)) * np.float32(rng.uniform(0, 0.35))
    stains = surface.noise(rng, 32) * np.float32(rng.uniform(0, 0.08))
    return base * (1 + rows + columns + speckle + stains - spots)[..., None].astype(np.float32)


def _concrete(surface: Surface, rng: np.random.Generator) -> Map:
    """Return a slab with stains."""
    base = vary(rng, pick(rng, _SLAB), 0.15)
    field = surface.noise(rng, 32) * np.float32(rng.uniform(0.02, 0.15))
    field = field + surface.noise(rng, 8) * np.float32(rng.uniform(0.01, 0.08))
    return base * (1 + field + surface.noise(rng, 1) * np.float32(0.03))[..., None]


def _tarpaulin(surface: Surface, rng: np.random.Generator) -> Map:
    """Return a wrinkled sheet of plastic over a frame."""
    base = vary(rng, pick(rng, _PLASTIC), 0.15)
    wrinkles = surface.noise(rng, 8, (2, 1)) * np.float32(rng.uniform(0.05, 0.15))
    folds = surface.noise(rng, 4, (1, 2)) * np.float32(rng.uniform(0.02, 0.08))
    return base * (1 + wrinkles + folds)[..., None]


def _plain(surface: Surface, rng: np.random.Generator) -> Map:
    """Return smooth metal or plaster: one colour, hardly any pattern."""
    base = vary(rng, pick(rng, _SMOOTH), 0.2)
    field = surface.noise(rng, 32) * np.float32(rng.uniform(0.0, 0.05))
    field = field + surface.noise(rng, 2) * np.float32(rng.uniform(0.0, 0.04))
    return base * (1 + field)[..., None] * _ribs(surface, rng)[..., None]


def _membrane(surface: Surface, rng: np.random.Generator) -> Map:
    """Return bitumen, gravel or foil in broad strips, with puddles' stains."""
    base = vary(rng, pick(rng, _ROOFING), 0.2)
    strip = np.floor((surface.along + np.float32(500)) / np.float32(rng.uniform(13, 30))).astype(np.int32)
    shades = rng.standard_normal(64).astype(np.float32)[strip & 63] * np.float32(rng.uniform(0, 0.05))
    field = shades + surface.noise(rng, 64) * np.float32(rng.uniform(0.01, 0.12))
    field = field + surface.noise(rng, 8) * np.float32(rng.uniform(0, 0.05))
    return base * (1 + field + surface.noise(rng, 1) * np.float32(rng.uniform(0, 0.06)))[..., None]


def _shingle(surface: Surface, rng: np.random.Generator) -> Map:
    """Return asphalt shingles or slates: short rows of slightly different shades."""
    base = vary(rng, pick(rng, _SHINGLES), 0.25)
    rows = surface.noise(rng, 2, (2, 1)) * np.float32(rng.uniform(0.02, 0.1))
    field = rows + surface.noise(rng, 1) * np.float32(rng.uniform(0, 0.06))
    field = field + surface.noise(rng, 64, (0.5, 3)) * np.float32(rng.uniform(0, 0.08))
    return base * (1 + field)[..., None]


def _sheets(surface: Surface, rng: np.random.Generator) -> tuple[Map, Map, Map]:
    """Return each sheet's own number (unit deviation), its shade, and the dark seams between sheets."""
    width, length = rng.uniform(8, 16), rng.uniform(22, 55)
    start = rng.uniform(0, 100, 2)
    column = (surface.along + np.float32(500 + start[0])) / np.float32(width)
    row = (surface.down + np.float32(200 + start[1])) / np.float32(length)
    table = rng.standard_normal((64, 64), dtype=np.float32)
    # Neighbours were often laid in one go: rows and columns have something in common.
    table += rng.uniform(0, 1.2) * rng.standard_normal((64, 1), dtype=np.float32)
    table += rng.uniform(0, 0.8) * rng.standard_normal((1, 64), dtype=np.float32)
    own = table[row.astype(np.int32) & 63, column.astype(np.int32) & 63]
    lap = (row - np.floor(row)) * np.float32(length) < rng.uniform(1.0, 2.5)
    edge = (column - np.floor(column)) * np.float32(width) < 1.0
    lap, edge = lap * np.float32(surface.fineness), edge * np.float32(surface.fineness)
    seams = 1 - lap * np.float32(rng.uniform(0, 0.25)) - edge * np.float32(rng.uniform(0, 0.12))
    return own, 1 + own * np.float32(rng.uniform(0.0, 0.07)), seams.astype(np.float32)


def _ribs(surface: Surface, rng: np.random.Generator) -> Map:
    period = rng.uniform(2.2, 6.0)
    strength = np.float32(rng.uniform(0.0, 0.1) * surface.fineness**2)
    return 1 + strength * np.sin(surface.along * np.float32(2 * np.pi / period) + np.float32(rng.uniform(0, 6)))


MATERIALS = ("metal", "painted", "tile", "concrete", "tarpaulin")
ALL_MATERIALS = (*MATERIALS, "plain", "membrane", "shingle")
COVERINGS: dict[str, Callable[[Surface, np.random.Generator], Map]] = dict(
    zip(ALL_MATERIALS, (_metal, _painted, _tile, _concrete, _tarpaulin, _plain, _membrane, _shingle))
)

_ZINC: tuple[Color, ...] = (
    (0.72, 0.68, 0.60), (0.66, 0.65, 0.64), (0.80, 0.79, 0.77), (0.90, 0.91, 0.93),
    (0.60, 0.55, 0.47), (0.52, 0.52, 0.53), (0.74, 0.66, 0.53),
)  # fmt: skip
_RUST: tuple[Color, ...] = ((0.50, 0.28, 0.18), (0.42, 0.25, 0.20), (0.62, 0.40, 0.26), (0.55, 0.33, 0.25))
_PAINT: tuple[Color, ...] = (
    (0.60, 0.23, 0.23), (0.55, 0.18, 0.27), (0.72, 0.33, 0.30), (0.38, 0.20, 0.18), (0.38, 0.47, 0.56),
    (0.25, 0.35, 0.60), (0.30, 0.42, 0.32), (0.70, 0.79, 0.70), (0.88, 0.88, 0.86), (0.33, 0.33, 0.35),
    (0.80, 0.72, 0.55), (0.62, 0.45, 0.40),
)  # fmt: skip
_CLAY: tuple[Color, ...] = (
    (0.84, 0.47, 0.28), (0.78, 0.42, 0.30), (0.85, 0.58, 0.46), (0.55, 0.27, 0.20), (0.45, 0.33, 0.28),
    (0.50, 0.50, 0.49), (0.62, 0.62, 0.58), (0.36, 0.37, 0.40),
)  # fmt: skip
_SLAB: tuple[Color, ...] = ((0.62, 0.61, 0.58), (0.72, 0.69, 0.63), (0.50, 0.49, 0.47), (0.82, 0.81, 0.78))
_PLASTIC: tuple[Color, ...] = ((0.20, 0.42, 0.72), (0.88, 0.88, 0.86), (0.22, 0.45, 0.35), (0.80, 0.45, 0.20))
_SMOOTH: tuple[Color, ...] = (
    (0.80, 0.72, 0.60), (0.78, 0.62, 0.58), (0.84, 0.80, 0.72), (0.90, 0.89, 0.86), (0.70, 0.68, 0.66),
    (0.72, 0.55, 0.48), (0.62, 0.26, 0.24), (0.45, 0.52, 0.60), (0.50, 0.58, 0.52), (0.86, 0.76, 0.70),
)  # fmt: skip
_ROOFING: tuple[Color, ...] = (
    (0.34, 0.34, 0.35), (0.48, 0.47, 0.46), (0.62, 0.61, 0.60), (0.78, 0.77, 0.75), (0.92, 0.92, 0.91),
    (0.26, 0.26, 0.27), (0.55, 0.50, 0.45), (0.56, 0.40, 0.34), (0.45, 0.50, 0.45),
)  # fmt: skip
_SHINGLES: tuple[Color, ...] = (
    (0.42, 0.40, 0.39), (0.50, 0.45, 0.40), (0.34, 0.32, 0.31), (0.58, 0.54, 0.49), (0.44, 0.36, 0.31),
    (0.38, 0.41, 0.44), (0.30, 0.31, 0.34), (0.62, 0.60, 0.57),
)  # fmt: skip
