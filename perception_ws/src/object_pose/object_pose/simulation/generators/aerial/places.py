"""Rendered aerial tiles of many kinds of place and ground resolution, with their building masks.

Towns of slabs, villas, leafy suburbs, terraces round courtyards, blocks of flats, works, villages, and land without a
building; drawn at 0.05 to 0.4 m a pixel. Beside buildings lie things that look like some: courts, aprons, lorries,
containers, pools, fields. Shells without a roof are buildings. Lengths here are metres, on the canvas pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.simulation.generators.aerial.canvas import Canvas, as_color, noise, pick, random_color, vary
from object_pose.simulation.generators.aerial.coverings import ALL_MATERIALS
from object_pose.simulation.generators.aerial.ground import (
    EARTH,
    GROUND,
    PALE,
    STREETS,
    WATER,
    draw_car,
    draw_clutter,
    draw_ground,
    draw_patch,
    draw_road,
    draw_tree,
    draw_wall,
    draw_yard,
)
from object_pose.simulation.generators.aerial.land import Lot
from object_pose.simulation.generators.aerial.light import expose, photograph, random_weather, shadow_of
from object_pose.simulation.generators.aerial.lookalikes import draw_container, draw_lookalike
from object_pose.simulation.generators.aerial.roofs import (
    PLAIN_SHAPES,
    Building,
    Shapes,
    View,
    Wing,
    random_kind,
    random_wings,
)
from object_pose.simulation.generators.aerial.rooftops import SHELL, draw_house

PLACE_SIZE = 384
_MARGIN = 40
_SIZE = PLACE_SIZE + 2 * _MARGIN
_RESOLUTIONS = (0.05, 0.4)
# Below this, a crown hides what is under it; people who draw on coarser pictures complete the roof.
_CROWNS_HIDE_BELOW = 0.1
Span = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """A kind of place; lengths in metres, ``trees``, ``cars`` and ``clutter`` counts on 1000 square metres.

    Land is split into blocks with streets between, blocks into lots. ``materials`` are the probabilities of
    ``ALL_MATERIALS``, ``courtyards`` and ``shells`` those of a building, ``lookalikes`` that of a lot without one,
    ``driveways`` that of a house, ``palms`` that of a tree; ``shapes`` those of a house's outlines. ``crowns`` are the
    radii of trees, which stand ``clearance`` of a radius or more from roofs; metres a pixel are at most ``largest_m``.
    """

    block: Span
    street: Span
    lot: Span
    gap: Span
    built: Span
    eaves: Span
    trees: float
    cars: float
    clutter: float
    greenness: Span
    materials: tuple[float, ...]
    crooked: float = 0.02
    walls: float = 0.2
    courtyards: float = 0.0
    shells: float = 0.02
    lookalikes: float = 0.2
    driveways: float = 0.0
    shapes: Shapes = PLAIN_SHAPES
    crowns: Span = (0.8, 5.0)
    clearance: Span = (0.35, 1.0)
    palms: float = 0.25
    largest_m: float = _RESOLUTIONS[1]


_WINGED: Shapes = (0.25, 0.35, 0.25, 0.15)
# Probabilities of the materials: metal, painted, tile, concrete, tarpaulin, plain, membrane, shingle.
PLACES: dict[str, Place] = {
    "huts": Place(
        (40, 90), (2, 7), (6, 14), (-0.1, 0.8), (0.7, 0.97), (2, 4), 1.0, 0.3, 7, (0, 0.2),
        (0.55, 0.18, 0.03, 0.06, 0.05, 0.13, 0, 0), crooked=0.06, shells=0.01, largest_m=0.2,
    ),
    "slabs": Place(
        (40, 120), (3, 9), (7, 18), (-0.1, 2.0), (0.4, 0.97), (3, 18), 1.6, 0.4, 2, (0, 0.7),
        (0.08, 0.1, 0.05, 0.42, 0.01, 0.2, 0.14, 0), crooked=0.03, shells=0.07, largest_m=0.25,
    ),
    "villas": Place(
        (60, 160), (7, 14), (15, 32), (2, 7), (0.6, 0.97), (2.6, 7), 5.0, 0.8, 0.5, (0.4, 1.0),
        (0.05, 0.06, 0.28, 0.03, 0, 0.1, 0.06, 0.42), walls=0.3, lookalikes=0.15, driveways=0.4,
    ),
    "leafy": Place(
        (60, 130), (8, 13), (16, 30), (1.5, 6), (0.75, 0.98), (2.6, 6), 9.0, 1.0, 0.3, (0.5, 1.0),
        (0.04, 0.02, 0.1, 0.0, 0, 0.07, 0.05, 0.72), walls=0.15, lookalikes=0.15, driveways=0.75,
        shapes=_WINGED, crowns=(1.5, 8.0), clearance=(0.0, 0.8), palms=0.03,
    ),
    "suburb": Place(
        (50, 120), (4, 10), (11, 24), (0.5, 4), (0.5, 0.95), (3, 9), 3.0, 0.7, 3, (0.1, 0.8),
        (0.2, 0.18, 0.25, 0.1, 0.01, 0.18, 0.04, 0.04), walls=0.6, shells=0.05,
    ),
    "terraces": Place(
        (40, 110), (8, 18), (12, 40), (-0.2, 0.6), (0.85, 1.0), (8, 22), 1.5, 1.5, 0.5, (0.05, 0.5),
        (0.05, 0.04, 0.42, 0.04, 0, 0.12, 0.23, 0.1), courtyards=0.35, lookalikes=0.1,
    ),
    "old_town": Place(
        (30, 80), (2, 6), (6, 16), (-0.3, 0.3), (0.85, 1.0), (5, 15), 0.6, 0.5, 1.0, (0.0, 0.2),
        (0.05, 0.08, 0.45, 0.17, 0.01, 0.12, 0.06, 0.06), crooked=0.04, courtyards=0.1, lookalikes=0.05, largest_m=0.3,
    ),
    "flats": Place(
        (80, 200), (10, 22), (28, 70), (5, 16), (0.6, 0.95), (9, 40), 3.0, 2.0, 0.3, (0.3, 0.9),
        (0.02, 0.05, 0.1, 0.2, 0, 0.13, 0.45, 0.05), courtyards=0.12,
    ),
    "works": Place(
        (100, 260), (8, 18), (35, 130), (2, 14), (0.5, 0.95), (5, 12), 0.5, 2.0, 2.0, (0, 0.3),
        (0.18, 0.14, 0.02, 0.12, 0.01, 0.26, 0.27, 0), lookalikes=0.5,
    ),
    "village": Place(
        (80, 250), (3, 8), (20, 60), (3, 16), (0.1, 0.6), (2.5, 6), 4.0, 0.2, 2, (0.3, 1.0),
        (0.3, 0.15, 0.25, 0.08, 0.02, 0.14, 0.02, 0.04), lookalikes=0.3,
    ),
    "open": Place(
        (60, 250), (3, 12), (15, 90), (2, 10), (0.0, 0.06), (2.5, 6), 5.0, 0.8, 1.5, (0.1, 1.0),
        (0.2, 0.1, 0.2, 0.1, 0.02, 0.2, 0.1, 0.08), lookalikes=0.6,
    ),
}  # fmt: skip
_DRIVES = (*PALE, *STREETS)
_PLACE_PROBABILITIES = (0.08, 0.2, 0.08, 0.12, 0.11, 0.1, 0.07, 0.08, 0.08, 0.04, 0.04)


@dataclass(frozen=True)
class AerialTile:
    """A tile's RGB ``image`` (S, S, 3), its ``mask`` (S, S), 0 or 255, and its ground resolution."""

    image: Image
    mask: Image
    metres_per_pixel: float


