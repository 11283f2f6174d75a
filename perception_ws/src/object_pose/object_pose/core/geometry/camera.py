"""The pinhole camera: intrinsics, projection and back-projection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import CalibrationError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels; pixel centres are integers, so a centred 640x480 camera has cx = 319.5.

    ``distortion`` is OpenCV's (k1, k2, p1, p2, k3[, k4, k5, k6]); empty means none.
    Raises ``CalibrationError`` for a size or focal length that is not positive and finite.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if self.width <= 0 or self.height <= 0:
            raise CalibrationError(f"camera size {self.width}x{self.height} is not positive")
        if not np.all(np.isfinite(values)) or self.fx <= 0 or self.fy <= 0:
            raise CalibrationError(
                f"camera focal lengths ({self.fx}, {self.fy}) must be positive and every intrinsic finite",
                "is the camera calibrated? camera_info.k all zero means it is not",
            )
        if len(self.distortion) not in (0, 4, 5, 8):
            raise CalibrationError(f"distortion has {len(self.distortion)} coefficients, expected 0, 4, 5 or 8")

    @property
    def matrix(self) -> Array:
        """The (3, 3) intrinsic matrix K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def wh(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    @property
    def is_distorted(self) -> bool:
        """Whether any distortion coefficient is non-zero."""
        return any(self.distortion)

    def project(self, points_camera: Array) -> Array:
        """Project (..., 3) points in the camera frame to (..., 2) ideal (undistorted) pixels."""
        z = points_camera[..., 2:3]
        return np.asarray(points_camera[..., :2] / z * (self.fx, self.fy) + (self.cx, self.cy))

    def projection_jacobian(self, points_camera: Array) -> Array:
        """Return how ideal pixels move with their (..., 3) points: (..., 2, 3), pixels a metre."""
        x, y, z = points_camera[..., 0], points_camera[..., 1], points_camera[..., 2]
        jacobian = np.zeros((*z.shape, 2, 3))
        jacobian[..., 0, 0] = self.fx / z
        jacobian[..., 1, 1] = self.fy / z
        jacobian[..., 0, 2] = -jacobian[..., 0, 0] * x / z
        jacobian[..., 1, 2] = -jacobian[..., 1, 1] * y / z
        return jacobian

    def undistort(self, pixels: Array) -> Array:
        """Map (N, 2) pixels of the real image to the (N, 2) pixels an ideal pinhole would see."""
        if not self.is_distorted or len(pixels) == 0:
            return np.asarray(pixels, dtype=np.float64)
        ideal = cv2.undistortPoints(
            np.ascontiguousarray(pixels, dtype=np.float64).reshape(-1, 1, 2),
            self.matrix,
            np.asarray(self.distortion),
            P=self.matrix,
        )
        return np.asarray(ideal, dtype=np.float64).reshape(-1, 2)

    def backproject(self, pixels: Array, depth_m: Array) -> Array:
        """Lift (..., 2) ideal pixels with (...) depth along z in metres to (..., 3) camera-frame points."""
        xy = (pixels - (self.cx, self.cy)) / (self.fx, self.fy) * depth_m[..., None]
        return np.concatenate([xy, depth_m[..., None]], axis=-1)

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera of the same image resampled to ``width`` x ``height``."""
        scale_x, scale_y = width / self.width, height / self.height
        return Camera(
            width,
            height,
            self.fx * scale_x,
            self.fy * scale_y,
            (self.cx + 0.5) * scale_x - 0.5,
            (self.cy + 0.5) * scale_y - 0.5,
            self.distortion,
        )


def distorted_mask(mask: NDArray[np.bool_], camera: Camera) -> NDArray[np.bool_]:
    """Return a mask (H, W) of the ideal pinhole's pixels as one of the real image's."""
    if not camera.is_distorted:
        return mask
    rows, columns = np.mgrid[: camera.height, : camera.width]
    ideal = camera.undistort(np.stack([columns, rows], axis=-1).reshape(-1, 2)).astype(np.float32)
    x, y = ideal.reshape(camera.height, camera.width, 2).transpose(2, 0, 1)
    return np.asarray(cv2.remap(mask.astype(np.uint8), x, y, cv2.INTER_NEAREST) > 0)


@lru_cache(maxsize=4)
def undistortion_maps(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where each pixel (H, W) of the ideal pinhole lies in the real image, x and y, for ``cv2.remap``."""
    maps = cv2.initUndistortRectifyMap(
        camera.matrix, np.asarray(camera.distortion), None, camera.matrix, camera.wh, cv2.CV_32FC1
    )
    return maps[0], maps[1]
