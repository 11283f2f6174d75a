"""The contour that a pose has in the image, drawn from a dense sample of the object's surface.

The sample is splatted into a mask twice as fine as the image and its gaps are closed: a fraction of a millisecond, and
to a fraction of a pixel the contour of the mesh. From near, where the gaps are wide, the mask is as fine as the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera

_FINER = 2  # pixels of the mask a pixel of the image, where its gaps are no wider than ``_WIDE_GAP``, 1 elsewhere
_GAP = 1.6  # the widest gap of a sample, in its spacing
_WIDEST_SPACING = 0.95  # share of the neighbours that are no further apart
_LEAST_GAP, _WIDE_GAP, _WIDEST_GAP = 3, 11, 25  # pixels of the mask
_MOST_PIXELS = 1 << 22  # a pose so near that its mask is larger is not drawn
_MIN_DEPTH_M = 0.05
_HALVINGS = 14
_MIN_BORDER = 40  # pixels of the mask's border, below which a contour is too small
_SMOOTHING = 9  # of the border's direction, in pixels of the mask
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class ContourSurface:
    """A surface to draw contours of: ``points`` (S, 3) in metres and how far apart most neighbours are at most."""

    points: Array
    spacing_m: float

    @classmethod
    def of(cls, points: Array) -> ContourSurface:
        """Measure the spacing of a sample of points; that of fewer than two is 0."""
        if len(points) < 2:
            return cls(points, 0.0)
        distances, _ = cKDTree(points).query(points, k=2)
        return cls(points, float(np.quantile(distances[:, 1], _WIDEST_SPACING)))


@dataclass(frozen=True)
class Contour:
    """What a pose covers of the image, and the border of it.

    ``covered`` (h, w) bool is of the image's part whose first pixel is ``corner`` (2,) (x, y) and which lies within the
    image; ``pixels`` (N, 2) on the border, image pixels, with unit ``normals`` (N, 2) outward and ``depth_m`` (N,).
    """

    corner: NDArray[np.intp]
    covered: NDArray[np.bool_]
    pixels: Array
    normals: Array
    depth_m: Array


def even_sample(points: Array, count: int) -> Array:
    """Return at most ``count`` of (N, 3) points, and nearly as many: the first in each cell of a grid."""
    fine, coarse = 0.0, 2.0 * float(np.ptp(points, axis=0).max())
    kept = np.zeros(1, dtype=np.intp)
    for _ in range(_HALVINGS):
        cell = 0.5 * (fine + coarse)
        _, firsts = np.unique(cell_keys(np.floor(points / cell).astype(np.int64)), return_index=True)
        if len(firsts) > count:
            fine = cell
        else:
            coarse, kept = cell, firsts
    return points[np.sort(kept)]


def cell_keys(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number (N,) for each cell (N, 3) of a grid, the same only for the same cell."""
    x, y, z = (cells - cells.min(axis=0)).T
    return np.asarray((x * (y.max() + 1) + y) * (z.max() + 1) + z)


def draw_contour(
    surface: ContourSurface, T_camera_object: Array, camera: Camera, count: int, margin: int
) -> Contour | None:
    """Return the contour of a pose at ``count`` places, in the part of the image ``margin`` pixels around it.

    None where it lies behind the camera or outside the image, or is too small or too large to be drawn.
    """
    drawing = _drawn(surface, T_camera_object, camera, margin)
    border = _border(drawing.mask) if drawing else None
    if drawing is None or border is None:
        return None
    chosen = np.linspace(0, len(border), count, endpoint=False).astype(np.intp)
    places, normals = border[chosen], _outward(border, drawing.mask)[chosen]
    depth_m = drawing.depth_m[places[:, 1], places[:, 0]].astype(np.float64)
    pixels = (places + 0.5) / drawing.finer - 0.5 + drawing.low
    covered = drawing.as_pixels(drawing.mask).mean(axis=(1, 3)) > 0.5
    return Contour(drawing.low, covered, pixels, normals, depth_m)


