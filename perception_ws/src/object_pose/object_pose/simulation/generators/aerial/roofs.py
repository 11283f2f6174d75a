"""Buildings from above: roofs of one or more wings, in the materials that roofs are made of.

A roof's own axes are p along its longer side and q across; heights and lengths are pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.simulation.generators.aerial.canvas import (
    Canvas,
    Color,
    Map,
    Window,
    grid,
    mix,
    noise_at,
    polygon_cover,
    vary,
)

_KINDS = ("gable", "hip", "shed", "flat")


@dataclass(frozen=True)
class Wing:
    """A rectangle of a roof: middle and half sides in (p, q); its ridge runs along p, or along q."""

    middle: tuple[float, float]
    half: tuple[float, float]
    ridge_along_p: bool = True


@dataclass(frozen=True)
class Building:
    """A building: middle (x, y), turn of its p axis (radians), its wings, roof kind, slope, eaves height, material.

    ``tint`` is its roof's mean colour, that of the material where it is None.
    """

    middle: tuple[float, float]
    angle: float
    wings: tuple[Wing, ...]
    kind: str
    pitch: float
    eaves: float
    material: str
    tint: Color | None = None

    def contour(self, wing: Wing) -> NDArray[np.float64]:
        """Return the (4, 2) corners of a wing in image pixels."""
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        local = np.asarray(wing.middle) + signs * np.asarray(wing.half)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.asarray(local @ np.array([[cos, sin], [-sin, cos]]) + self.middle)

    @property
    def corners(self) -> NDArray[np.float64]:
        """All wings' corners, (4 n, 2)."""
        return np.concatenate([self.contour(wing) for wing in self.wings])


@dataclass(frozen=True)
class View:
    """How a scene is seen and lit: unit vector to the sun (x, y, z), and the ground shift (x, y) a pixel of height.

    Walls that show have storeys of ``storey`` pixels, with windows; 0 leaves them plain.
    """

    sun: NDArray[np.float64]
    lean: NDArray[np.float64]
    ambient: float
    storey: float = 0.0


@dataclass
class _Surface:
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


def random_wings(rng: np.random.Generator, half_p: float, half_q: float) -> tuple[Wing, ...]:
    """Return wings that fill a box of these half sides: a rectangle, or an L, T, U shape where there is room."""
    shape = rng.choice(["rectangle", "l", "t", "u"], p=[0.62, 0.2, 0.1, 0.08])
    if shape == "rectangle" or half_q < 18 or half_p < 24:
        return (Wing((0.0, 0.0), (half_p, half_q)),)
    side = 1.0 if rng.random() < 0.5 else -1.0
    main_half = half_q * rng.uniform(0.45, 0.65)
    main = Wing((0.0, side * (half_q - main_half)), (half_p, main_half))
    # A side wing reaches under the ridge of the main one, so that their roofs meet in a valley.
    reach = half_q - main_half / 2
    side_half = float(np.clip(half_p * rng.uniform(0.22, 0.42), 8.0, half_p / 2))
    places = {"l": [rng.choice([-1.0, 1.0])], "t": [rng.uniform(-0.4, 0.4)], "u": [-1.0, 1.0]}[str(shape)]
    across = -side * (half_q - reach)
    wings = [Wing((float(place) * (half_p - side_half), across), (side_half, reach), False) for place in places]
    return (main, *wings)


def random_kind(rng: np.random.Generator, material: str) -> tuple[str, float]:
    """Return a roof kind that suits the material, and its slope."""
    shares = {"concrete": (0, 0, 0, 1), "tile": (0.45, 0.5, 0.05, 0), "tarpaulin": (0.2, 0, 0.4, 0.4)}
    shares |= {"plain": (0.4, 0.15, 0.25, 0.2), "membrane": (0, 0, 0, 1), "shingle": (0.45, 0.55, 0, 0)}
    kind = str(rng.choice(_KINDS, p=shares.get(material, (0.5, 0.15, 0.32, 0.03))))
    slopes = {"gable": (0.15, 0.55), "hip": (0.25, 0.6), "shed": (0.04, 0.22), "flat": (0.0, 0.0)}
    return kind, float(rng.uniform(*slopes[kind]))