def sample_place(seed: int) -> AerialTile:
    """Return the tile of ``PLACE_SIZE`` pixels a side that belongs to a seed."""
    rng = np.random.default_rng(seed)
    place = PLACES[str(rng.choice(list(PLACES), p=_PLACE_PROBABILITIES))]
    resolution = float(np.exp(rng.uniform(np.log(_RESOLUTIONS[0]), np.log(place.largest_m))))
    scene = _Scene(place, resolution, rng)
    scene.draw()
    light = expose(scene.canvas.color, shadow_of(scene.canvas.height, scene.weather), scene.weather, rng)
    inner = slice(_MARGIN, _MARGIN + PLACE_SIZE)
    mask = np.where(scene.canvas.roof[inner, inner], np.uint8(255), np.uint8(0))
    return AerialTile(photograph(light[inner, inner], rng), mask, resolution)


class _Scene:
    """One place as it is drawn: ground and streets, lots with their houses, then what stands about."""

    def __init__(self, place: Place, resolution: float, rng: np.random.Generator) -> None:
        self.place, self.rng = place, rng
        self.canvas = Canvas.blank(_SIZE, resolution)
        self.ppm = self.canvas.pixels_per_metre
        self.weather = random_weather(rng)
        self.lushness = float(rng.choice([rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.6)], p=[0.65, 0.35]))
        self.angle = float(rng.uniform(0, np.pi))
        lean = rng.uniform(0, 2 * np.pi)
        shift = np.array([np.cos(lean), np.sin(lean)]) * min(0.45, abs(rng.normal(0, 0.16)))
        ambient = float(np.clip(self.weather.diffuse, 0.3, 0.95))
        self.view = View(self.weather.sun, shift, ambient, storey=float(rng.uniform(2.6, 3.8) * self.ppm))
        self.hides = resolution < _CROWNS_HIDE_BELOW
        # Neighbours build alike: a place has a few colours and materials of its own.
        own = rng.dirichlet(np.maximum(np.asarray(place.materials) * 6, 1e-3))
        materials = 0.5 * np.asarray(place.materials) + 0.5 * own
        self.materials = materials / materials.sum()
        self.area = (_SIZE * resolution) ** 2 / 1000

    def draw(self) -> None:
        """Draw everything."""
        rng, place = self.rng, self.place
        draw_ground(self.canvas, float(rng.uniform(*place.greenness)), self.lushness, rng)
        blocks = self._blocks()
        buildings: list[Building] = []
        built = float(rng.uniform(*place.built))
        for block in blocks:
            for lot in block.split(rng.uniform(*place.lot) * self.ppm, _SIZE, rng):
                if lot.is_seen(_SIZE):
                    buildings += self._draw_lot(lot, built)
        for building in sorted(buildings, key=lambda item: item.eaves):
            draw_house(self.canvas, building, self.view, rng)
        self._draw_things()

    def _blocks(self) -> list[Lot]:
        """Return the blocks between the streets, whose ground is drawn."""
        rng, canvas = self.rng, self.canvas
        reach = _SIZE * 0.75
        axes = np.array([np.cos(self.angle), np.sin(self.angle)])
        offset = rng.uniform(-0.2, 0.2, 2) * _SIZE
        whole = Lot(_SIZE / 2 + offset, np.array([reach, reach]) + np.abs(offset).max(), self.angle)
        parts = whole.split(rng.uniform(*self.place.block) * self.ppm, _SIZE, rng)
        blocks = [item for item in parts if item.is_seen(_SIZE)]
        street = float(rng.uniform(*self.place.street)) * self.ppm
        if rng.random() < 0.75:
            self._draw_streets(blocks, street)
        elif rng.random() < 0.7:
            across = np.array([-axes[1], axes[0]])
            steps = np.linspace(-reach, reach, 9)[:, None]
            bend = np.cumsum(rng.normal(0, 0.02 * _SIZE, 9))[:, None]
            draw_road(canvas, _SIZE / 2 + steps * axes + (offset[0] + bend - bend[4]) * across, street, rng)
        return [replace(item, half=np.maximum(item.half - street / 2, 1.0)) for item in blocks]

    def _draw_streets(self, blocks: list[Lot], width: float) -> None:
        """Pave what lies between the blocks, with kerbs and marks now and then."""
        rng, canvas = self.rng, self.canvas
        inside = np.zeros((_SIZE, _SIZE), np.uint8)
        kerb = np.zeros_like(inside)
        for block in blocks:
            corners = np.rint(block.corners(width / 2) * 16).astype(np.int32)
            cv2.fillPoly(inside, [corners], 255, cv2.LINE_AA, shift=4)
            walk = np.rint(block.corners(width * 0.2) * 16).astype(np.int32)
            cv2.fillPoly(kerb, [walk], 255, cv2.LINE_AA, shift=4)
        paved = rng.random() < 0.7
        color = vary(rng, pick(rng, STREETS if paved else EARTH), 0.2)
        grain = 1 + noise(rng, (_SIZE, _SIZE), 16) * np.float32(0.05) + noise(rng, (_SIZE, _SIZE), 1) * np.float32(0.03)
        window = (slice(0, _SIZE), slice(0, _SIZE))
        canvas.paint(window, 1 - inside.astype(np.float32) / np.float32(255), color * grain[..., None])
        if paved and rng.random() < 0.6:
            walk = np.clip(kerb.astype(np.float32) - inside, 0, 255) / np.float32(255)
            canvas.paint(window, walk, vary(rng, pick(rng, PALE), 0.15) * grain[..., None])

    def _draw_lot(self, lot: Lot, built: float) -> list[Building]:
        rng, place, canvas = self.rng, self.place, self.canvas
        draw = rng.random()
        if draw < 0.25:
            draw_yard(canvas, lot.corners(rng.uniform(0, 0.1) * lot.half[1]), rng)
        elif draw < 0.4:
            draw_patch(canvas, lot.corners(), GROUND, rng)
        house = self._house(lot) if rng.random() < built else None
        if house is not None and rng.random() < place.driveways:
            self._draw_driveway(lot)
        if house is None:
            if rng.random() < place.lookalikes:
                draw_lookalike(canvas, lot, rng)
            elif rng.random() < 0.3:
                colors = WATER if rng.random() < 0.06 else GROUND
                draw_patch(canvas, lot.corners(rng.uniform(0, 0.3) * lot.half[1]), colors, rng)
        if rng.random() < place.walls:
            corners = np.roll(lot.corners(), int(rng.integers(4)), axis=0)
            draw_wall(canvas, corners[: int(rng.integers(2, 5))], rng)
        return [] if house is None else [house, *self._annexes(house)]

    def _draw_driveway(self, lot: Lot) -> None:
        """Pave a way from one side of a lot to its middle."""
        rng = self.rng
        half = np.array([rng.uniform(1.4, 3.5) * self.ppm, lot.half[1] / 2])
        beside = rng.uniform(-1, 1) * max(0.0, float(lot.half[0] - half[0]))
        place = np.array([beside, float(rng.choice([-1.0, 1.0])) * half[1]])
        axes = np.array([[np.cos(lot.angle), np.sin(lot.angle)], [-np.sin(lot.angle), np.cos(lot.angle)]])
        draw_patch(self.canvas, replace(lot, middle=lot.middle + place @ axes, half=half).corners(), _DRIVES, rng)

    def _house(self, lot: Lot) -> Building | None:
        rng, place = self.rng, self.place
        half = lot.half - rng.uniform(*place.gap, 2) * self.ppm
        if rng.random() < 0.3:
            half = half * rng.uniform(0.5, 0.95, 2)
        if place is PLACES["flats"] and rng.random() < 0.6:
            half[1] = min(half[1], rng.uniform(5, 9) * self.ppm)
        if half.min() < max(1.5 * self.ppm * 0.6, 2.0):
            return None
        angle = lot.angle + rng.normal(0, place.crooked)
        if half[0] < half[1]:
            half, angle = half[::-1], angle + np.pi / 2
        material = str(rng.choice(ALL_MATERIALS, p=self.materials))
        kind, pitch = random_kind(rng, material)
        eaves = float(np.exp(rng.uniform(*np.log(place.eaves)))) * self.ppm
        wings: tuple[Wing, ...] = ()
        if rng.random() < place.courtyards:
            wings = ring_of_wings(rng, half, rng.uniform(4, 8) * self.ppm)
        wings = wings or random_wings(rng, float(half[0]), float(half[1]), place.shapes, self.canvas.scale)
        if rng.random() < place.shells:
            kind = SHELL
        tint = None
        if rng.random() < 0.25:
            tint = random_color(rng) if rng.random() < 0.5 else as_color(vary(rng, pick(rng, GROUND), 0.2))
        middle = (float(lot.middle[0]), float(lot.middle[1]))
        return Building(middle, float(angle), wings, kind, pitch, eaves, material, tint)

    def _annexes(self, house: Building) -> list[Building]:
        """Return lower roofs against the house's sides: sheds, porches, garages."""
        rng, annexes = self.rng, []
        for _ in range(int(rng.choice(3, p=[0.6, 0.3, 0.1]))):
            half_p, half_q = house.wings[0].half
            side = float(rng.choice([-1.0, 1.0]))
            half = np.array([half_p * rng.uniform(0.2, 1.0), rng.uniform(0.7, 2.2) * self.ppm])
            place = np.array([rng.uniform(-1, 1) * (half_p - half[0]), side * (half_q + half[1])])
            place = place + house.wings[0].middle
            middle = house.at(place)
            material = house.material if rng.random() < 0.5 else str(rng.choice(ALL_MATERIALS, p=self.materials))
            wing = Wing((0.0, 0.0), (float(half[0]), float(half[1])))
            eaves = min(house.eaves * float(rng.uniform(0.4, 0.9)), 4 * self.ppm)
            annexes.append(
                Building(middle, house.angle, (wing,), "shed", float(rng.uniform(0.02, 0.15)), eaves, material)
            )
        return annexes

    def _draw_things(self) -> None:
        rng, place, canvas = self.rng, self.place, self.canvas
        for _ in range(min(60, int(rng.poisson(place.clutter * self.area * 0.15)))):
            spot = rng.uniform(0, _SIZE, 2)
            draw_clutter(canvas, spot, int(rng.poisson(3)), float(rng.uniform(0.5, 3) * self.ppm), rng)
        for _ in range(min(80, int(rng.poisson(place.cars * self.area * rng.uniform(0, 2.0))))):
            spot, turn = rng.uniform(0, _SIZE, 2), self.angle + float(rng.choice([0, np.pi / 2])) + rng.normal(0, 0.15)
            if not self._has_roof_near(spot, 1.5):
                if rng.random() < 0.2:
                    draw_container(canvas, spot, turn, rng)
                else:
                    draw_car(canvas, spot, turn, rng)
        for _ in range(min(150, int(rng.poisson(place.trees * self.area * rng.uniform(0.1, 1.6))))):
            spot = rng.uniform(0, _SIZE, 2)
            radius = float(np.exp(rng.uniform(*np.log(place.crowns)))) * self.ppm
            if radius > 1.5 and not self._has_roof_near(spot, radius * rng.uniform(*place.clearance) / self.ppm):
                draw_tree(canvas, spot, radius, self.lushness, self.weather.sun[:2], rng, self.hides, place.palms)

    def _has_roof_near(self, spot: Array, reach_m: float) -> bool:
        return self.canvas.has_roof_near(spot, max(1, int(reach_m * self.ppm)))


def ring_of_wings(rng: np.random.Generator, half: Array, depth: float) -> tuple[Wing, ...]:
    """Return four wings round a courtyard, none where there is no room for one."""
    if half.min() < 1.5 * depth:
        return ()
    p, q = float(half[0]), float(half[1])
    depth = depth * float(rng.uniform(0.7, 1.0)) / 2
    sides = [
        Wing((0.0, -(q - depth)), (p, depth)),
        Wing((0.0, q - depth), (p, depth)),
        Wing((-(p - depth), 0.0), (depth, q), False),
        Wing((p - depth, 0.0), (depth, q), False),
    ]
    return tuple(sides if rng.random() < 0.8 else sides[: int(rng.integers(2, 4))])
