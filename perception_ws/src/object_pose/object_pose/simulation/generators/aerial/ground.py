"""The ground of an aerial tile and what stands on it: soil, roads, yards, walls, cars, clutter, trees."""

from __future__ import annotations

import cv2
import numpy as np

from object_pose.core.arrays import Array
from object_pose.simulation.generators.aerial.canvas import (
    Canvas,
    Color,
    Flags,
    Map,
    Window,
    grid,
    line_cover,
    mix,
    noise,
    pick,
    polygon_cover,
    vary,
)


def draw_ground(canvas: Canvas, greenness: float, lushness: float, rng: np.random.Generator) -> None:
    """Cover the canvas with soil and, to the share ``greenness``, grass; ``lushness`` 0 is straw, 1 deep green."""
    shape = (canvas.size, canvas.size)
    color = mix(_soil(rng), _soil(rng), _patches(rng, shape, 0.5))
    if rng.random() < 0.5:
        color = mix(color, _soil(rng), _patches(rng, shape, 0.25))
    if greenness > 0.02:
        grass = vary(rng, _DRY, 0.15) + np.float32(lushness) * (vary(rng, _LUSH, 0.25) - np.asarray(_DRY, np.float32))
        field = 1 + noise(rng, shape, 8) * np.float32(rng.uniform(0.02, 0.1)) + noise(rng, shape, 2) * np.float32(0.06)
        color = mix(color, grass * field[..., None], _patches(rng, shape, greenness))
    grain = 1 + noise(rng, shape, 1) * np.float32(rng.uniform(0.01, 0.05))
    grain = grain + noise(rng, shape, 4) * np.float32(rng.uniform(0.01, 0.06))
    grain = grain + noise(rng, shape, 32) * np.float32(rng.uniform(0.02, 0.12))
    np.multiply(color, grain[..., None], out=canvas.color)


def draw_road(canvas: Canvas, points: Array, width: float, rng: np.random.Generator) -> Flags:
    """Draw a road or path along ``points`` (N, 2); return the pixels that it takes."""
    paved = rng.random() < 0.4
    palette = _ASPHALT if paved else _SOIL
    color = vary(rng, palette[int(rng.integers(len(palette)))], 0.2)
    line = np.zeros((canvas.size, canvas.size), np.uint8)
    pixels = np.rint(points * 16).astype(np.int32)
    cv2.polylines(line, [pixels], False, 255, max(2, round(width)), cv2.LINE_AA, shift=4)
    cover = line.astype(np.float32) / np.float32(255)
    if not paved:
        cover = np.clip(cover + noise(rng, cover.shape, 8) * np.float32(0.15) * (cover > 0), 0, 1)
        cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.5, 4.0) * canvas.scale)
    field = 1 + noise(rng, cover.shape, 16) * np.float32(0.05) + noise(rng, cover.shape, 1) * np.float32(0.03)
    canvas.paint(_all_of(canvas), cover, color * field[..., None])
    if paved and rng.random() < 0.3:
        mark = np.zeros_like(line)
        cv2.polylines(mark, [pixels], False, 255, max(1, round(2 * canvas.scale)), cv2.LINE_AA, shift=4)
        canvas.paint(_all_of(canvas), mark.astype(np.float32) / np.float32(300), (0.85, 0.83, 0.75))
    return line > 0


def draw_yard(canvas: Canvas, corners: Array, rng: np.random.Generator) -> None:
    """Draw a paved or swept area: as straight as a roof, but flat on the ground."""
    window = canvas.window(corners.min(axis=0) - 1, corners.max(axis=0) + 1)
    if window is None:
        return
    color = vary(rng, _PAVING[int(rng.integers(len(_PAVING)))], 0.2)
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    field = 1 + noise(rng, shape, 2) * np.float32(rng.uniform(0.02, 0.09)) + noise(rng, shape, 16) * np.float32(0.06)
    cover = cv2.GaussianBlur(polygon_cover(window, corners), (0, 0), rng.uniform(0.4, 3.0) * canvas.scale)
    canvas.paint(window, cover * np.float32(rng.uniform(0.35, 0.95)), color * field[..., None])


