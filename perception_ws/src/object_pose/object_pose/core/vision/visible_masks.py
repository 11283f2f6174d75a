"""Which pixels show an object, as a network saw them in a window around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry.camera import Camera

Array = NDArray[np.float64]
Shares = NDArray[np.float32]


@dataclass(frozen=True)
class VisibleMask:
    """Where one object is seen: ``shares`` (M, M) of the cells of its ``window`` (3,), as of ``VisibleMasks``."""

    shares: Shares
    window: Array

    def over(self, corner: NDArray[np.intp], shape: tuple[int, int]) -> Shares:
        """Return the share of each pixel (h, w) of an image's part that is the object's; none outside the window.

        ``corner`` (2,) is the first pixel of the part, x and y; ``shape`` its height and width.
        """
        x, y, side = self.window
        cell = side / len(self.shares)
        first = np.array([x, y]) - 0.5 * (side - cell) - corner
        matrix = np.array([[cell, 0.0, first[0]], [0.0, cell, first[1]]])
        part = cv2.warpAffine(self.shares, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
        return np.asarray(part, dtype=np.float32)


@dataclass(frozen=True)
class VisibleMasks:
    """Where N objects are seen, each in a square window of the image.

    ``shares`` (N, M, M) float32: how far an object's pixels fill each cell of its window, in [0, 1]; ``windows``
    (N, 3): x and y of the middle and side, in pixels. M is 0 where nobody says.
    """

    shares: Shares
    windows: Array

    def __post_init__(self) -> None:
        count, cells = len(self.windows), self.shares.shape[-1]
        if self.shares.shape != (count, cells, cells) or self.windows.shape != (count, 3):
            got = f"{self.shares.shape}, {self.windows.shape}"
            raise ValueError(f"shares and windows must have shapes (N, M, M) and (N, 3), got {got}")

    def __getitem__(self, index: int) -> VisibleMask | None:
        """Return the mask of one object, None where nobody says."""
        return VisibleMask(self.shares[index], self.windows[index]) if self.shares.size else None

    def select(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> VisibleMasks:
        """Return the masks that an index or mask picks."""
        return VisibleMasks(self.shares[index], self.windows[index])

    def undistorted(self, camera: Camera) -> VisibleMasks:
        """Return the masks in undistorted pixels; within a window the lens is taken to shift and scale only."""
        middles, half = self.windows[:, :2], 0.5 * self.windows[:, 2:]
        low, middles, high = (camera.undistort(points) for points in (middles - half, middles, middles + half))
        sides = np.sqrt(np.prod(high - low, axis=1, keepdims=True))
        return VisibleMasks(self.shares, np.concatenate([middles, sides], axis=1))

    @staticmethod
    def join(parts: Sequence[VisibleMasks]) -> VisibleMasks:
        """Return the masks of several batches, one after the other; all have equally many cells."""
        return VisibleMasks(
            np.concatenate([part.shares for part in parts]), np.concatenate([part.windows for part in parts])
        )

    @staticmethod
    def unknown(count: int) -> VisibleMasks:
        """Return what is known of ``count`` objects where nobody says."""
        return VisibleMasks(np.zeros((count, 0, 0), dtype=np.float32), np.zeros((count, 3)))
