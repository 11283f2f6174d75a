"""What surfaces are made of: materials, and procedural textures of (S, S, 3) uint8 sRGB that repeat without a seam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image


@dataclass(frozen=True)
class Material:
    """Linear RGB ``color``, ``metallic`` 0 (paint, plastic) to 1 (bare metal), ``roughness`` 0 (mirror) to 1."""

    color: tuple[float, float, float]
    metallic: float
    roughness: float


STEEL = Material((0.52, 0.53, 0.55), 0.9, 0.35)
GROUND_STEEL = Material((0.62, 0.62, 0.61), 1.0, 0.22)
BLACK_OXIDE = Material((0.045, 0.045, 0.05), 0.5, 0.4)
ZINC = Material((0.66, 0.69, 0.72), 0.9, 0.3)
YELLOW_ZINC = Material((0.72, 0.58, 0.26), 0.9, 0.3)
BRASS = Material((0.76, 0.57, 0.20), 1.0, 0.25)
BRONZE = Material((0.58, 0.35, 0.17), 1.0, 0.3)
COPPER = Material((0.83, 0.43, 0.27), 1.0, 0.25)
BLUE_PAINT = Material((0.03, 0.10, 0.35), 0.0, 0.45)
ORANGE_PAINT = Material((0.75, 0.20, 0.02), 0.0, 0.45)
GREY_PVC = Material((0.20, 0.21, 0.23), 0.0, 0.5)


def random_material(rng: np.random.Generator) -> Material:
    """Draw any material: a metal of some tint, or paint or plastic of any colour."""
    if rng.random() < 0.45:
        brightness = rng.uniform(0.25, 0.75)
        tint = np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.5, 1.05)])
        return Material(_rgb(brightness * tint), rng.uniform(0.7, 1.0), rng.uniform(0.12, 0.6))
    return Material(_rgb(random_color(rng)), 0.0, rng.uniform(0.15, 1.0))


def vary(material: Material, rng: np.random.Generator) -> Material:
    """Draw another batch of the same material: slightly other brightness, tint and finish."""
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.93, 1.07, 3)
    roughness = float(np.clip(material.roughness + rng.normal(0.0, 0.12), 0.1, 1.0))
    metallic = float(np.clip(material.metallic + rng.normal(0.0, 0.08), 0.0, 1.0))
    return Material(_rgb(np.asarray(material.color) * gain), metallic, roughness)


def pick(palette: Sequence[Material], rng: np.random.Generator) -> Material:
    """Draw one material of the palette and vary it."""
    return vary(palette[int(rng.integers(len(palette)))], rng)


def faded(rng: np.random.Generator) -> Material:
    """Draw a finish that keeps a mesh's own colours up to brightness, tint and gloss."""
    gain = np.exp(rng.uniform(-0.5, 0.4)) * rng.uniform(0.9, 1.1, 3)
    return Material((float(gain[0]), float(gain[1]), float(gain[2])), 0.0, rng.uniform(0.25, 1.0))


