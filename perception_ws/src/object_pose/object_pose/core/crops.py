"""Square windows around detected boxes: what the crop-level keypoint head sees, and the way back to the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.types import Array, Image

_MARGIN = 1.5  # keypoints are box corners, which stick out of the visible silhouette


@dataclass(frozen=True)
class CropWindow:
    """A square of the image, ``side`` pixels wide about ``center`` (2,), seen as ``size`` x ``size`` pixels."""

    center: Array
    side: float
    size: int

    @classmethod
    def around(cls, box_xyxy: Array, size: int) -> CropWindow:
        """Return the window that shows a box with a margin."""
        extent = max(float(box_xyxy[2] - box_xyxy[0]), float(box_xyxy[3] - box_xyxy[1]), 1.0)
        return cls((box_xyxy[:2] + box_xyxy[2:]) / 2, _MARGIN * extent, size)

    def cut(self, rgb: Image) -> Image:
        """Return the window (size, size, 3), resampled; grey outside the image."""
        scale = self.size / self.side
        offset = -scale * (self.center - self.side / 2) + 0.5 * scale - 0.5
        matrix = np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])
        if scale < 0.6:
            return self._cut_large(rgb)
        window = cv2.warpAffine(rgb, matrix, (self.size, self.size), flags=cv2.INTER_LINEAR, borderValue=(114,) * 3)
        return np.asarray(window, dtype=np.uint8)

    def to_window(self, points: Array) -> Array:
        """Map (..., 2) image pixels to window units: 0 in the middle, 1 is the side."""
        return np.asarray((points - self.center) / self.side)

    def to_image(self, points: Array) -> Array:
        """Map (..., 2) window units to image pixels."""
        return np.asarray(points * self.side + self.center)

    def _cut_large(self, rgb: Image) -> Image:
        # Averaging first keeps what bilinear sampling at a small scale would skip.
        half = self.side / 2
        low = np.floor(np.maximum(self.center - half, 0)).astype(int)
        high = np.ceil(np.minimum(self.center + half + 1, rgb.shape[1::-1])).astype(int)
        region = rgb[low[1] : high[1], low[0] : high[0]]
        if region.size == 0:
            return np.full((self.size, self.size, 3), 114, dtype=np.uint8)
        shrink = 1.25 * self.size / self.side
        wh = np.maximum(np.rint(shrink * np.array(region.shape[1::-1])), 1).astype(int)
        small = cv2.resize(region, (int(wh[0]), int(wh[1])), interpolation=cv2.INTER_AREA)
        ratio = wh / region.shape[1::-1]
        center = (self.center - low + 0.5) * ratio - 0.5
        return CropWindow(center, self.side * float(ratio.mean()), self.size).cut(np.asarray(small, dtype=np.uint8))


def normalised_batch(windows: list[Image]) -> NDArray[np.float32]:
    """Stack (S, S, 3) windows to the (N, 3, S, S) float32 batch in [0, 1] that the head reads."""
    return np.ascontiguousarray(np.stack(windows).transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255.0)
