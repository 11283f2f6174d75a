"""A stereo depth camera of the D435 kind: exact depth in, depth with that camera's errors out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage
from object_pose.core.geometry.camera import Camera
from object_pose.core.kernels import kernel
from object_pose.core.params import parameter

_TILE = 1024
_MM_PER_M = 1000.0


@dataclass(frozen=True)
class DepthSensorConfig:
    """The sensor; disparities are in pixels of its own infra-red image, which is 848 wide."""

    baseline_m: float = parameter(0.05, "distance of the two infra-red imagers", minimum=0.001, maximum=1.0)
    focal_px: float = parameter(424.0, "focal length of the infra-red imagers", minimum=1.0, maximum=10000.0)
    jitter_px: float = parameter(0.6, "spread of the pixel that is looked up: flying pixels", minimum=0.0, maximum=4.0)
    disparity_noise_px: float = parameter(0.08, "correlated noise of the disparity", minimum=0.0, maximum=1.0)
    disparity_step_px: float = parameter(0.03125, "step of the disparity", minimum=0.0001, maximum=1.0)
    scale_bias: float = parameter(0.0, "relative error of all depths of this unit", minimum=-0.1, maximum=0.1)
    min_depth_m: float = parameter(0.28, "nearest depth that is measured", minimum=0.0, maximum=10.0)
    max_depth_m: float = parameter(6.0, "farthest depth that is measured", minimum=0.1, maximum=65.0)
    grazing_cos: float = parameter(0.25, "cosine of incidence below which depth drops out", minimum=0.0, maximum=1.0)


class DepthSensor:
    """Measures depth as a unit of one ``config`` would."""

    def __init__(self, config: DepthSensorConfig) -> None:
        self.config = config

    def measure(
        self, depth_m: DepthImage, camera: Camera, glare: NDArray[np.uint8], rng: np.random.Generator
    ) -> DepthImage:
        """Return (H, W) float32 metres in steps of 1 mm, 0 = none, for the exact ``depth_m`` along z.

        ``glare`` (H, W) is 255 where a mirror-like highlight blinds the sensor. The same ``rng`` state gives the same
        image.
        """
        config = self.config
        row, column = rng.integers(0, _TILE, 2).tolist()
        measured = np.zeros_like(depth_m)
        jitter, smooth, blotches = _noise_tiles()
        inverse_depth = np.zeros_like(depth_m)
        np.divide(1.0, depth_m, out=inverse_depth, where=depth_m > 0.0)
        _measure(
            inverse_depth,
            glare,
            jitter,
            smooth,
            blotches,
            row,
            column,
            camera.fx,
            camera.fy,
            config.focal_px * config.baseline_m,
            camera.fx * config.baseline_m,
            config.jitter_px,
            config.disparity_noise_px,
            config.disparity_step_px,
            1.0 + config.scale_bias,
            1.0 / max(config.min_depth_m, 1e-3),
            1.0 / config.max_depth_m,
            config.grazing_cos,
            measured,
        )
        return measured


@lru_cache(maxsize=1)
def _noise_tiles() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Noise of unit spread that wraps around: white (S, S, 2), correlated over pixels, and in blotches."""
    rng = np.random.default_rng(2)
    white = rng.standard_normal((_TILE, _TILE, 2), dtype=np.float32)
    return white, _smoothed(rng, 1.5), _smoothed(rng, 2.5)


def _smoothed(rng: np.random.Generator, sigma_px: float) -> NDArray[np.float32]:
    margin = 16
    padded = np.pad(rng.standard_normal((_TILE, _TILE), dtype=np.float32), margin, mode="wrap")
    smooth = cv2.GaussianBlur(padded, (0, 0), sigma_px)[margin:-margin, margin:-margin]
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


@kernel
def _measure(
    inverse_depth: NDArray[np.float32],
    glare: NDArray[np.uint8],
    jitter: NDArray[np.float32],
    smooth: NDArray[np.float32],
    blotches: NDArray[np.float32],
    tile_row: int,
    tile_column: int,
    fx: float,
    fy: float,
    sensor_scale: float,
    image_scale: float,
    jitter_px: float,
    noise_px: float,
    step_px: float,
    depth_gain: float,
    nearest_inverse: float,
    farthest_inverse: float,
    grazing_cos: float,
    measured: NDArray[np.float32],
) -> None:
    """Run the effects in the order of the light's way: match, noise, rounding, unit bias, shadow, drop-outs, 1 mm.

    ``inverse_depth`` is 1 / depth, in which stereo is linear.
    """
    height, width = inverse_depth.shape
    mask = jitter.shape[0] - 1
    steps_per_px = 1.0 / step_px
    steep_squared = 1.0 / grazing_cos**2 - 1.0 if grazing_cos > 0.0 else 1e30
    for v in range(height):
        row = (v + tile_row) & mask
        above, below = max(v - 1, 0), min(v + 1, height - 1)
        leftmost = 1e9
        for u in range(width - 1, -1, -1):
            column = (u + tile_column) & mask
            exact = inverse_depth[v, u]
            # The right imager sees this point at u - disparity; a nearer point to the right may cover it there.
            right_u = u - image_scale * exact
            shadowed = right_u >= leftmost
            leftmost = min(leftmost, right_u)
            if shadowed or exact > nearest_inverse or exact < farthest_inverse:
                continue
            x = min(max(u + jitter_px * jitter[row, column, 0], 0.0), width - 1.001)
            y = min(max(v + jitter_px * jitter[row, column, 1], 0.0), height - 1.001)
            x0, y0 = int(x), int(y)
            n00, n01, n10, n11 = (
                inverse_depth[y0, x0],
                inverse_depth[y0, x0 + 1],
                inverse_depth[y0 + 1, x0],
                inverse_depth[y0 + 1, x0 + 1],
            )
            if n00 <= 0.0 or n01 <= 0.0 or n10 <= 0.0 or n11 <= 0.0:
                continue
            upper, lower = n00 + (x - x0) * (n01 - n00), n10 + (x - x0) * (n11 - n10)
            disparity = sensor_scale * (upper + (y - y0) * (lower - upper)) + noise_px * smooth[row, column]
            disparity = step_px * np.floor(disparity * steps_per_px + 0.5)
            if disparity <= 0.0:
                continue
            # Surface slope from the exact neighbours; across an edge it is steep, and stereo fails there as well.
            slope_u = (inverse_depth[v, min(u + 1, width - 1)] - inverse_depth[v, max(u - 1, 0)]) * fx
            slope_v = (inverse_depth[below, u] - inverse_depth[above, u]) * fy
            slope_squared = 0.25 * (slope_u * slope_u + slope_v * slope_v)
            loss = glare[v, u] * (1.0 / 255.0)
            if slope_squared > steep_squared * exact * exact:
                loss = max(loss, 1.0 - exact / (grazing_cos * np.sqrt(exact * exact + slope_squared)))
            # A blotch is lost when its level, about uniform in 0..1, is below the loss.
            if loss > 0.02 and 0.5 + 0.28 * blotches[row, column] < loss:
                continue
            millimetres = np.floor(_MM_PER_M * depth_gain * sensor_scale / disparity + 0.5)
            if 0.0 < millimetres <= 65535.0:
                measured[v, u] = millimetres / _MM_PER_M
