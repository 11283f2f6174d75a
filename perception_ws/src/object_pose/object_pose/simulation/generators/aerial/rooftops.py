"""Shells without a roof, and what stands on roofs: parapets, stair heads, tanks, panels, windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from object_pose.core.arrays import Array
from object_pose.simulation.generators.aerial.canvas import (
    Canvas,
    Color,
    Map,
    as_color,
    line_cover,
    pick,
    polygon_cover,
    random_color,
    vary,
)
from object_pose.simulation.generators.aerial.ground import GROUND, PALE
from object_pose.simulation.generators.aerial.roofs import Building, View, Wing, draw_building

SHELL = "shell"


def draw_house(canvas: Canvas, building: Building, view: View, rng: np.random.Generator) -> None:
    """Draw a building with what stands on its roof; one of the kind ``SHELL`` has walls and no roof."""
    if building.kind == SHELL:
        _draw_shell(canvas, building, view, rng)
        return
    draw_building(canvas, building, view, rng)
    if building.kind == "flat":
        _draw_parapet(canvas, building, rng)
        for _ in range(int(rng.poisson(1.6))):
            _draw_fitting(canvas, building, rng)
    elif building.kind in ("gable", "hip"):
        for _ in range(int(rng.poisson(0.8))):
            color = vary(rng, pick(rng, _TANKS), 0.2)
            _draw_box(canvas, building, rng.uniform(0.3, 1.0, 2), rng.uniform(0.2, 1.0), color, rng)


def _draw_shell(canvas: Canvas, building: Building, view: View, rng: np.random.Generator) -> None:
    """Draw a floor, the walls round it and between its rooms: all that they enclose is a building."""
    slab = replace(building, kind="flat", material="concrete", eaves=building.eaves * rng.uniform(0.1, 0.5))
    floor = replace(slab, tint=as_color(vary(rng, pick(rng, GROUND), 0.3)))
    draw_building(canvas, floor if rng.random() < 0.6 else slab, view, rng)
    color = vary(rng, pick(rng, _BRICK), 0.2)
    thickness = max(1, round(rng.uniform(0.15, 0.35) * canvas.pixels_per_metre))
    for wing in building.wings:
        corners = building.contour(wing)
        lines = [np.vstack([corners, corners[:1]])]
        for a, b, c, d in ((0, 1, 3, 2), (0, 3, 1, 2)):  # from the side a-b to the side c-d
            for _ in range(int(rng.integers(0, 4))):
                share = rng.uniform(0.15, 0.85)
                ends = [corners[first] + share * (corners[last] - corners[first]) for first, last in ((a, b), (c, d))]
                lines.append(np.vstack(ends))
        _draw_walls(canvas, lines, thickness, color, float(building.eaves))


def _draw_parapet(canvas: Canvas, building: Building, rng: np.random.Generator) -> None:
    if rng.random() >= 0.65:
        return
    color = vary(rng, pick(rng, PALE + _BRICK), 0.25)
    thickness = max(1, round(rng.uniform(0.15, 0.4) * canvas.pixels_per_metre))
    if len(building.wings) == 1:
        (wing,) = building.wings
        inner = replace(wing, half=(wing.half[0] - thickness / 2, wing.half[1] - thickness / 2))
        corners = building.contour(inner)
        height = building.eaves + rng.uniform(0.2, 1.2) * canvas.pixels_per_metre
        _draw_walls(canvas, [np.vstack([corners, corners[:1]])], thickness, color, height)


def _draw_fitting(canvas: Canvas, building: Building, rng: np.random.Generator) -> None:
    """Draw something on a flat roof."""
    kind = rng.random()
    if kind < 0.3:  # stair head
        half, height = rng.uniform(1.0, 2.2, 2), rng.uniform(1.8, 3.0)
        _draw_box(canvas, building, half, height, vary(rng, pick(rng, PALE), 0.2), rng)
    elif kind < 0.6:  # tanks and machines
        for _ in range(int(rng.integers(1, 6))):
            half, height = rng.uniform(0.3, 1.2, 2), rng.uniform(0.5, 1.6)
            _draw_box(canvas, building, half, height, vary(rng, pick(rng, _TANKS), 0.2), rng)
    elif kind < 0.75:  # solar panels
        color = vary(rng, _PANEL, 0.3)
        _draw_box(canvas, building, rng.uniform(1.0, 5.0, 2), 0.3, color, rng)
    elif kind < 0.9:  # sheet metal over a part
        color = vary(rng, pick(rng, _TANKS + _BRICK), 0.3)
        _draw_box(canvas, building, rng.uniform(1.5, 4.0, 2), 2.2, color, rng)
    else:  # plants and washing
        for _ in range(int(rng.integers(2, 12))):
            half = rng.uniform(0.15, 0.6, 2)
            _draw_box(canvas, building, half, 0.6, np.asarray(random_color(rng), np.float32), rng)


def _draw_box(
    canvas: Canvas, building: Building, half_m: Array, height_m: float, color: Map, rng: np.random.Generator
) -> None:
    """Draw a box on a roof, within one of its wings."""
    wing = building.wings[int(rng.integers(len(building.wings)))]
    half = np.minimum(half_m * canvas.pixels_per_metre, np.asarray(wing.half) * 0.45)
    middle = np.asarray(wing.middle) + (np.asarray(wing.half) - half) * rng.uniform(-0.92, 0.92, 2)
    corners = building.contour(Wing((float(middle[0]), float(middle[1])), (float(half[0]), float(half[1]))))
    window = canvas.window(corners.min(axis=0) - 1, corners.max(axis=0) + 1)
    if window is not None:
        cover = polygon_cover(window, corners) * canvas.roof[window]
        canvas.paint(window, cover, color, building.eaves + height_m * canvas.pixels_per_metre, roof=None)


def _draw_walls(canvas: Canvas, lines: list[Array], thickness: int, color: Map, height: float) -> None:
    points = np.concatenate(lines)
    window = canvas.window(points.min(axis=0) - thickness - 1, points.max(axis=0) + thickness + 1)
    if window is not None:
        canvas.paint(window, line_cover(window, lines, thickness), color, height, roof=None)


_BRICK: tuple[Color, ...] = ((0.60, 0.40, 0.32), (0.68, 0.60, 0.52), (0.66, 0.65, 0.62), (0.52, 0.36, 0.30))
_PANEL: Color = (0.13, 0.16, 0.26)
_TANKS: tuple[Color, ...] = (
    (0.92, 0.92, 0.92), (0.10, 0.10, 0.11), (0.72, 0.73, 0.74),
    (0.45, 0.45, 0.46), (0.22, 0.34, 0.55), (0.86, 0.80, 0.66),
)  # fmt: skip