def draw_building(canvas: Canvas, building: Building, view: View, rng: np.random.Generator) -> None:
    """Draw walls as far as they show, then the roof with its covering and what lies on it."""
    corners = building.corners
    window = canvas.window(corners.min(axis=0) - 1, corners.max(axis=0) + 1)
    _draw_walls(canvas, building, view, rng)
    if window is None:
        return
    surface = _surface(building, window, canvas.scale)
    color = _COVERINGS[building.material](surface, rng)
    if building.tint is not None:
        color *= np.asarray(building.tint, np.float32) / color.mean(axis=(0, 1))
    color *= _sunlit(surface, building, view)[..., None]
    if building.kind == "flat" and building.material == "concrete" and rng.random() < 0.7:
        rim = (surface.inside < rng.uniform(2, 5) * canvas.scale) * np.float32(rng.uniform(-0.15, 0.3))
        color *= (1 + rim)[..., None]
    cover = np.clip(surface.inside + np.float32(0.5), 0, 1)
    canvas.paint(window, cover, np.clip(color, 0, 1.2), building.eaves + surface.height, roof=True)
    _draw_fittings(canvas, building, rng)


def _surface(building: Building, window: Window, scale: float) -> _Surface:
    x, y = grid(window)
    x, y = x - np.float32(building.middle[0]), y - np.float32(building.middle[1])
    cos, sin = np.float32(np.cos(building.angle)), np.float32(np.sin(building.angle))
    p, q = cos * x + sin * y, cos * y - sin * x
    result = _wing_surface(building, building.wings[0], p, q)
    for wing in building.wings[1:]:
        other = _wing_surface(building, wing, p, q)
        outside = result.inside < 0
        higher = (other.inside > -0.5) & (outside | (other.height > result.height))
        for name in ("height", "slope_p", "slope_q", "along", "down"):
            np.copyto(getattr(result, name), getattr(other, name), where=higher)
        np.maximum(result.inside, other.inside, out=result.inside)
    if scale != 1.0:
        result.along, result.down = result.along / np.float32(scale), result.down / np.float32(scale)
        result.fineness = min(1.0, scale)
    return result


def _wing_surface(building: Building, wing: Wing, p: Map, q: Map) -> _Surface:
    x, y = p - np.float32(wing.middle[0]), q - np.float32(wing.middle[1])
    half_x, half_y = wing.half
    if not wing.ridge_along_p:
        x, y, half_x, half_y = y, x, half_y, half_x
    depth_x, depth_y = np.float32(half_x) - np.abs(x), np.float32(half_y) - np.abs(y)
    inside = np.minimum(depth_x, depth_y)
    zero, pitch = np.zeros_like(inside), np.float32(building.pitch)
    slope_x, slope_y, along, down = zero, zero.copy(), x.copy(), y + np.float32(half_y)
    height = zero.copy()
    if building.kind == "gable":
        height, slope_y, down = pitch * depth_y, -pitch * np.sign(y), depth_y
    elif building.kind == "hip":
        is_end = depth_x < depth_y
        height, down, along = pitch * inside, inside.copy(), np.where(is_end, y, x)
        slope_x, slope_y = -pitch * np.sign(x) * is_end, -pitch * np.sign(y) * ~is_end
    elif building.kind == "shed":
        height, slope_y = pitch * down, np.full_like(inside, pitch)
    if not wing.ridge_along_p:
        slope_x, slope_y = slope_y, slope_x
    return _Surface(inside, height.astype(np.float32), slope_x, slope_y, along, down)


def _sunlit(surface: _Surface, building: Building, view: View) -> Map:
    """Return how bright each face is against level ground (1.0)."""
    cos, sin = np.cos(building.angle), np.sin(building.angle)
    sun_p = np.float32(cos * view.sun[0] + sin * view.sun[1])
    sun_q = np.float32(cos * view.sun[1] - sin * view.sun[0])
    sun_z = np.float32(view.sun[2])
    slope_p, slope_q = surface.slope_p, surface.slope_q
    facing = (sun_z - slope_p * sun_p - slope_q * sun_q) / np.sqrt(1 + slope_p**2 + slope_q**2)
    direct = np.clip(facing / sun_z, 0.0, 2.0)
    return np.asarray(view.ambient + (1 - view.ambient) * direct, dtype=np.float32)


def _draw_walls(canvas: Canvas, building: Building, view: View, rng: np.random.Generator) -> None:
    """A camera that is not straight above sees the walls on one side."""
    shift = view.lean * building.eaves
    if np.hypot(*shift) < 1.0:
        return
    color = vary(rng, _WALLS[int(rng.integers(len(_WALLS)))], 0.2)
    for wing in building.wings:
        roof = building.contour(wing)
        hull = cv2.convexHull(np.concatenate([roof, roof + shift]).astype(np.float32))[:, 0].astype(np.float64)
        window = canvas.window(hull.min(axis=0) - 1, hull.max(axis=0) + 1)
        if window is not None:
            shade = color if view.storey == 0 else color * _windows(window, building, view, rng)[..., None]
            canvas.paint(window, polygon_cover(window, hull), shade, building.eaves * 0.4)