def draw_patch(canvas: Canvas, corners: Array, colors: tuple[Color, ...], rng: np.random.Generator) -> None:
    """Draw a piece of level ground in one of some colours, with a sharp edge, with furrows now and then."""
    window = canvas.window(corners.min(axis=0) - 1, corners.max(axis=0) + 1)
    if window is None:
        return
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    field = 1 + noise(rng, shape, 2) * np.float32(rng.uniform(0, 0.07))
    field = field + noise(rng, shape, 32) * np.float32(rng.uniform(0, 0.1))
    color = vary(rng, pick(rng, colors), 0.2) * field[..., None]
    if rng.random() < 0.2:
        turn, period = rng.uniform(0, np.pi), rng.uniform(3, 12)
        x, y = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
        stripes = np.sin((x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / period))
        color = color * (1 + np.float32(rng.uniform(0.02, 0.15)) * stripes[..., None].astype(np.float32))
    free = polygon_cover(window, corners) * ~canvas.roof[window]
    canvas.paint(window, free * np.float32(rng.uniform(0.7, 1.0)), color.astype(np.float32))


def draw_wall(canvas: Canvas, points: Array, rng: np.random.Generator) -> None:
    """Draw a compound wall, a fence or a hedge's bare frame along ``points``: thin, and a metre or two high."""
    low, high = points.min(axis=0) - 6, points.max(axis=0) + 6
    window = canvas.window(low, high)
    if window is None:
        return
    width = max(1, round(int(rng.integers(2, 6)) * canvas.scale))
    free = line_cover(window, [points], width) * ~canvas.roof[window]
    color = vary(rng, _PAVING[int(rng.integers(len(_PAVING)))], 0.25) * np.float32(1.1)
    canvas.paint(window, free, np.clip(color, 0, 1), float(rng.uniform(10, 28) * canvas.scale))


def draw_car(canvas: Canvas, middle: Array, angle: float, rng: np.random.Generator) -> None:
    """Draw a car, van or lorry of 1.7-2.5 m by 3.8-8 m."""
    length, width = (rng.uniform(50, 64), rng.uniform(23, 27)) if rng.random() < 0.85 else (rng.uniform(70, 110), 31.0)
    length, width = length * canvas.scale, width * canvas.scale
    color = vary(rng, _LACQUER[int(rng.integers(len(_LACQUER)))], 0.15)
    glass = np.array([0.09, 0.10, 0.12], np.float32)
    height = float(rng.uniform(17, 30) * canvas.scale)
    parts = (
        (0.0, (length, width), color, 0.6 * height),
        (-0.04, (0.56 * length, 0.88 * width), glass, height),
        (-0.06, (0.36 * length, 0.8 * width), np.clip(color * 1.08, 0, 1), height),
    )
    axis = np.array([np.cos(angle), np.sin(angle)])
    for offset, size, tone, top in parts:
        box = cv2.boxPoints(((middle + axis * offset * length).tolist(), size, float(np.degrees(angle))))
        corners = _rounded(np.asarray(box, dtype=np.float64))
        window = canvas.window(corners.min(axis=0) - 1, corners.max(axis=0) + 1)
        if window is not None:
            free = polygon_cover(window, corners) * ~canvas.roof[window]
            canvas.paint(window, free, tone, top)


def draw_clutter(canvas: Canvas, middle: Array, count: int, spread: float, rng: np.random.Generator) -> None:
    """Strew crates, rubble, washing and planks around a place; each is smaller than any building."""
    for place in middle + rng.normal(0, spread, (count, 2)):
        half = rng.uniform(1.0, 7.0, 2) if rng.random() < 0.8 else np.array([rng.uniform(6, 22), rng.uniform(0.8, 2.0)])
        half = half * canvas.scale
        box = cv2.boxPoints((place.tolist(), (2 * half).tolist(), float(rng.uniform(0, 180))))
        corners = np.asarray(box, dtype=np.float64)
        corners += rng.normal(0, 0.7, (4, 2)) * canvas.scale
        window = canvas.window(corners.min(axis=0) - 1, corners.max(axis=0) + 1)
        if window is not None:
            free = polygon_cover(window, corners) * ~canvas.roof[window]
            color = vary(rng, _THINGS[int(rng.integers(len(_THINGS)))], 0.4)
            canvas.paint(window, free, color, float(rng.uniform(0, 12) * canvas.scale))


