"""Square windows around detected boxes: what the RoI head sees, and the way back to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.core.frame import AlignedDepth
from object_pose.core.kernels import exact_kernel, for_kernels
from object_pose.core.vision.image import PADDING_VALUE
from object_pose.core.vision.resampling import shrunk

Relief = NDArray[np.float32]

COLOR_CHANNELS, RELIEF_CHANNELS = 3, 2
_MARGIN = 1.5  # keypoints are box corners, which stick out of the visible silhouette
# Relief is measured from the near part of what lies in the middle of the window: the object, seldom its table.
_NEAR_SHARE = 0.3
_MIN_PIXELS = 8
_CELL_SAMPLES = 4  # to a side, of a mask's cell


@dataclass(frozen=True)
class RoiWindow:
    """A square of the image, ``side`` pixels wide about ``center`` (2,), seen as ``size`` x ``size`` pixels."""

    center: Array
    side: float
    size: int

    @classmethod
    def around(cls, box_xyxy: Array, size: int) -> RoiWindow:
        """Return the window that shows a box with a margin."""
        extent = max(float(box_xyxy[2] - box_xyxy[0]), float(box_xyxy[3] - box_xyxy[1]), 1.0)
        return cls((box_xyxy[:2] + box_xyxy[2:]) / 2, _MARGIN * extent, size)

    def widened(self, factor: float) -> RoiWindow:
        """Return a window about the same centre, ``factor`` times as large."""
        return replace(self, side=self.side * factor)

    def cut(self, rgb: Image) -> Image:
        """Return the window (size, size, 3), resampled; grey outside the image."""
        if self.size < 0.6 * self.side:
            return self._cut_large(rgb)
        size = (self.size, self.size)
        window = cv2.warpAffine(rgb, self._matrix(), size, flags=cv2.INTER_LINEAR, borderValue=(PADDING_VALUE,) * 3)
        return np.asarray(window, dtype=np.uint8)

    def cut_mask(self, mask: NDArray[np.bool_], cells: int) -> NDArray[np.float32]:
        """Return the share of each of the window's cells (cells, cells) that a mask (H, W) of the image covers."""
        finer = replace(self, size=_CELL_SAMPLES * cells)
        full = mask.astype(np.uint8) * np.uint8(255)
        cut = cv2.warpAffine(full, finer._matrix(), (finer.size, finer.size), flags=cv2.INTER_LINEAR)
        shares = cv2.resize(cut, (cells, cells), interpolation=cv2.INTER_AREA)
        return np.asarray(shares, dtype=np.float32) / np.float32(255.0)

    def cut_relief(self, depth: AlignedDepth | None) -> Relief:
        """Return the window's shape (size, size, 2): depth about the object in half sides, and 1 where measured.

        Relief is thus to the same scale along the ray as across it, and ends at -1 and 1. Without depth all is zero.
        """
        planes = np.zeros((RELIEF_CHANNELS, self.size, self.size), dtype=np.float32)
        if depth is not None:
            self.fill_relief(planes, for_kernels(depth.depth_m, np.float32), depth.camera.fx)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))

    def fill_relief(self, planes: NDArray[np.float32], depth_m: NDArray[np.float32], fx: float) -> None:
        """Fill ``planes`` (2, size, size), which are zero, with what ``cut_relief`` gives, of depth for kernels."""
        _fill_relief(planes, depth_m, float(self.center[0]), float(self.center[1]), float(self.side), fx)

    def to_window(self, points: Array) -> Array:
        """Map (..., 2) image pixels to window units: 0 in the middle, 1 is the side."""
        return np.asarray((points - self.center) / self.side)

    def to_image(self, points: Array) -> Array:
        """Map (..., 2) window units to image pixels."""
        return np.asarray(points * self.side + self.center)

    def _matrix(self) -> Array:
        """Return the affine map (2, 3) from image pixels to the window's."""
        scale = self.size / self.side
        offset = -scale * (self.center - self.side / 2) + 0.5 * scale - 0.5
        return np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])

    def _cut_large(self, rgb: Image) -> Image:
        # Averaging first keeps what bilinear sampling at a small scale would skip.
        half = self.side / 2
        low = np.floor(np.maximum(self.center - half, 0)).astype(int)
        high = np.ceil(np.minimum(self.center + half + 1, rgb.shape[1::-1])).astype(int)
        region = rgb[low[1] : high[1], low[0] : high[0]]
        if region.size == 0:
            return np.full((self.size, self.size, 3), PADDING_VALUE, dtype=np.uint8)
        shrink = 1.25 * self.size / self.side
        wh = np.maximum(np.rint(shrink * np.array(region.shape[1::-1])), 1).astype(int)
        small = shrunk(region, (int(wh[0]), int(wh[1])))
        ratio = wh / region.shape[1::-1]
        center = (self.center - low + 0.5) * ratio - 0.5
        return RoiWindow(center, self.side * float(ratio.mean()), self.size).cut(small)