def random_color(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a linear RGB colour (3,): grey in a third of the draws, otherwise of any hue."""
    value = rng.uniform(0.02, 0.85)
    if rng.random() < 0.33:
        return np.clip(np.full(3, value) * rng.uniform(0.95, 1.05, 3), 0.0, 1.0)
    hue = rng.random()
    saturation = rng.uniform(0.05, 1.0)
    wheel = np.clip(np.abs((hue * 6.0 + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    return np.asarray(value * (1.0 - saturation * (1.0 - wheel)))


def _rgb(color: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = np.clip(color, 0.0, 1.0).tolist()
    return red, green, blue


FloatArray32 = NDArray[np.float32]

TEXTURE_SIZE = 512
_MARKERS = cv2.aruco.DICT_APRILTAG_36h11, cv2.aruco.DICT_5X5_50, cv2.aruco.DICT_4X4_50
_MARKER_COUNT, _MARKER_SIDES = 50, (24, 120)  # of each dictionary at least, and pixels


def srgb_bytes(linear: Array) -> Image:
    """Encode linear values in [0, 1] as sRGB bytes."""
    value = np.clip(linear, 0.0, 1.0)
    curve = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1.0 / 2.4) - 0.055)
    return np.asarray(np.rint(curve * 255.0), dtype=np.uint8)


def linear_from_srgb(value: Array) -> Array:
    """Decode sRGB values in [0, 1] to linear light."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def random_surface(rng: np.random.Generator) -> Image:
    """Draw a table top or floor: plain, noisy, grained wood, checker, gradient, blotches or printed clutter."""
    pattern = _PATTERNS[int(rng.choice(len(_PATTERNS), p=_PATTERN_SHARES))]
    return pattern(rng)


def marked_surface(rng: np.random.Generator) -> Image:
    """Draw a table top with square markers on white, as those that robots and cameras are calibrated with."""
    canvas = random_surface(rng).copy()
    dictionary = cv2.aruco.getPredefinedDictionary(_MARKERS[int(rng.integers(len(_MARKERS)))])
    side = int(rng.integers(*_MARKER_SIDES))
    margin = side // 6
    paper = srgb_bytes(np.full(3, rng.uniform(0.5, 0.9)))
    ink = srgb_bytes(np.full(3, rng.uniform(0.005, 0.05)))
    places = np.arange(margin, TEXTURE_SIZE - side - margin, side + 3 * margin)
    is_there = rng.random((len(places), len(places))) < rng.uniform(0.1, 1.0)
    is_there[tuple(rng.integers(len(places), size=2))] = True
    for top, left in places[np.argwhere(is_there)]:
        marker = cv2.aruco.generateImageMarker(dictionary, int(rng.integers(_MARKER_COUNT)), side)
        canvas[top - margin : top + side + margin, left - margin : left + side + margin] = paper
        canvas[top : top + side, left : left + side] = np.where(marker[..., None] > 0, paper, ink)
    return canvas


def cluttered_surface(rng: np.random.Generator) -> Image:
    """Draw the busy background of a workplace: overlapping patches of all colours and sizes."""
    return _clutter(rng)


def bench_surface(rng: np.random.Generator) -> Image:
    """Draw a table top as workshops have them: plain, noisy or wood."""
    return (_plain, _noisy, _wood)[int(rng.integers(3))](rng)


def fractal_noise(rng: np.random.Generator, coarsest: int = 4, octaves: int = 6) -> FloatArray32:
    """Return (S, S) float32 noise of zero mean and unit standard deviation, detailed at all scales."""
    total = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE), dtype=np.float32)
    for octave in range(octaves):
        cells = min(coarsest << octave, TEXTURE_SIZE)
        total += _stretched(rng, cells, cells) * np.float32(0.6**octave)
    total -= total.mean()
    return np.asarray(total / max(float(total.std()), 1e-6), dtype=np.float32)


def _stretched(rng: np.random.Generator, rows: int, columns: int) -> FloatArray32:
    """Blow a random grid up to the texture's size; it wraps around because the grid is padded with itself."""
    padded = np.pad(rng.standard_normal((rows, columns), dtype=np.float32), 1, mode="wrap")
    step_x, step_y = TEXTURE_SIZE // columns, TEXTURE_SIZE // rows
    large = cv2.resize(padded, ((columns + 2) * step_x, (rows + 2) * step_y), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large[step_y : step_y + TEXTURE_SIZE, step_x : step_x + TEXTURE_SIZE], dtype=np.float32)


def _blend(weight: FloatArray32, color_a: Array, color_b: Array) -> Image:
    """Mix two linear colours by a (S, S) weight and encode."""
    ramp = np.linspace(0.0, 1.0, 256)[:, None]
    lookup = srgb_bytes(color_a * (1.0 - ramp) + color_b * ramp)
    return lookup[np.clip(weight * 255.0, 0.0, 255.0).astype(np.uint8)]


def _related_color(color: Array, rng: np.random.Generator, spread: float) -> Array:
    return np.clip(color * rng.uniform(1.0 - spread, 1.0 + spread) * rng.uniform(0.9, 1.1, 3), 0.0, 1.0)