def _soil(rng: np.random.Generator) -> Map:
    return vary(rng, _SOIL[int(rng.choice(len(_SOIL), p=_SOIL_SHARES))], 0.15)


def _patches(rng: np.random.Generator, shape: tuple[int, int], share: float) -> Map:
    """Return soft-edged patches (h, w) in [0, 1] that take about ``share`` of the area."""
    field = noise(rng, shape, 64) + noise(rng, shape, 32) * np.float32(0.5) + noise(rng, shape, 8) * np.float32(0.2)
    field = field + noise(rng, shape, 2) * np.float32(rng.uniform(0, 0.3))
    level = np.quantile(field[::8, ::8], 1 - share)
    return np.asarray(np.clip((field - level) * np.float32(rng.uniform(1.0, 5.0)) + 0.5, 0, 1), dtype=np.float32)


def _rounded(corners: Array) -> Array:
    following = np.roll(corners, -1, axis=0)
    return np.stack([corners * 0.9 + following * 0.1, corners * 0.1 + following * 0.9], axis=1).reshape(-1, 2)


def _all_of(canvas: Canvas) -> Window:
    return slice(0, canvas.size), slice(0, canvas.size)


EARTH: tuple[Color, ...] = (
    (0.62, 0.40, 0.29), (0.55, 0.36, 0.27), (0.70, 0.56, 0.42), (0.76, 0.66, 0.53), (0.48, 0.38, 0.30),
    (0.66, 0.34, 0.22), (0.60, 0.55, 0.48),
)  # fmt: skip
PALE: tuple[Color, ...] = (
    (0.70, 0.68, 0.64), (0.78, 0.74, 0.66), (0.84, 0.81, 0.75),
    (0.60, 0.58, 0.55), (0.74, 0.62, 0.52), (0.88, 0.87, 0.84),
)  # fmt: skip
GRASS: tuple[Color, ...] = (
    (0.33, 0.44, 0.20), (0.26, 0.36, 0.16), (0.48, 0.50, 0.28), (0.56, 0.52, 0.34), (0.40, 0.46, 0.30),
)  # fmt: skip
GROUND = (*EARTH, *PALE, *GRASS)
STREETS: tuple[Color, ...] = (
    (0.34, 0.34, 0.35), (0.44, 0.43, 0.42), (0.55, 0.54, 0.52), (0.64, 0.61, 0.57), (0.28, 0.28, 0.30),
)  # fmt: skip
WATER: tuple[Color, ...] = ((0.30, 0.62, 0.72), (0.22, 0.50, 0.66), (0.24, 0.34, 0.34), (0.35, 0.45, 0.40))
_SOIL: tuple[Color, ...] = (
    (0.56, 0.38, 0.28), (0.47, 0.37, 0.30), (0.74, 0.62, 0.48),
    (0.34, 0.28, 0.25), (0.62, 0.58, 0.52), (0.66, 0.45, 0.32),
)  # fmt: skip
_SOIL_SHARES = (0.25, 0.22, 0.18, 0.12, 0.13, 0.1)
_LUSH: Color = (0.27, 0.40, 0.15)
_DRY: Color = (0.56, 0.52, 0.32)
_ASPHALT: tuple[Color, ...] = ((0.38, 0.38, 0.38), (0.50, 0.49, 0.47), (0.60, 0.55, 0.50))
_PAVING: tuple[Color, ...] = (
    (0.66, 0.64, 0.60), (0.76, 0.71, 0.62), (0.64, 0.48, 0.38), (0.50, 0.46, 0.42), (0.84, 0.79, 0.68),
)  # fmt: skip
_LACQUER: tuple[Color, ...] = (
    (0.93, 0.93, 0.94), (0.72, 0.73, 0.74), (0.12, 0.13, 0.15),
    (0.40, 0.41, 0.43), (0.50, 0.12, 0.14), (0.18, 0.25, 0.42),
)  # fmt: skip
_THINGS: tuple[Color, ...] = (
    (0.85, 0.85, 0.85), (0.15, 0.14, 0.14), (0.50, 0.40, 0.30),
    (0.25, 0.40, 0.65), (0.62, 0.28, 0.22), (0.60, 0.58, 0.55),
)  # fmt: skip


