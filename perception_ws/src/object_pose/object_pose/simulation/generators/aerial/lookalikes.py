"""What is level, straight and coloured as a roof, and is none: courts, aprons, car parks, pools, containers, vans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from object_pose.core.arrays import Array
from object_pose.simulation.generators.aerial.canvas import (
    Canvas,
    Color,
    line_cover,
    pick,
    polygon_cover,
    random_color,
    vary,
)
from object_pose.simulation.generators.aerial.ground import PALE, STREETS, WATER, draw_car, draw_patch, draw_wall
from object_pose.simulation.generators.aerial.land import Lot


def draw_lookalike(canvas: Canvas, lot: Lot, rng: np.random.Generator) -> None:
    """Draw something on a lot that has no building."""
    kind = rng.random()
    if kind < 0.3:
        draw_court(canvas, lot, rng)
    elif kind < 0.5:
        corners, colors = lot.corners(rng.uniform(0, 0.2) * lot.half[1]), (random_color(rng), *PALE)
        draw_patch(canvas, corners, colors, rng)
        if rng.random() < 0.4:
            draw_wall(canvas, np.vstack([lot.corners(), lot.corners()[:1]]), rng)
    elif kind < 0.75:
        draw_car_park(canvas, lot, rng)
    elif kind < 0.85:
        _draw_pool(canvas, lot, rng)
    else:
        for _ in range(int(rng.integers(1, 9))):
            draw_container(canvas, lot.middle + rng.uniform(-0.8, 0.8, 2) * lot.half, lot.angle, rng)


def draw_court(canvas: Canvas, lot: Lot, rng: np.random.Generator) -> None:
    """Draw a sports court of beaten earth, asphalt or plastic, most with lines."""
    half = np.minimum(np.array([rng.uniform(7, 18), rng.uniform(4, 10)]) * canvas.pixels_per_metre, lot.half)
    court = replace(lot, half=half)
    draw_patch(canvas, court.corners(), _COURTS, rng)
    inner = replace(court, half=half * rng.uniform(0.75, 0.95))
    if rng.random() < 0.6:
        draw_patch(canvas, inner.corners(), _COURTS, rng)
    if rng.random() < 0.75:
        corners = inner.corners()
        middle = np.vstack([(corners[0] + corners[1]) / 2, (corners[2] + corners[3]) / 2])
        _draw_marks(canvas, [np.vstack([corners, corners[:1]]), middle], 0.08, (0.92, 0.92, 0.9))


def draw_car_park(canvas: Canvas, lot: Lot, rng: np.random.Generator) -> None:
    """Draw asphalt with rows of cars and the lines between them."""
    ppm = canvas.pixels_per_metre
    draw_patch(canvas, lot.corners(), STREETS, rng)
    along = np.array([np.cos(lot.angle), np.sin(lot.angle)])
    across = np.array([-along[1], along[0]])
    full = rng.uniform(0.2, 0.95)
    lines: list[Array] = []
    for row in np.arange(-lot.half[1] + 3 * ppm, lot.half[1] - 2 * ppm, rng.uniform(5.5, 9) * ppm):
        for column in np.arange(-lot.half[0] + 2 * ppm, lot.half[0] - 1.5 * ppm, 2.6 * ppm):
            spot = lot.middle + along * column + across * row
            start = spot - along * 1.3 * ppm
            lines.append(np.vstack([start - across * 2.3 * ppm, start + across * 2.3 * ppm]))
            if rng.random() < full and np.all((spot > 0) & (spot < canvas.size)):
                draw_car(canvas, spot + rng.normal(0, 0.15 * ppm, 2), lot.angle + np.pi / 2, rng)
    if lines and ppm > 5 and rng.random() < 0.6:
        _draw_marks(canvas, lines, 0.1, (0.85, 0.85, 0.82))


def draw_container(canvas: Canvas, middle: Array, angle: float, rng: np.random.Generator) -> None:
    """Draw a box of 2.4 m by 4 to 13 m: a container, a van, a lorry's body or a bus."""
    ppm = canvas.pixels_per_metre
    half = np.array([rng.choice([rng.uniform(2.0, 3.2), rng.uniform(3, 6.5)]), rng.uniform(0.95, 1.3)]) * ppm
    turn = angle + float(rng.choice([0.0, np.pi / 2])) + rng.normal(0, 0.1)
    box = Lot(middle, half, turn)
    corners = box.corners()
    window = canvas.window(corners.min(axis=0) - 1, corners.max(axis=0) + 1)
    if window is None:
        return
    free = polygon_cover(window, corners) * ~canvas.roof[window]
    color = vary(rng, pick(rng, _VANS), 0.2) if rng.random() < 0.8 else np.asarray(random_color(rng), np.float32)
    canvas.paint(window, free, color, float(rng.uniform(1.8, 3.2) * ppm))
    if rng.random() < 0.6:  # the windscreen
        axis = np.array([np.cos(turn), np.sin(turn)])
        glass = replace(box, middle=middle + axis * half[0] * 0.7, half=half * [0.12, 0.85]).corners()
        area = canvas.window(glass.min(axis=0) - 1, glass.max(axis=0) + 1)
        if area is not None:
            canvas.paint(area, polygon_cover(area, glass) * ~canvas.roof[area], (0.1, 0.11, 0.13))


def _draw_pool(canvas: Canvas, lot: Lot, rng: np.random.Generator) -> None:
    ppm = canvas.pixels_per_metre
    half = np.minimum(rng.uniform(1.5, 6, 2) * ppm, lot.half * 0.8)
    draw_patch(canvas, replace(lot, half=half + rng.uniform(0.3, 2) * ppm).corners(), PALE, rng)
    draw_patch(canvas, replace(lot, half=half).corners(), WATER, rng)


def _draw_marks(canvas: Canvas, lines: list[Array], width_m: float, color: Color) -> None:
    points, thickness = np.concatenate(lines), max(1, round(width_m * canvas.pixels_per_metre))
    window = canvas.window(points.min(axis=0) - thickness - 1, points.max(axis=0) + thickness + 1)
    if window is not None:
        canvas.paint(window, line_cover(window, lines, thickness), color)


_COURTS: tuple[Color, ...] = (
    (0.62, 0.32, 0.22), (0.66, 0.40, 0.28), (0.54, 0.28, 0.22), (0.30, 0.44, 0.36), (0.25, 0.38, 0.56),
    (0.58, 0.58, 0.57), (0.42, 0.54, 0.34), (0.74, 0.52, 0.40),
)  # fmt: skip
_VANS: tuple[Color, ...] = (
    (0.94, 0.94, 0.95), (0.80, 0.80, 0.80), (0.60, 0.30, 0.22), (0.24, 0.36, 0.55), (0.30, 0.42, 0.34),
    (0.85, 0.70, 0.25), (0.88, 0.86, 0.80),
)  # fmt: skip
