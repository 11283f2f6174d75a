"""Maps that follow the edges of the image they belong to: the guided filter of He, Sun and Tang (2010)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Image

Map = NDArray[np.float32]


def guided(values: Map, image: Image, radius: int, evenness: float) -> Map:
    """Return a map (H, W) smoothed within the even areas of its RGB image (H, W, 3), and not across their edges.

    In every window that reaches ``radius`` pixels from its middle, the map is fitted by a linear function of the
    colours; a pixel gets the mean over the windows that it lies in. ``evenness`` is the variance of colours, in units
    of the whole range, up to which a window counts as even and its map is averaged.
    """
    guide = image.astype(np.float32) / np.float32(255.0)
    mean, mean_guide = _mean(values, radius), _mean(guide, radius)
    covariance = _mean(guide * values[..., None], radius) - mean_guide * mean[..., None]
    products = (guide[..., :, None] * guide[..., None, :]).reshape(*values.shape, 9)
    variance = _mean(products, radius).reshape(*values.shape, 3, 3)
    variance -= mean_guide[..., :, None] * mean_guide[..., None, :]
    variance += np.float32(evenness) * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(variance, covariance[..., None])[..., 0]
    offset = mean - (slope * mean_guide).sum(axis=-1)
    return np.asarray((_mean(slope, radius) * guide).sum(axis=-1) + _mean(offset, radius), dtype=np.float32)


def _mean(values: Map, radius: int) -> Map:
    """Return the mean (H, W[, C]) over the window about each pixel."""
    side = 2 * radius + 1
    filtered = cv2.blur(np.ascontiguousarray(values), (side, side), borderType=cv2.BORDER_REFLECT)
    return np.asarray(filtered, dtype=np.float32)
