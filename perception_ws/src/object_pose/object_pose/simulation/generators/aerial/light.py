"""Light and camera of aerial scenes: cast shadows from a height map, haze, lens, noise and JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Image
from object_pose.simulation.generators.aerial.canvas import Map, noise

_SHADOW_STEPS = 7
_DARKEST_SUN = 0.35


@dataclass(frozen=True)
class Weather:
    """``azimuth`` and ``elevation`` of the sun (radians, azimuth from x to y), and how much of the light is diffuse."""

    azimuth: float
    elevation: float
    diffuse: float

    @property
    def sun(self) -> NDArray[np.float64]:
        """Unit vector to the sun: x right, y down the picture, z up."""
        across = np.cos(self.elevation)
        return np.array([across * np.cos(self.azimuth), across * np.sin(self.azimuth), np.sin(self.elevation)])


def random_weather(rng: np.random.Generator) -> Weather:
    """Return a sun anywhere from half-way up to nearly overhead, under a clear, hazy or grey sky."""
    sky = rng.choice([rng.uniform(0.25, 0.5), rng.uniform(0.5, 0.75), rng.uniform(0.8, 0.95)], p=[0.6, 0.28, 0.12])
    return Weather(float(rng.uniform(0, 2 * np.pi)), float(np.radians(rng.uniform(28, 75))), float(sky))


def shadow_of(height: Map, weather: Weather) -> Map:
    """Return (S, S) in [0, 1]: 1 where something between a pixel and the sun stands higher (pixels) than the ray.

    The highest shifted and lowered copy of the map is built by doubling the shift, in as many steps as its logarithm.
    """
    drop = np.tan(weather.elevation)
    blocker = height
    for step in range(_SHADOW_STEPS):
        length = float(1 << step)
        # What stands towards the sun shades us: look there, and lower it by the ray's rise.
        shift = np.array([[1, 0, np.cos(weather.azimuth) * length], [0, 1, np.sin(weather.azimuth) * length]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(blocker, shift, blocker.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        blocker = np.maximum(blocker, moved - np.float32(drop * length))
    shade = np.clip((blocker - height - np.float32(1.0)) * np.float32(0.7), 0, 1)
    return np.asarray(cv2.blur(shade, (2, 2)), dtype=np.float32)


def expose(color: Map, shadow: Map, weather: Weather, rng: np.random.Generator) -> Map:
    """Return the scene's light (S, S, 3): shadows lose the sun and keep a bluish sky."""
    sky = weather.diffuse * np.array([0.92, 1.0, 1.12]) * rng.uniform(0.9, 1.1)
    sun = (1 - weather.diffuse) * np.array([1.04, 1.0, 0.93])
    light = (sun + sky).astype(np.float32) - sun.astype(np.float32) * shadow[..., None]
    light /= np.float32((sun + sky).mean())
    return np.asarray(color * np.maximum(light, np.float32(_DARKEST_SUN * weather.diffuse)), dtype=np.float32)


def photograph(light: Map, rng: np.random.Generator) -> Image:
    """Return what the camera delivers of (H, W, 3) light: exposure, colour, haze, blur, noise and compression."""
    gain = rng.uniform(0.8, 1.35) * rng.uniform(0.94, 1.06, 3)
    pixels = light * gain.astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * np.float32(rng.uniform(0.6, 1.3))
    haze = np.float32(rng.choice([rng.uniform(0, 0.08), rng.uniform(0.08, 0.3)], p=[0.75, 0.25]))
    pixels = pixels * (1 - haze) + haze * np.array([0.72, 0.75, 0.80], np.float32)
    middle = np.float32(rng.uniform(0.35, 0.55))
    pixels = middle + (pixels - middle) * np.float32(rng.uniform(0.85, 1.2))
    pixels = _defocused(pixels, rng)
    if rng.random() < 0.7:
        sigma = np.float32(rng.uniform(0.003, 0.03))
        grain = [noise(rng, pixels.shape[:2], int(rng.choice([1, 2]))) for _ in range(3)]
        pixels = pixels + sigma * np.stack(grain, axis=2)
    image = np.clip(pixels * 255, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(40, 96))
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.asarray(image, dtype=np.uint8)


def _defocused(pixels: Map, rng: np.random.Generator) -> Map:
    kind = rng.random()
    if kind < 0.55:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.35, 1.1)), dtype=np.float32)
    if kind < 0.7:
        # A lower resolution, enlarged: tiles of another zoom level.
        height, width = pixels.shape[:2]
        scale = rng.uniform(0.4, 0.8)
        small = cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    if kind < 0.85:
        soft = cv2.GaussianBlur(pixels, (0, 0), 1.2)
        return np.asarray(pixels + np.float32(rng.uniform(0.2, 0.9)) * (pixels - soft), dtype=np.float32)
    return pixels
