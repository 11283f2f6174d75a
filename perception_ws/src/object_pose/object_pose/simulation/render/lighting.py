"""Lights of a scene: a shadow-casting main light, fill lights, sky and ground, and what shiny parts reflect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array

_MAP_SIZE = 48
_ROUGHNESS_LEVELS = (0.1, 0.3, 0.55, 0.85)


@dataclass(frozen=True)
class Lighting:
    """``lights`` (L + 2, 6): direction to the light and RGB, main light first; last two rows sky and ground RGB.

    ``reflections`` (levels, S, S, 3) float32 are octahedral pictures of the surroundings, mirror-like to matte;
    ``softness`` is the half width of the shadow's edge and ``shadow_radius`` the reach of shadows, in metres.
    """

    lights: Array
    reflections: NDArray[np.float32]
    softness: float = 0.004
    shadow_radius: float = 0.5


@dataclass(frozen=True)
class LightSources:
    """Rows of (unit direction, RGB): ``main`` (6,), ``fills`` (L, 6); RGB of ``sky`` and ``ground``.

    ``panels`` (P, 7) are rows of direction, RGB, sharpness: soft boxes seen only in reflections; ``clutter`` is the
    contrast of whatever else stands around.
    """

    main: Array
    fills: Array
    sky: Array
    ground: Array
    panels: Array
    clutter: float


def make_lighting(
    sources: LightSources, rng: np.random.Generator, *, softness: float = 0.004, shadow_radius: float = 0.5
) -> Lighting:
    """Build lighting from its sources; ``softness`` and ``shadow_radius`` as in ``Lighting``."""
    sky, ground = sources.sky, sources.ground
    rows = np.concatenate([sources.main[None], sources.fills.reshape(-1, 6), _ambient_row(sky), _ambient_row(ground)])
    lamps = np.concatenate([rows[:-2], np.full((len(rows) - 2, 1), 60.0)], axis=1)
    lamps[:, 3:6] *= 2.0
    reflected = np.concatenate([lamps, sources.panels.reshape(-1, 7)])
    return Lighting(rows, _reflections(reflected, sky, ground, sources.clutter, rng), softness, shadow_radius)


def random_lighting(rng: np.random.Generator, shadow_radius: float) -> Lighting:
    """Draw indoor lighting: one lamp or window, up to two weaker lights, a sky that is anything but white."""
    main = np.concatenate([_direction(rng, 0.35, 1.0), rng.uniform(0.3, 2.2) * _warmth(rng)])
    fills = np.zeros((int(rng.integers(0, 3)), 6))
    for row in fills:
        row[:] = *_direction(rng, 0.1, 1.0), *(rng.uniform(0.1, 0.6) * _warmth(rng))
    sky = rng.uniform(0.25, 1.0) * _warmth(rng)
    ground = sky * rng.uniform(0.2, 0.7) * rng.uniform(0.85, 1.1, 3)
    panels = np.zeros((int(rng.integers(1, 6)), 7))
    for row in panels:
        row[:] = *_direction(rng, -0.2, 1.0), *(rng.uniform(0.5, 4.0) * _warmth(rng)), rng.uniform(4.0, 80.0)
    sources = LightSources(main, fills, sky, ground, panels, rng.uniform(0.1, 0.7))
    return make_lighting(sources, rng, softness=rng.uniform(0.0005, 0.012), shadow_radius=shadow_radius)


def held_out_lighting(rng: np.random.Generator, shadow_radius: float) -> Lighting:
    """Draw lighting for tests, outside what ``random_lighting`` draws: a lower, more coloured lamp and strip lights."""
    main = np.concatenate([_direction(rng, 0.2, 0.34), rng.uniform(0.6, 2.2) * _strong_colour(rng)])
    fills = np.zeros((3, 6))
    for row in fills:
        row[:] = *_direction(rng, 0.1, 1.0), *(rng.uniform(0.2, 0.6) * _strong_colour(rng))
    sky = rng.uniform(0.25, 1.0) * _strong_colour(rng)
    ground = sky * rng.uniform(0.2, 0.7) * rng.uniform(0.85, 1.1, 3)
    panels = np.zeros((int(rng.integers(6, 10)), 7))
    for row in panels:
        row[:] = *_direction(rng, -0.2, 1.0), *(rng.uniform(0.5, 4.0) * _warmth(rng)), rng.uniform(80.0, 160.0)
    softness = rng.uniform(0.012, 0.02)
    sources = LightSources(main, fills, sky, ground, panels, rng.uniform(0.1, 0.7))
    return make_lighting(sources, rng, softness=softness, shadow_radius=shadow_radius)


def _ambient_row(color: Array) -> Array:
    return np.concatenate([np.zeros(3), color])[None]


def _direction(rng: np.random.Generator, lowest_z: float, highest_z: float) -> Array:
    z = rng.uniform(lowest_z, highest_z)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    ring = np.sqrt(max(1.0 - z * z, 0.0))
    return np.array([ring * np.cos(angle), ring * np.sin(angle), z])


def _warmth(rng: np.random.Generator) -> Array:
    """Colour of a lamp between daylight blue and incandescent orange."""
    return _tint(rng.uniform(-0.25, 0.35))


def _strong_colour(rng: np.random.Generator) -> Array:
    """Colour of a lamp bluer or more orange than any that ``_warmth`` draws."""
    return _tint(rng.uniform(0.36, 0.6) if rng.random() < 0.5 else rng.uniform(-0.5, -0.26))


def _tint(warm: float) -> Array:
    return np.array([1.0 + 0.6 * warm, 1.0, 1.0 - 0.8 * warm])


@lru_cache(maxsize=1)
def _map_directions() -> Array:
    """Unit directions (S * S, 3) of the texels of an octahedral map."""
    axis = np.linspace(-1.0, 1.0, _MAP_SIZE)
    q, p = np.meshgrid(axis, axis, indexing="ij")
    z = 1.0 - np.abs(p) - np.abs(q)
    below = z < 0.0
    x = np.where(below, (1.0 - np.abs(q)) * np.where(p >= 0.0, 1.0, -1.0), p)
    y = np.where(below, (1.0 - np.abs(p)) * np.where(q >= 0.0, 1.0, -1.0), q)
    directions = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _reflections(
    sources: Array, sky: Array, ground: Array, clutter: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Paint sky, ground, clutter and lobes of light; a rougher surface sees each lobe wider and dimmer."""
    directions = _map_directions()
    cosine = directions @ sources[:, :3].T - 1.0
    coarse = rng.standard_normal((7, 7), dtype=np.float32)
    noise = cv2.resize(coarse, (_MAP_SIZE, _MAP_SIZE), interpolation=cv2.INTER_CUBIC)
    levels = np.empty((len(_ROUGHNESS_LEVELS), _MAP_SIZE, _MAP_SIZE, 3), dtype=np.float32)
    for index, roughness in enumerate(_ROUGHNESS_LEVELS):
        horizon = 0.5 + 0.5 * np.tanh(directions[:, 2:] * (0.6 + 1.5 / (roughness + 0.15)))
        base = ground + (sky - ground) * horizon
        base = base * np.clip(1.0 + clutter * (1.0 - roughness) * noise.reshape(-1, 1), 0.1, None)
        sharpness = sources[:, 6]
        widened = 1.0 / (1.0 / sharpness + 0.5 * roughness**2)
        lobes = np.exp(cosine * widened) * (widened / sharpness)
        levels[index] = (base + lobes @ sources[:, 3:6]).reshape(_MAP_SIZE, _MAP_SIZE, 3)
    return levels
