"""What surfaces are made of, as the renderer sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