def draw_tree(
    canvas: Canvas,
    middle: Array,
    radius: float,
    lushness: float,
    sun_xy: Array,
    rng: np.random.Generator,
    hides: bool = True,
    palms: float = 0.25,
) -> None:
    """Draw a crown of leaf clumps; ``lushness`` 0 is autumn or drought, 1 deep green; ``sun_xy`` says its lit side.

    With the probability ``palms`` it has leaves like a palm's. A roof under it is no longer one in the mask where the
    crown ``hides`` it.
    """
    window = canvas.window(middle - 1.5 * radius, middle + 1.5 * radius)
    if window is None:
        return
    x, y = grid(window)
    x, y = x - np.float32(middle[0]), y - np.float32(middle[1])
    shape = (y.shape[0], x.shape[1])
    rim = noise(rng, shape, 16) * np.float32(0.16) + noise(rng, shape, 4) * np.float32(rng.uniform(0.04, 0.12))
    depth = 1 - np.sqrt(x * x + y * y) / np.float32(radius) + rim
    if rng.random() < palms:
        depth = depth + _fronds(x, y, rng)
    clumps = noise(rng, shape, 8) * np.float32(0.6) + noise(rng, shape, 4) * np.float32(0.5)
    clumps = clumps + noise(rng, shape, 2) * np.float32(0.5)
    side = (x * sun_xy[0] + y * sun_xy[1]).astype(np.float32) / radius
    lit = clumps + _slope(clumps, sun_xy) * np.float32(0.8) + side
    green = vary(rng, _GREENS[int(rng.integers(len(_GREENS)))], 0.25)
    if lushness < 0.5:
        tired = vary(rng, _TIRED[int(rng.integers(len(_TIRED)))], 0.2)
        green = green + np.float32(0.7 - lushness) * (tired - green)
    contrast = np.float32(rng.uniform(0.12, 0.32))
    color = green * np.clip(1 + contrast * lit, 0.25, 2.2)[..., None]
    thin = np.float32(rng.uniform(2.5, 9.0))
    height = np.float32(25 * canvas.scale) + np.float32(radius * rng.uniform(0.8, 1.5)) * np.clip(depth * 2, 0.35, 1)
    top = np.asarray(height, dtype=np.float32)
    canvas.paint(window, np.clip(depth * thin + 0.5, 0, 1), np.clip(color, 0, 1), top, False if hides else None)


def _fronds(x: Map, y: Map, rng: np.random.Generator) -> Map:
    """Return how far leaves reach out (positive) or in, as those of palms and bananas do."""
    count = int(rng.integers(6, 13))
    turn = np.arctan2(y, x) * np.float32(count) + np.float32(rng.uniform(0, 6))
    return np.asarray(np.float32(0.35) * (np.cos(turn) - np.float32(0.6)), dtype=np.float32)


def _slope(field: Map, direction: Array) -> Map:
    """Return how ``field`` falls towards a direction (x, y): what faces the sun is bright."""
    result = np.zeros_like(field)
    result[:, 1:] -= np.float32(direction[0]) * (field[:, 1:] - field[:, :-1])
    result[1:] -= np.float32(direction[1]) * (field[1:] - field[:-1])
    return result


_GREENS: tuple[Color, ...] = (
    (0.24, 0.34, 0.14), (0.30, 0.38, 0.22), (0.36, 0.46, 0.18),
    (0.20, 0.28, 0.17), (0.40, 0.46, 0.33), (0.48, 0.52, 0.15),
)  # fmt: skip
_TIRED: tuple[Color, ...] = ((0.50, 0.42, 0.24), (0.55, 0.35, 0.18), (0.42, 0.38, 0.30))
