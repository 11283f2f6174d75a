"""The camera: intrinsics with their lens distortion, projection and back-projection."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Image, Mask
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.distortion import EQUIDISTANT, Distortion, check_model, model_of

_LARGEST_SKEW_PX = 0.5  # at the image's border; less than what calibrations leave there


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels; pixel centres are integers, so a centred 640x480 camera has cx = 319.5.

    ``distortion`` holds the coefficients of ``distortion_model`` ('none', 'plumb_bob', 'rational_polynomial' or
    'equidistant'; see ``core.geometry.distortion``), which their number tells where it is not named. "Ideal" pixels
    are those of the same camera without distortion. Raises ``CalibrationError`` for a size or focal length that is not
    positive and finite, and for a model that is not known or does not fit its coefficients.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    distortion_model: str = ""

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if self.width <= 0 or self.height <= 0:
            raise CalibrationError(f"camera size {self.width}x{self.height} is not positive")
        if not np.all(np.isfinite(values)) or self.fx <= 0 or self.fy <= 0:
            raise CalibrationError(
                f"camera focal lengths ({self.fx}, {self.fy}) must be positive and every intrinsic finite",
                "is the camera calibrated? camera_info.k all zero means it is not",
            )
        if not self.distortion_model:
            object.__setattr__(self, "distortion_model", model_of(self.distortion))
        check_model(self.distortion_model, self.distortion)

    @classmethod
    def from_matrix(
        cls, width: int, height: int, matrix: Array, distortion: tuple[float, ...] = (), distortion_model: str = ""
    ) -> Camera:
        """Return the camera of an intrinsic matrix K (3, 3).

        Raises ``CalibrationError`` also where K is transposed or scaled, or has a skew that matters.
        """
        (fx, skew, cx), (shear, fy, cy), last = np.asarray(matrix, dtype=np.float64).tolist()
        camera = cls(width, height, fx, fy, cx, cy, distortion, distortion_model)
        if not np.allclose(last, (0.0, 0.0, 1.0), rtol=0.0, atol=1e-6):
            row = ", ".join(f"{value:g}" for value in last)
            raise CalibrationError(
                f"the last row of the camera matrix is {row}, expected 0, 0, 1",
                "is the matrix written by columns? write it row by row",
            )
        moved = 0.5 * max(abs(skew) * height / fy, abs(shear) * width / fx)
        if moved > _LARGEST_SKEW_PX:
            raise CalibrationError(
                f"the camera matrix has a skew of {skew or shear:g}, which moves pixels at the border by {moved:.1f}",
                "calibrate without skew: it is not modelled",
            )
        return camera

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
        """Whether the real image differs from the ideal one; a fisheye's does even with zero coefficients."""
        return any(self.distortion) or self.distortion_model == EQUIDISTANT

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

    def sees(self, pixels: Array) -> NDArray[np.bool_]:
        """Return which of (..., 2) ideal pixels lie within the field of view that the distortion model holds for."""
        if not self.is_distorted:
            return np.ones(pixels.shape[:-1], dtype=bool)
        radii = np.linalg.norm((pixels - (self.cx, self.cy)) / (self.fx, self.fy), axis=-1)
        return np.asarray(radii <= self._lens.limit)

    def distort(self, pixels: Array) -> Array:
        """Map (..., 2) ideal pixels to the (..., 2) pixels of the real image: the inverse of ``undistort``."""
        return self._map(self._lens.distort, pixels) if self.is_distorted else np.asarray(pixels, dtype=np.float64)

    def undistort(self, pixels: Array) -> Array:
        """Map (..., 2) pixels of the real image to the (..., 2) pixels that an ideal pinhole would see."""
        return self._map(self._lens.undistort, pixels) if self.is_distorted else np.asarray(pixels, dtype=np.float64)

    @property
    def _lens(self) -> Distortion:
        return _lens(self.distortion_model, self.distortion)

    def _map(self, mapping: Callable[[Array], Array], pixels: Array) -> Array:
        """Apply a mapping of normalised coordinates to pixels."""
        pixels = np.asarray(pixels, dtype=np.float64)
        if pixels.size == 0:
            return pixels
        centre, focal = np.array([self.cx, self.cy]), np.array([self.fx, self.fy])
        return np.asarray(mapping((pixels - centre) / focal) * focal + centre)

    def backproject(self, pixels: Array, depth_m: Array) -> Array:
        """Lift (..., 2) ideal pixels with (...) depth along z in metres to (..., 3) camera-frame points."""
        xy = (pixels - (self.cx, self.cy)) / (self.fx, self.fy) * depth_m[..., None]
        return np.concatenate([xy, depth_m[..., None]], axis=-1)

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera of the same image resampled to ``width`` x ``height``."""
        return self._scaled(width, height, width / self.width, height / self.height)

    def binned(self, x: int, y: int) -> Camera:
        """Return the camera of an image whose pixels are means of ``x`` by ``y``; incomplete ones are cut."""
        return self._scaled(self.width // x, self.height // y, 1.0 / x, 1.0 / y)

    def cropped(self, x: int, y: int, width: int, height: int) -> Camera:
        """Return the camera of the part of the image whose first pixel is (x, y).

        Raises ``CalibrationError`` where it reaches beyond the image.
        """
        if min(x, y) < 0 or x + width > self.width or y + height > self.height:
            raise CalibrationError(
                f"a region of {width}x{height} at ({x}, {y}) reaches beyond the image of {self.width}x{self.height}"
            )
        return dataclasses.replace(self, width=width, height=height, cx=self.cx - x, cy=self.cy - y)

    def _scaled(self, width: int, height: int, scale_x: float, scale_y: float) -> Camera:
        return dataclasses.replace(
            self,
            width=width,
            height=height,
            fx=self.fx * scale_x,
            fy=self.fy * scale_y,
            cx=(self.cx + 0.5) * scale_x - 0.5,
            cy=(self.cy + 0.5) * scale_y - 0.5,
        )


@lru_cache(maxsize=8)
def _lens(model: str, coefficients: tuple[float, ...]) -> Distortion:
    """Return a lens, whose inverse takes a table: every frame brings a camera of its own, but of the same lens."""
    return Distortion(model, coefficients)


def undistorted_image(rgb: Image, camera: Camera) -> Image:
    """Return an image (H, W, 3) as the ideal pinhole sees it; black where the lens does not see."""
    if not camera.is_distorted:
        return rgb
    return np.asarray(cv2.remap(rgb, *undistortion_maps(camera), cv2.INTER_LINEAR), dtype=np.uint8)


def undistorted_depth(depth_m: DepthImage, camera: Camera) -> DepthImage:
    """Return depth (H, W) as the ideal pinhole sees it, 0 where the lens does not see.

    The nearest pixel is taken, because a mean of two surfaces is a surface that does not exist.
    """
    if not camera.is_distorted:
        return depth_m
    return np.asarray(cv2.remap(depth_m, *undistortion_maps(camera), cv2.INTER_NEAREST), dtype=np.float32)


def distorted_mask(mask: Mask, camera: Camera) -> Mask:
    """Return a mask (H, W) of the ideal pinhole's pixels as one of the real image's."""
    if not camera.is_distorted:
        return mask
    return np.asarray(cv2.remap(mask.astype(np.uint8), *distortion_maps(camera), cv2.INTER_NEAREST) > 0)


@lru_cache(maxsize=4)
def undistortion_maps(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where each pixel (H, W) of the ideal pinhole lies in the real image, x and y, for ``cv2.remap``.

    Rays beyond the field of view that the distortion model holds for lie outside of the image.
    """
    grid = _pixel_grid(camera)
    return _maps(np.where(camera.sees(grid)[..., None], camera.distort(grid), -2.0))


@lru_cache(maxsize=4)
def distortion_maps(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where each pixel (H, W) of the real image lies for the ideal pinhole, x and y, for ``cv2.remap``."""
    return _maps(camera.undistort(_pixel_grid(camera)))


def _pixel_grid(camera: Camera) -> Array:
    rows, columns = np.mgrid[: camera.height, : camera.width]
    return np.stack([columns, rows], axis=-1).astype(np.float64)


def _maps(pixels: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    x, y = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    return x, y