def _noisy(rng: np.random.Generator) -> Image:
    color = random_color(rng)
    weight = 0.5 + rng.uniform(0.05, 0.25) * fractal_noise(rng, coarsest=int(rng.choice([4, 16, 64])))
    return _blend(np.asarray(weight, dtype=np.float32), color, _related_color(color, rng, 0.5))


def _plain(rng: np.random.Generator) -> Image:
    color = random_color(rng)
    weight = 0.5 + 0.2 * fractal_noise(rng, octaves=4)
    return _blend(np.asarray(weight, dtype=np.float32), color, _related_color(color, rng, 0.08))


def _wood(rng: np.random.Generator) -> Image:
    bend = 0.5 * fractal_noise(rng, octaves=3)
    streaks = _stretched(rng, 128, 4) + 0.6 * _stretched(rng, 256, 8)
    rings = np.sin(0.25 * np.arange(TEXTURE_SIZE, dtype=np.float32)[:, None] * np.pi / 8.0 + 4.0 * bend)
    weight = 0.5 + 0.16 * streaks + 0.2 * rings
    light = np.array([0.55, 0.36, 0.19]) * rng.uniform(0.4, 1.3) * rng.uniform(0.85, 1.15, 3)
    return _blend(np.asarray(weight, dtype=np.float32), light, light * rng.uniform(0.35, 0.8))


def _checker(rng: np.random.Generator) -> Image:
    period = int(rng.choice([16, 32, 64, 128]))
    index = np.arange(TEXTURE_SIZE) // period
    stripes = np.broadcast_to(index % 2, (TEXTURE_SIZE, TEXTURE_SIZE))
    cells = (index[:, None] + index[None]) % 2 if rng.random() < 0.5 else stripes
    weight = np.asarray(0.8 * cells + 0.1 + 0.05 * fractal_noise(rng, octaves=4), dtype=np.float32)
    return _blend(weight, random_color(rng), random_color(rng))


def _gradient(rng: np.random.Generator) -> Image:
    wave = 0.5 + 0.5 * np.sin(np.arange(TEXTURE_SIZE) * (2.0 * np.pi / TEXTURE_SIZE))
    weight = np.asarray(wave[:, None] * 0.7 + wave[None] * 0.3, dtype=np.float32)
    return _blend(weight, random_color(rng), random_color(rng))


def _blotches(rng: np.random.Generator) -> Image:
    weight = 0.5 + rng.uniform(0.3, 3.0) * fractal_noise(rng, coarsest=int(rng.choice([4, 8, 16])), octaves=4)
    return _blend(np.asarray(weight, dtype=np.float32), random_color(rng), random_color(rng))


def _clutter(rng: np.random.Generator) -> Image:
    canvas = _noisy(rng).copy()
    for _ in range(int(rng.integers(20, 90))):
        color = srgb_bytes(random_color(rng)).tolist()
        center = rng.integers(0, TEXTURE_SIZE, 2).tolist()
        size = np.exp(rng.uniform(1.0, 4.5, 2)) + 2
        thickness = -1 if rng.random() < 0.75 else int(rng.integers(1, 6))
        if rng.random() < 0.6:
            rectangle = (center, size.tolist(), float(rng.uniform(0.0, 180.0)))
            corners = np.rint(cv2.boxPoints(rectangle)).astype(np.int32)
            cv2.polylines(canvas, [corners], True, color, max(thickness, 1))
            if thickness < 0:
                cv2.fillConvexPoly(canvas, corners, color)
        else:
            axes = np.maximum(size * 0.5, 1).astype(int).tolist()
            cv2.ellipse(canvas, center, axes, float(rng.uniform(0.0, 180.0)), 0.0, 360.0, color, thickness)
    return canvas


_PATTERNS: tuple[Callable[[np.random.Generator], Image], ...] = (
    _plain, _noisy, _wood, _checker, _gradient, _blotches, _clutter,
)  # fmt: skip
_PATTERN_SHARES = (0.2, 0.2, 0.15, 0.1, 0.05, 0.15, 0.15)
