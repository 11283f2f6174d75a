"""Rendered aerial tiles with their building masks: 256x256 pixels of 0.075 m, seen from above.

A building is what a roof shows of it: roofs with all that lies on them count, and so do they under a shadow. What a
tree hides does not count, nor do walls, yards, cars or plastic sheets smaller than a hut: the mask is what can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from object_pose.core.arrays import Image
from object_pose.simulation.generators.aerial.canvas import Canvas, Flags
from object_pose.simulation.generators.aerial.coverings import MATERIALS
from object_pose.simulation.generators.aerial.ground import (
    draw_car,
    draw_clutter,
    draw_ground,
    draw_road,
    draw_tree,
    draw_wall,
    draw_yard,
)
from object_pose.simulation.generators.aerial.land import Lot
from object_pose.simulation.generators.aerial.light import Weather, expose, photograph, random_weather, shadow_of
from object_pose.simulation.generators.aerial.roofs import (
    Building,
    View,
    Wing,
    draw_building,
    random_kind,
    random_wings,
)

TILE_SIZE = 256
# What stands outside the tile throws shadows and crowns into it.
_MARGIN = 24
_SIZE = TILE_SIZE + 2 * _MARGIN


@dataclass(frozen=True)
class Style:
    """A kind of settlement; lengths in pixels. ``materials`` are the probabilities of ``MATERIALS``."""

    lot: tuple[float, float]
    gap: tuple[float, float]
    built: tuple[float, float]
    crooked: float
    trees: float
    cars: float
    clutter: float
    walls: float
    greenness: tuple[float, float]
    materials: tuple[float, ...]


STYLES: dict[str, Style] = {
    "dense": Style(
        (75, 175), (-1, 9), (0.7, 0.97), 0.06, 1.0, 0.3, 7.0, 0.1, (0.0, 0.15), (0.66, 0.2, 0.03, 0.06, 0.05)
    ),
    "suburb": Style(
        (110, 230), (4, 34), (0.45, 0.9), 0.03, 3.5, 1.0, 4.0, 0.6, (0.15, 0.8), (0.3, 0.28, 0.34, 0.07, 0.01)
    ),
    "green": Style(
        (100, 220), (10, 40), (0.0, 0.4), 0.05, 8.0, 0.6, 2.0, 0.3, (0.4, 1.0), (0.35, 0.25, 0.3, 0.08, 0.02)
    ),
    "works": Style(
        (150, 340), (0, 30), (0.5, 0.95), 0.02, 1.0, 2.5, 6.0, 0.3, (0.0, 0.3), (0.5, 0.25, 0.05, 0.18, 0.02)
    ),
}  # fmt: skip
_STYLE_PROBABILITIES = (0.4, 0.34, 0.14, 0.12)


def sample(seed: int) -> tuple[Image, Image]:
    """Return the RGB tile (256, 256, 3) and its mask (256, 256), 0 or 255, that belong to a seed."""
    rng = np.random.default_rng(seed)
    style = STYLES[str(rng.choice(list(STYLES), p=_STYLE_PROBABILITIES))]
    weather = random_weather(rng)
    canvas = Canvas.blank(_SIZE)
    _draw_scene(canvas, style, weather, rng)
    light = expose(canvas.color, shadow_of(canvas.height, weather), weather, rng)
    inner = slice(_MARGIN, _MARGIN + TILE_SIZE)
    image = photograph(light[inner, inner], rng)
    return image, np.where(canvas.roof[inner, inner], np.uint8(255), np.uint8(0))


def _draw_scene(canvas: Canvas, style: Style, weather: Weather, rng: np.random.Generator) -> None:
    lushness = float(rng.choice([rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.6)], p=[0.65, 0.35]))
    angle = float(rng.uniform(0, np.pi))
    draw_ground(canvas, float(rng.uniform(*style.greenness)), lushness, rng)
    taken = _draw_roads(canvas, angle, rng)
    lots = _lots(angle, style, rng)
    buildings: list[Building] = []
    built = float(rng.uniform(*style.built))
    for lot in lots:
        house = _house(lot, style, rng) if rng.random() < built else None
        if house and not _overlaps(house, taken):
            buildings += [house, *_annexes(house, rng)]
            if rng.random() < 0.4:
                yard = replace(lot, half=lot.half * rng.uniform(0.6, 1.05, 2), angle=house.angle)
                draw_yard(canvas, yard.corners(), rng)
        elif rng.random() < 0.35:
            draw_yard(canvas, replace(lot, half=lot.half * rng.uniform(0.3, 1.0, 2)).corners(), rng)
        if rng.random() < style.walls:
            corners = lot.corners()
            draw_wall(canvas, np.roll(corners, int(rng.integers(4)), axis=0)[: int(rng.integers(2, 5))], rng)
    lean = rng.uniform(0, 2 * np.pi)
    shift = np.array([np.cos(lean), np.sin(lean)]) * abs(rng.normal(0, 0.09))
    view = View(weather.sun, shift, float(np.clip(weather.diffuse, 0.3, 0.95)))
    for building in sorted(buildings, key=lambda item: item.eaves):
        draw_building(canvas, building, view, rng)
    _draw_things(canvas, style, lots, lushness, weather, rng)


def _draw_roads(canvas: Canvas, angle: float, rng: np.random.Generator) -> Flags:
    """Draw up to two roads, mostly along or across the lots; return the pixels that they take."""
    taken = np.zeros((_SIZE, _SIZE), dtype=np.bool_)
    for _ in range(int(rng.choice(3, p=[0.4, 0.45, 0.15]))):
        turn = angle + rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.15)
        along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        steps = np.linspace(-300, 300, 9)
        bend = np.cumsum(rng.normal(0, 10, 9))
        offset = rng.uniform(-_SIZE / 2, _SIZE / 2)
        points = _SIZE / 2 + steps[:, None] * along + (offset + bend - bend[4])[:, None] * across
        taken |= draw_road(canvas, points, float(rng.choice([rng.uniform(8, 25), rng.uniform(35, 90)])), rng)
    return taken


def _lots(angle: float, style: Style, rng: np.random.Generator) -> list[Lot]:
    """Split the land again and again until each piece is as small as the style wants; keep those in sight."""
    target = float(rng.uniform(*style.lot))
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    open_pieces = [np.array([-230.0, -230.0, 230.0, 230.0]) + rng.uniform(-40, 40, 4)]
    lots: list[Lot] = []
    while open_pieces:
        piece = open_pieces.pop()
        sides = piece[2:] - piece[:2]
        axis = int(np.argmax(sides))
        if sides[axis] > target * rng.uniform(0.8, 1.5):
            cut = piece[axis] + sides[axis] * rng.uniform(0.33, 0.67)
            left, right = piece.copy(), piece.copy()
            left[axis + 2], right[axis] = cut, cut
            open_pieces += [left, right]
            continue
        middle = ((piece[:2] + piece[2:]) / 2) @ axes + _SIZE / 2
        if np.all(np.abs(middle - _SIZE / 2) < _SIZE / 2 + sides.max() / 2):
            turned = sides[1] > sides[0]
            lots.append(Lot(middle, sides[::-1] / 2 if turned else sides / 2, angle + (np.pi / 2 if turned else 0.0)))
    return lots


def _house(lot: Lot, style: Style, rng: np.random.Generator) -> Building | None:
    half = lot.half - rng.uniform(*style.gap, 2)
    if rng.random() < 0.25:
        half = half * rng.uniform(0.55, 0.95, 2)
    if half.min() < 9:
        return None
    longer = half if half[0] >= half[1] else half[::-1]
    angle = lot.angle + (0.0 if half[0] >= half[1] else np.pi / 2) + rng.normal(0, style.crooked)
    material = str(rng.choice(MATERIALS, p=style.materials))
    kind, pitch = random_kind(rng, material)
    wings = random_wings(rng, float(longer[0]), float(longer[1]))
    eaves = float(rng.choice([rng.uniform(26, 45), rng.uniform(45, 95)], p=[0.8, 0.2]))
    return Building((float(lot.middle[0]), float(lot.middle[1])), float(angle), wings, kind, pitch, eaves, material)


def _annexes(house: Building, rng: np.random.Generator) -> list[Building]:
    """Return lean-to roofs, lower than the house and against one of its sides."""
    annexes = []
    for _ in range(int(rng.choice(3, p=[0.6, 0.3, 0.1]))):
        half_p, half_q = house.wings[0].half
        side = float(rng.choice([-1.0, 1.0]))
        half = np.array([half_p * rng.uniform(0.2, 1.0), rng.uniform(8, 20)])
        place = np.array([rng.uniform(-1, 1) * (half_p - half[0]), side * (half_q + half[1])]) + house.wings[0].middle
        middle = house.at(place)
        material = house.material if rng.random() < 0.5 else str(rng.choice(MATERIALS, p=(0.7, 0.14, 0.0, 0.08, 0.08)))
        wing = Wing((0.0, 0.0), (float(half[0]), float(half[1])))
        eaves = house.eaves * float(rng.uniform(0.55, 0.9))
        annexes.append(Building(middle, house.angle, (wing,), "shed", float(rng.uniform(0.02, 0.15)), eaves, material))
    return annexes


def _draw_things(
    canvas: Canvas, style: Style, lots: list[Lot], lushness: float, weather: Weather, rng: np.random.Generator
) -> None:
    heaps = [lot.middle + rng.uniform(-1, 1, 2) * lot.half for lot in lots]
    for heap in heaps:
        draw_clutter(canvas, heap, int(rng.poisson(style.clutter / 2)), float(rng.uniform(8, 40)), rng)
    for _ in range(int(rng.poisson(style.cars))):
        place = rng.uniform(0, _SIZE, 2)
        if not canvas.has_roof_near(place, 20):
            draw_car(canvas, place, float(rng.uniform(0, np.pi)), rng)
    for _ in range(int(rng.poisson(style.trees * rng.uniform(0.2, 1.6)))):
        place = rng.uniform(0, _SIZE, 2)
        radius = float(np.exp(rng.uniform(np.log(9), np.log(62))))
        if not canvas.has_roof_near(place, int(radius * 0.35)):
            draw_tree(canvas, place, radius, lushness, weather.sun[:2], rng)


def _overlaps(building: Building, taken: Flags) -> bool:
    """Return whether more than a strip of the building stands on a road."""
    area = np.zeros(taken.shape, dtype=np.uint8)
    for wing in building.wings:
        cv2.fillConvexPoly(area, np.rint(building.contour(wing)).astype(np.int32), 1)
    inside = int(area.sum())
    return inside > 0 and int((area.astype(bool) & taken).sum()) > 0.04 * inside