def painted_over(rgb: Image, erased: NDArray[np.bool_]) -> Image:
    """Return an image (H, W, 3) as if the pixels ``erased`` (H, W) showed nothing: grey."""
    return np.where(erased[..., None], np.uint8(PADDING_VALUE), rgb)


def not_measured(depth: AlignedDepth, erased: NDArray[np.bool_]) -> AlignedDepth:
    """Return depth as if the pixels ``erased`` (H, W) had not been measured."""
    return AlignedDepth(np.where(erased, np.float32(0.0), depth.depth_m), depth.camera)


def cut_batch(rgb: Image, depth: AlignedDepth | None, windows: Sequence[RoiWindow]) -> NDArray[np.float32]:
    """Return what the RoI head reads of windows: (N, 5, S, S), as ``normalised_batch`` has it."""
    size = windows[0].size
    batch = np.zeros((len(windows), COLOR_CHANNELS + RELIEF_CHANNELS, size, size), dtype=np.float32)
    depth_m = for_kernels(depth.depth_m, np.float32) if depth else None
    for own, window in zip(batch, windows):
        _fill_colour(own[:COLOR_CHANNELS], window.cut(rgb))
        if depth and depth_m is not None:
            window.fill_relief(own[COLOR_CHANNELS:], depth_m, depth.camera.fx)
    return batch


def normalised_batch(windows: Sequence[Image], reliefs: Sequence[Relief] = ()) -> NDArray[np.float32]:
    """Stack (S, S, 3) windows, with their reliefs (S, S, 2) where the head reads them, to its float32 batch.

    It is (N, 3 or 5, S, S): colour in [0, 1], relief in [-1, 1], 1 where depth was measured.
    """
    size, channels = len(windows[0]), COLOR_CHANNELS + (RELIEF_CHANNELS if len(reliefs) else 0)
    batch = np.empty((len(windows), channels, size, size), dtype=np.float32)
    for own, window in zip(batch, windows):
        _fill_colour(own[:COLOR_CHANNELS], for_kernels(window, np.uint8))
    for own, relief in zip(batch, reliefs):
        own[COLOR_CHANNELS:] = relief.transpose(2, 0, 1)
    return batch


@exact_kernel
def _fill_colour(planes: NDArray[np.float32], window: Image) -> None:
    """Fill ``planes`` (3, S, S) with a window (S, S, 3), in [0, 1]."""
    for y in range(window.shape[0]):
        for x in range(window.shape[1]):
            for channel in range(3):
                planes[channel, y, x] = np.float32(window[y, x, channel]) / np.float32(255.0)


@exact_kernel
def _fill_relief(
    planes: NDArray[np.float32], depth_m: NDArray[np.float32], x: float, y: float, side: float, fx: float
) -> None:
    """Fill ``planes`` (2, S, S), which are zero, with the relief of a window about (x, y), and 1 where measured."""
    shape, measured = planes[0], planes[1]
    size = len(shape)
    columns, rows = np.empty(size, dtype=np.intp), np.empty(size, dtype=np.intp)
    for i in range(size):
        place = (i + 0.5) * (side / size) - 0.5 * (side + 1.0)
        columns[i], rows[i] = np.rint(x + place), np.rint(y + place)
    for i in range(size):
        if not 0 <= rows[i] < depth_m.shape[0]:
            continue
        for j in range(size):
            if 0 <= columns[j] < depth_m.shape[1] and 0.0 < depth_m[rows[i], columns[j]] < np.inf:
                shape[i, j] = depth_m[rows[i], columns[j]]
                measured[i, j] = 1.0
    near = _near_depth(shape, size // 4)
    if near == 0.0:
        near = _near_depth(shape, 0)
    if near == 0.0:
        planes[:] = 0.0
        return
    nearest, half_side_m = np.float32(near), np.float32(0.5 * side * near / fx)
    for i in range(size):
        for j in range(size):
            if measured[i, j] > 0.0:
                relief = (shape[i, j] - nearest) / half_side_m
                shape[i, j] = min(max(relief, np.float32(-1.0)), np.float32(1.0))


@exact_kernel
def _near_depth(z: NDArray[np.float32], border: int) -> float:
    """Return the depth of the near part of (S, S) depths, 0 not measured, without a border; 0 where little is there."""
    values = np.empty(z.size, dtype=np.float32)
    count = 0
    for i in range(border, len(z) - border):
        for j in range(border, len(z) - border):
            if z[i, j] > 0.0:
                values[count] = z[i, j]
                count += 1
    if count < _MIN_PIXELS:
        return 0.0
    place = int(_NEAR_SHARE * (count - 1))
    return float(np.partition(values[:count], place)[place])
