"""Buildings from above: roofs of one or more wings, with their walls and what lies on them.

A roof's own axes are p along its longer side and q across; heights and lengths are pixels.
"""

from __future__ import annotations

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
    pick,
    placed,
    polygon_cover,
    rectangle_corners,
    vary,
)
from object_pose.simulation.generators.aerial.coverings import COVERINGS, Surface

_KINDS = ("gable", "hip", "shed", "flat")
# Probabilities of a rectangle, and of L, T and U shapes.
Shapes = tuple[float, float, float, float]
PLAIN_SHAPES: Shapes = (0.62, 0.2, 0.1, 0.08)


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
        return placed(np.asarray(wing.middle) + rectangle_corners(wing.half), self.middle, self.angle)

    def at(self, place: NDArray[np.float64]) -> tuple[float, float]:
        """Return the image pixel (x, y) of a place (p, q) around its middle."""
        x, y = placed(place, self.middle, self.angle)
        return float(x), float(y)

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


def random_wings(
    rng: np.random.Generator, half_p: float, half_q: float, shapes: Shapes = PLAIN_SHAPES, scale: float = 1.0
) -> tuple[Wing, ...]:
    """Return wings that fill a box of these half sides: a rectangle, or an L, T, U shape where there is room.

    ``shapes`` are their probabilities, ``scale`` how many times smaller pixels are than 0.075 m.
    """
    shape = rng.choice(["rectangle", "l", "t", "u"], p=shapes)
    if shape == "rectangle" or half_q < 18 * scale or half_p < 24 * scale:
        return (Wing((0.0, 0.0), (half_p, half_q)),)
    side = 1.0 if rng.random() < 0.5 else -1.0
    main_half = half_q * rng.uniform(0.45, 0.65)
    main = Wing((0.0, side * (half_q - main_half)), (half_p, main_half))
    # A side wing reaches under the ridge of the main one, so that their roofs meet in a valley.
    reach = half_q - main_half / 2
    side_half = float(np.clip(half_p * rng.uniform(0.22, 0.42), 8.0 * scale, half_p / 2))
    places = {"l": [rng.choice([-1.0, 1.0])], "t": [rng.uniform(-0.4, 0.4)], "u": [-1.0, 1.0]}[str(shape)]
    across = -side * (half_q - reach)
    wings = [Wing((float(place) * (half_p - side_half), across), (side_half, reach), False) for place in places]
    return (main, *wings)


def random_kind(rng: np.random.Generator, material: str) -> tuple[str, float]:
    """Return a roof kind that suits the material, and its slope."""
    kinds = {"concrete": (0, 0, 0, 1), "tile": (0.45, 0.5, 0.05, 0), "tarpaulin": (0.2, 0, 0.4, 0.4)}
    kinds |= {"plain": (0.4, 0.15, 0.25, 0.2), "membrane": (0, 0, 0, 1), "shingle": (0.45, 0.55, 0, 0)}
    kind = str(rng.choice(_KINDS, p=kinds.get(material, (0.5, 0.15, 0.32, 0.03))))
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
    color = COVERINGS[building.material](surface, rng)
    if building.tint is not None:
        color *= np.asarray(building.tint, np.float32) / color.mean(axis=(0, 1))
    color *= _sunlit(surface, building, view)[..., None]
    if building.kind == "flat" and building.material == "concrete" and rng.random() < 0.7:
        rim = (surface.inside < rng.uniform(2, 5) * canvas.scale) * np.float32(rng.uniform(-0.15, 0.3))
        color *= (1 + rim)[..., None]
    cover = np.clip(surface.inside + np.float32(0.5), 0, 1)
    canvas.paint(window, cover, np.clip(color, 0, 1.2), building.eaves + surface.height, roof=True)
    _draw_fittings(canvas, building, rng)


def _surface(building: Building, window: Window, scale: float) -> Surface:
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


def _wing_surface(building: Building, wing: Wing, p: Map, q: Map) -> Surface:
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
    return Surface(inside, height.astype(np.float32), slope_x, slope_y, along, down)


def _sunlit(surface: Surface, building: Building, view: View) -> Map:
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
    color = vary(rng, pick(rng, _WALLS), 0.2)
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
        middle = placed(place, building.middle, building.angle)
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
        canvas.paint(window, cover, vary(rng, pick(rng, _FITTINGS), 0.2), height, roof=True)


_WALLS: tuple[Color, ...] = ((0.80, 0.76, 0.68), (0.62, 0.55, 0.48), (0.55, 0.36, 0.28), (0.86, 0.85, 0.82))
_FITTINGS: tuple[Color, ...] = (
    (0.92, 0.92, 0.92), (0.10, 0.10, 0.11), (0.55, 0.50, 0.42),
    (0.16, 0.20, 0.33), (0.75, 0.75, 0.75), (0.42, 0.28, 0.20),
)  # fmt: skip