def _windows(window: Window, building: Building, view: View, rng: np.random.Generator) -> Map:
    """Return how dark walls are: bands of windows, storey by storey."""
    x, y = grid(window)
    reach = float(np.hypot(*view.lean))
    up = (x * np.float32(view.lean[0]) + y * np.float32(view.lean[1])) / np.float32(reach**2)
    angle = building.angle + (0.0 if rng.random() < 0.5 else np.pi / 2)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    bands = np.sin(up * np.float32(2 * np.pi / view.storey)) > rng.uniform(-0.3, 0.6)
    gaps = np.sin(along * np.float32(2 * np.pi / (view.storey * rng.uniform(0.6, 1.6)))) > rng.uniform(-0.9, 0.5)
    dark = np.float32(rng.uniform(0.0, 0.55) * min(1.0, reach * view.storey / 3))
    return np.asarray(rng.uniform(0.55, 1.05) * (1 - dark * (bands & gaps)), dtype=np.float32)


def _draw_fittings(canvas: Canvas, building: Building, rng: np.random.Generator) -> None:
    """Dishes, tanks, skylights, loose stones and boards: they lie on the roof and count as roof."""
    for _ in range(int(rng.poisson(1.2))):
        wing = building.wings[int(rng.integers(len(building.wings)))]
        place = np.asarray(wing.middle) + np.asarray(wing.half) * rng.uniform(-0.85, 0.85, 2)
        cos, sin = np.cos(building.angle), np.sin(building.angle)
        middle = np.array([cos * place[0] - sin * place[1], sin * place[0] + cos * place[1]]) + building.middle
        size = rng.uniform(1.5, 6.0, 2) if rng.random() < 0.7 else rng.uniform(4.0, 16.0, 2)
        size = np.minimum(size * canvas.scale, np.asarray(wing.half) * 0.4)
        corners = cv2.boxPoints((middle.tolist(), (2 * size).tolist(), float(np.degrees(building.angle))))
        if rng.random() < 0.4:
            turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            corners = middle + size.min() * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        corners = np.asarray(corners, dtype=np.float64)
        window = canvas.window(corners.min(axis=0) - 1, corners.max(axis=0) + 1)
        if window is None:
            continue
        cover = polygon_cover(window, corners) * canvas.roof[window]
        height = canvas.height[window] + np.float32(rng.uniform(0, 6) * canvas.scale)
        canvas.paint(window, cover, vary(rng, _FITTINGS[int(rng.integers(len(_FITTINGS)))], 0.2), height, roof=True)


def _metal(surface: _Surface, rng: np.random.Generator) -> Map:
    """Return corrugated sheets, each of its own age: plain zinc to all rust."""
    base = vary(rng, _ZINC[int(rng.integers(len(_ZINC)))], 0.12)
    rust = vary(rng, _RUST[int(rng.integers(len(_RUST)))], 0.2)
    sheet, sheet_shade, seams = _sheets(surface, rng)
    ages = [rng.uniform(-0.9, -0.3), rng.uniform(-0.3, 0.5), rng.uniform(0.5, 1.5)]
    level = float(rng.choice(ages, p=[0.45, 0.3, 0.25]))
    streaks = surface.noise(rng, 2, (1, 6)) * np.float32(rng.uniform(0.05, 0.4))
    patches = surface.noise(rng, 16) * np.float32(rng.uniform(0.0, 0.35))
    weight = np.clip(level + sheet * np.float32(rng.uniform(0.1, 0.8)) + streaks + patches, 0, 1)
    return mix(base, rust, weight) * (sheet_shade * seams * _ribs(surface, rng))[..., None]


def _painted(surface: _Surface, rng: np.random.Generator) -> Map:
    """Return painted sheets, faded in places."""
    base = vary(rng, _PAINT[int(rng.integers(len(_PAINT)))], 0.2)
    faded = base + np.float32(rng.uniform(0.2, 0.6)) * (np.float32(0.75) - base)
    _, sheet_shade, seams = _sheets(surface, rng)
    fading = surface.noise(rng, 16, (1, 3)) * np.float32(rng.uniform(0.05, 0.5))
    weight = np.clip(fading + np.float32(rng.uniform(-0.3, 0.5)), 0, 1)
    return mix(base, faded, weight) * (sheet_shade * seams * _ribs(surface, rng))[..., None]