def draw_depth(
    surface: ContourSurface, T_camera_object: Array, camera: Camera
) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
    """Return the depth (h, w) that a pose has in the image, in metres and inf beside it, and its first pixel (2,).

    None as of ``draw_contour``.
    """
    drawing = _drawn(surface, T_camera_object, camera, _LEAST_GAP)
    if drawing is None:
        return None
    depth_m = np.where(drawing.mask > 0, drawing.depth_m, np.float32(np.inf))
    return drawing.low, drawing.as_pixels(depth_m).min(axis=(1, 3))


@dataclass(frozen=True)
class _Drawing:
    """A mask (h, w) of a pose, ``finer`` times as fine as the image, from its pixel ``low`` (2,), and depth there."""

    low: NDArray[np.intp]
    finer: int
    depth_m: NDArray[np.float32]
    mask: NDArray[np.uint8]

    def as_pixels(self, values: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Return what lies in the mask as (h, ``finer``, w, ``finer``) of the image's pixels."""
        height, width = values.shape
        return values.reshape(height // self.finer, self.finer, width // self.finer, self.finer)


def _drawn(surface: ContourSurface, T_camera_object: Array, camera: Camera, margin: int) -> _Drawing | None:
    """Draw the image's part ``margin`` around a pose; None as of ``draw_contour``."""
    points = se3.apply(T_camera_object, surface.points)
    if points[:, 2].min() < _MIN_DEPTH_M:
        return None
    pixels = camera.project(points)
    low = np.maximum(np.floor(pixels.min(axis=0)) - margin, 0).astype(np.intp)
    high = np.minimum(np.ceil(pixels.max(axis=0)) + margin + 1, camera.wh).astype(np.intp)
    gap = _GAP * surface.spacing_m * camera.fx / float(points[:, 2].mean())
    finer = _FINER if _FINER * gap <= _WIDE_GAP else 1
    if np.any(high - low < 2 * margin // 3) or np.prod(high - low) * finer**2 > _MOST_PIXELS:
        return None
    return _Drawing(
        low, finer, *_splatted((pixels - low + 0.5) * finer - 0.5, points[:, 2], (high - low) * finer, finer * gap)
    )


def _splatted(
    pixels: Array, depth_m: Array, wh: NDArray[np.intp], gap: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the nearest depth about each pixel of the mask, and the mask, whose gaps are closed."""
    width, height = wh
    at = np.rint(pixels).astype(np.intp)
    inside = (at[:, 0] >= 0) & (at[:, 0] < width) & (at[:, 1] >= 0) & (at[:, 1] < height)
    far_first = np.flatnonzero(inside)[np.argsort(-depth_m[inside])]
    depth = np.full((height, width), np.inf, dtype=np.float32)
    depth[at[far_first, 1], at[far_first, 0]] = depth_m[far_first]
    side = int(np.clip(2 * round(gap / 2) + 1, _LEAST_GAP, _WIDEST_GAP))
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    mask = cv2.morphologyEx(np.isfinite(depth).astype(np.uint8), cv2.MORPH_CLOSE, ellipse)
    return np.asarray(cv2.erode(depth, np.ones((side, side), np.uint8)), dtype=np.float32), np.asarray(mask, np.uint8)


def _border(mask: NDArray[np.uint8]) -> NDArray[np.intp] | None:
    """Return the pixels (M, 2) around the largest part of a mask, in order, or None where it is too small."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(contours, key=len, default=())
    return np.asarray(longest, dtype=np.intp)[:, 0] if len(longest) >= _MIN_BORDER else None


def _outward(border: NDArray[np.intp], mask: NDArray[np.uint8]) -> Array:
    """Return the unit normals (M, 2) of a closed border (M, 2), away from the mask."""
    half = _SMOOTHING // 2
    around = np.concatenate([border[-half:], border, border[:half]]).astype(np.float64)
    smooth = np.stack([np.convolve(axis, np.full(_SMOOTHING, 1.0 / _SMOOTHING), "valid") for axis in around.T], axis=1)
    along = np.roll(smooth, -half, axis=0) - np.roll(smooth, half, axis=0)
    normals = np.stack([along[:, 1], -along[:, 0]], axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    outside = np.clip(np.rint(border + half * normals).astype(np.intp), 0, np.array(mask.shape[::-1]) - 1)
    return np.where(mask[outside[:, 1], outside[:, 0], None] > 0, -normals, normals)
