"""What a camera can see of an object from each direction, worked out once from its surface points.

A part hides most of its own surface: a bore, the back, the foot behind a leg. Instead of drawing the model for every
candidate pose, the visible points and the silhouette are tabulated for directions spread evenly over the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from object_pose.core.geometry import se3
from object_pose.core.object_model import ObjectModel

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_VIEW_COUNT = 320
_SURFACE_POINTS = 256
_CONTOUR_POINTS = 64
# Surfaces seen at a flatter angle than this carry no usable depth.
_MIN_FACING = 0.2
_NEIGHBOURS = 8
_CELLS_PER_SPACING = 2
_CONTOUR_MIN_CELLS = 16


@dataclass(frozen=True)
class ModelViews:
    """Tables over V view directions: (V, 3) unit ``directions`` from the object's box centre to the camera.

    ``points`` and ``normals`` (V, N, 3) are visible surface; ``contour_points`` (V, C, 3) lie on the silhouette and
    ``contour_normals`` (V, C, 3) point out of it, square to the view; all in the object frame, metres. ``areas`` (V,)
    are the silhouettes' in square metres.
    """

    center: Array
    directions: Array
    points: Array
    normals: Array
    contour_points: Array
    contour_normals: Array
    areas: Array

    def nearest(self, rotation: Array, translation: Array) -> NDArray[np.intp]:
        """Return the index of the view nearest to how the camera sees each of the poses (B, 3, 3), (B, 3)."""
        offset = -(translation + rotation @ self.center)
        in_object = np.einsum("bji,bj->bi", rotation, offset)
        return np.asarray(np.argmax(in_object @ self.directions.T, axis=1))


def build_views(model: ObjectModel, seed: int = 0) -> ModelViews:
    """Tabulate ``model``; a few thousand surface points give a silhouette good to half their spacing."""
    order = np.random.default_rng(seed).permutation(len(model.points_object))
    points, normals = model.points_object[order], model.normals_object[order]
    spacing = _spacing(points)
    directions = sphere_directions(_VIEW_COUNT)
    tables = [_see(points - model.box_center, normals, direction, spacing) for direction in directions]
    surface = np.stack([table[0] for table in tables])
    contour = np.stack([table[1] for table in tables]) + model.box_center
    contour_normals = np.stack([table[2] for table in tables])
    areas = np.array([table[3] for table in tables])
    return ModelViews(model.box_center, directions, points[surface], normals[surface], contour, contour_normals, areas)


def sphere_directions(count: int) -> Array:
    """Return (count, 3) unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    index = np.arange(count) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * index
    ring = np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def _spacing(points: Array) -> float:
    """Return the mean distance of neighbours, from the area that each point's nearest ones share."""
    neighbours = min(_NEIGHBOURS, len(points) - 1)
    distance = cKDTree(points).query(points, k=[neighbours + 1])[0]
    return float(np.median(distance) * np.sqrt(np.pi / neighbours))


def _see(
    points: Array, normals: Array, direction: Array, spacing: float
) -> tuple[NDArray[np.intp], Array, Array, float]:
    """Return the indices of visible points, the contour with its normals, and the silhouette's area."""
    axes = np.stack(se3.tangents(direction))
    flat, depth = points @ axes.T, -(points @ direction)
    cell = spacing / _CELLS_PER_SPACING
    origin = flat.min(axis=0) - 4.0 * spacing
    shape = tuple(np.ceil((flat.max(axis=0) + 4.0 * spacing - origin) / cell).astype(int)[::-1])
    pixels = np.rint((flat - origin) / cell).astype(int)
    nearest = np.full(shape, np.inf, dtype=np.float32)
    np.minimum.at(nearest, (pixels[:, 1], pixels[:, 0]), depth.astype(np.float32))
    visible = np.flatnonzero(_is_visible(nearest, pixels, depth, normals @ direction, spacing))
    if len(visible) == 0:
        visible = np.argsort(depth)[:_SURFACE_POINTS]
    silhouette = _close(np.isfinite(nearest))
    outline, outward = _contour(silhouette)
    flat_outline = outline * cell + origin
    # Depth does not move a contour in the image much: the nearest visible point's is near enough.
    lift = depth[visible][cKDTree(flat[visible]).query(flat_outline)[1]]
    contour = flat_outline @ axes - lift[:, None] * direction
    area = float(np.count_nonzero(silhouette)) * cell**2
    return np.resize(visible, _SURFACE_POINTS), contour, outward @ axes, area


def _is_visible(
    nearest: NDArray[np.float32], pixels: NDArray[np.int_], depth: Array, facing: Array, spacing: float
) -> Mask:
    """Compare with the nearest surface around; a slanted surface may be that much behind its own neighbours."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    front = cv2.erode(nearest, kernel, borderValue=np.inf)[pixels[:, 1], pixels[:, 0]]
    slant = np.sqrt(1.0 - np.clip(facing, _MIN_FACING, 1.0) ** 2) / np.clip(facing, _MIN_FACING, 1.0)
    return np.asarray((facing > _MIN_FACING) & (depth < front + spacing * (0.5 + 1.5 * slant)))


def _close(covered: Mask) -> NDArray[np.uint8]:
    """Fill the gaps between samples; the mask stays a cell wider, for samples seldom lie right on the edge."""
    dilation = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    erosion = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return np.asarray(cv2.erode(cv2.dilate(covered.astype(np.uint8), dilation), erosion), dtype=np.uint8)


def _contour(mask: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Return (C, 2) points on the outlines of the mask and their (C, 2) outward normals, in cells."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # Tiny outlines are gaps between samples, not holes of the object.
    points = np.concatenate([o[:, 0] for o in outlines if len(o) >= _CONTOUR_MIN_CELLS] or [outlines[0][:, 0]])
    chosen = points[np.linspace(0, len(points) - 1, _CONTOUR_POINTS).astype(int)]
    smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2.0)
    slope_x, slope_y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    outward = -np.stack([slope_x, slope_y], axis=-1)[chosen[:, 1], chosen[:, 0]].astype(np.float64)
    length = np.linalg.norm(outward, axis=1, keepdims=True)
    return chosen.astype(np.float64), outward / np.maximum(length, 1e-9)