def _tile(surface: _Surface, rng: np.random.Generator) -> Map:
    """Return rows of tiles with darker ones strewn in."""
    base = vary(rng, _CLAY[int(rng.integers(len(_CLAY)))], 0.15)
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


def _concrete(surface: _Surface, rng: np.random.Generator) -> Map:
    """Return a slab with stains."""
    base = vary(rng, _SLAB[int(rng.integers(len(_SLAB)))], 0.15)
    field = surface.noise(rng, 32) * np.float32(rng.uniform(0.02, 0.15))
    field = field + surface.noise(rng, 8) * np.float32(rng.uniform(0.01, 0.08))
    return base * (1 + field + surface.noise(rng, 1) * np.float32(0.03))[..., None]


def _tarpaulin(surface: _Surface, rng: np.random.Generator) -> Map:
    """Return a wrinkled sheet of plastic over a frame."""
    base = vary(rng, _PLASTIC[int(rng.integers(len(_PLASTIC)))], 0.15)
    wrinkles = surface.noise(rng, 8, (2, 1)) * np.float32(rng.uniform(0.05, 0.15))
    folds = surface.noise(rng, 4, (1, 2)) * np.float32(rng.uniform(0.02, 0.08))
    return base * (1 + wrinkles + folds)[..., None]


def _plain(surface: _Surface, rng: np.random.Generator) -> Map:
    """Return smooth metal or plaster: one colour, hardly any pattern."""
    base = vary(rng, _SMOOTH[int(rng.integers(len(_SMOOTH)))], 0.2)
    field = surface.noise(rng, 32) * np.float32(rng.uniform(0.0, 0.05))
    field = field + surface.noise(rng, 2) * np.float32(rng.uniform(0.0, 0.04))
    return base * (1 + field)[..., None] * _ribs(surface, rng)[..., None]


def _membrane(surface: _Surface, rng: np.random.Generator) -> Map:
    """Return bitumen, gravel or foil in broad strips, with puddles' stains."""
    base = vary(rng, _ROOFING[int(rng.integers(len(_ROOFING)))], 0.2)
    strip = np.floor((surface.along + np.float32(500)) / np.float32(rng.uniform(13, 30))).astype(np.int32)
    shades = rng.standard_normal(64).astype(np.float32)[strip & 63] * np.float32(rng.uniform(0, 0.05))
    field = shades + surface.noise(rng, 64) * np.float32(rng.uniform(0.01, 0.12))
    field = field + surface.noise(rng, 8) * np.float32(rng.uniform(0, 0.05))
    return base * (1 + field + surface.noise(rng, 1) * np.float32(rng.uniform(0, 0.06)))[..., None]


def _shingle(surface: _Surface, rng: np.random.Generator) -> Map:
    """Return asphalt shingles or slates: short rows of slightly different shades."""
    base = vary(rng, _SHINGLES[int(rng.integers(len(_SHINGLES)))], 0.25)
    rows = surface.noise(rng, 2, (2, 1)) * np.float32(rng.uniform(0.02, 0.1))
    field = rows + surface.noise(rng, 1) * np.float32(rng.uniform(0, 0.06))
    field = field + surface.noise(rng, 64, (0.5, 3)) * np.float32(rng.uniform(0, 0.08))
    return base * (1 + field)[..., None]


def _sheets(surface: _Surface, rng: np.random.Generator) -> tuple[Map, Map, Map]:
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


def _ribs(surface: _Surface, rng: np.random.Generator) -> Map:
    period = rng.uniform(2.2, 6.0)
    strength = np.float32(rng.uniform(0.0, 0.1) * surface.fineness**2)
    return 1 + strength * np.sin(surface.along * np.float32(2 * np.pi / period) + np.float32(rng.uniform(0, 6)))


MATERIALS = ("metal", "painted", "tile", "concrete", "tarpaulin")
ALL_MATERIALS = (*MATERIALS, "plain", "membrane", "shingle")
_COVERINGS: dict[str, Callable[[_Surface, np.random.Generator], Map]] = dict(
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
_WALLS: tuple[Color, ...] = ((0.80, 0.76, 0.68), (0.62, 0.55, 0.48), (0.55, 0.36, 0.28), (0.86, 0.85, 0.82))
_FITTINGS: tuple[Color, ...] = (
    (0.92, 0.92, 0.92), (0.10, 0.10, 0.11), (0.55, 0.50, 0.42),
    (0.16, 0.20, 0.33), (0.75, 0.75, 0.75), (0.42, 0.28, 0.20),
)  # fmt: skip
