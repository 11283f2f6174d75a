"""A depth image prepared for many look-ups: checked, free of lens distortion, with the rays of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera, undistorted_depth

Array = NDArray[np.float64]

# Neighbouring pixels that differ by more, in metres and in sigmas, show different surfaces.
_SURFACE_STEP_M, _SURFACE_STEP_SIGMAS = 0.006, 4.0


@dataclass(frozen=True)
class DepthNoise:
    """One standard deviation of a depth pixel: ``floor_m``, growing with the square of the distance as in stereo."""

    floor_m: float
    at_1m: float

    def sigma(self, depth_m: Array) -> Array:
        """Return the standard deviation in metres at each depth."""
        return np.asarray(np.hypot(self.floor_m, self.at_1m * depth_m**2))


@dataclass(frozen=True)
class DepthView:
    """Depth as an ideal pinhole would see it: ``depth_m`` (H, W) float32, 0 where nothing was measured.

    ``front_m`` (H, W) is the nearest surface that touches a pixel, where that is another one than the pixel's own:
    a stereo camera smears thin wires and edges over their neighbours.
    """

    depth_m: DepthImage
    front_m: DepthImage
    camera: Camera
    noise: DepthNoise

    def look_up(self, pixels: Array, expected_m: Array | None = None) -> tuple[Array, Array, Array]:
        """Return depth (0: none or outside the image) and ray x/z, y/z of the pixels nearest to ``pixels`` (..., 2).

        Where two surfaces meet at a pixel, it is the one nearer to ``expected_m`` (...,), if given.
        """
        camera = self.camera
        columns = np.rint(pixels[..., 0])
        rows = np.rint(pixels[..., 1])
        inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
        index = np.where(inside, rows * camera.width + columns, 0.0).astype(np.intp)
        depth = np.take(self.depth_m.reshape(-1), index).astype(np.float64)
        if expected_m is not None:
            front = np.take(self.front_m.reshape(-1), index)
            depth = np.where((depth <= 0.0) | (np.abs(front - expected_m) < np.abs(depth - expected_m)), front, depth)
        depth[~inside] = 0.0
        return depth, (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy

    def without(self, occluders: NDArray[np.bool_]) -> DepthView:
        """Return the view as if the pixels ``occluders`` (H, W) had not been measured."""
        depth, front = (np.where(occluders, np.float32(0.0), of) for of in (self.depth_m, self.front_m))
        return DepthView(depth, front, self.camera, self.noise)

    @property
    def is_usable(self) -> bool:
        """Whether any pixel was measured."""
        return bool(np.any(self.depth_m))


def make_depth_view(depth_m: DepthImage, camera: Camera, noise: DepthNoise) -> DepthView:
    """Prepare an (H, W) depth image in metres; not finite or negative counts as not measured.

    Raises ``DataError`` when its size is not the camera's.
    """
    if depth_m.shape != (camera.height, camera.width):
        height_width = "x".join(str(size) for size in depth_m.shape[::-1])
        raise DataError(
            f"depth image is {height_width}, but the colour image is {camera.width}x{camera.height}",
            "use depth that is aligned to colour",
        )
    # A comparison with NaN is false, so one test covers NaN, zero and negative values.
    measured = (depth_m > 0.0) & (depth_m < np.inf)
    clean = np.where(measured, depth_m, np.float32(0.0)).astype(np.float32, copy=False)
    clean = undistorted_depth(clean, camera)
    clean = np.ascontiguousarray(clean)
    return DepthView(clean, _front(clean, noise), camera, noise)


def _front(depth_m: DepthImage, noise: DepthNoise) -> DepthImage:
    """Return the nearest depth of each pixel and its eight neighbours where it is another surface's, else its own."""
    open_m = np.where(depth_m > 0.0, depth_m, np.float32(np.inf))
    nearest = cv2.erode(open_m, np.ones((3, 3), dtype=np.uint8))
    front = depth_m.copy()
    with np.errstate(invalid="ignore"):  # inf - inf: nothing measured far and wide
        rows, columns = np.nonzero(open_m - nearest > _SURFACE_STEP_M)
    here, before = open_m[rows, columns].astype(np.float64), nearest[rows, columns]
    is_other = here - before > _SURFACE_STEP_SIGMAS * noise.sigma(before.astype(np.float64))
    front[rows[is_other], columns[is_other]] = before[is_other]
    return front
