"""Pose candidates, and what the camera would see of each: visible surface and silhouette, tabulated over directions.

A part hides most of its own surface: a bore, the back, the foot behind a leg. Instead of drawing the model for every
candidate pose, the visible points and the silhouette are tabulated for directions spread evenly over the sphere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from object_pose.core.arrays import Array, Mask
from object_pose.core.geometry import se3
from object_pose.core.geometry.lens import rotated
from object_pose.core.kernels import for_kernels, kernel
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.pnp import KeypointTargets

Indices = NDArray[np.intp]

_VIEW_COUNT = 320
_SURFACE_POINTS = 256
_CONTOUR_POINTS = 64
# Surfaces seen at a flatter angle than this carry no usable depth.
_MIN_FACING = 0.2
_NEIGHBOURS = 8
_CELLS_PER_SPACING = 2
_CONTOUR_MIN_CELLS = 16


@dataclass(frozen=True)
class Candidates:
    """B pose candidates: ``rotation`` (B, 3, 3), ``translation`` (B, 3) metres, camera frame.

    ``owners`` (B,) are the detections they belong to, ``class_ids`` (B,) their objects, ``boxes_xyxy`` (B, 4) what was
    seen of them in undistorted pixels. ``targets`` hold their keypoints; a candidate that takes the object for its own
    half turn carries the keypoints turned likewise.
    """

    rotation: Array
    translation: Array
    owners: Indices
    class_ids: Indices
    targets: KeypointTargets
    boxes_xyxy: Array

    def __post_init__(self) -> None:
        for name, dtype in (("rotation", np.float64), ("translation", np.float64), ("class_ids", np.intp)):
            object.__setattr__(self, name, for_kernels(getattr(self, name), dtype))
        object.__setattr__(self, "boxes_xyxy", for_kernels(self.boxes_xyxy, np.float64))

    def __len__(self) -> int:
        return len(self.owners)

    def take(self, index: Indices) -> Candidates:
        """Return the candidates that ``index`` picks."""
        return Candidates(
            self.rotation[index],
            self.translation[index],
            self.owners[index],
            self.class_ids[index],
            self.targets.take(index),
            self.boxes_xyxy[index],
        )

    def moved(self, rotation: Array, translation: Array) -> Candidates:
        """Return the same candidates at other poses."""
        return Candidates(rotation, translation, self.owners, self.class_ids, self.targets, self.boxes_xyxy)

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        """Return all candidates of several batches with equal keypoint counts."""
        return Candidates(
            np.concatenate([part.rotation for part in parts]),
            np.concatenate([part.translation for part in parts]),
            np.concatenate([part.owners for part in parts]),
            np.concatenate([part.class_ids for part in parts]),
            KeypointTargets(
                np.concatenate([part.targets.points_object for part in parts]),
                np.concatenate([part.targets.pixels for part in parts]),
                np.concatenate([part.targets.sigmas for part in parts]),
            ),
            np.concatenate([part.boxes_xyxy for part in parts]),
        )


@dataclass(frozen=True)
class Surfaces:
    """What the camera sees of B candidates: the view (B,) of ``tables`` that is nearest, of the class of each."""

    tables: ViewTables
    class_ids: Indices
    views: Indices

    @property
    def contour_points(self) -> Array:
        """The silhouettes (B, C, 3) in object frames."""
        return self.tables.contour_points[self.class_ids, self.views]


def visible_surfaces(candidates: Candidates, tables: ViewTables) -> Surfaces:
    """Look up what the camera sees of each candidate."""
    pose = candidates.rotation, candidates.translation
    views = _nearest_views(candidates.class_ids, *pose, tables.centers, tables.directions)
    return Surfaces(tables, candidates.class_ids, views)


@dataclass(frozen=True)
class ViewTables:
    """The views of K classes as kernels read them; see ``ModelViews``, whose fields have one more axis here."""

    centers: Array
    directions: Array
    points: Array
    normals: Array
    contour_points: Array
    contour_normals: Array
    areas: Array

    @classmethod
    def of(cls, views: Sequence[ModelViews]) -> ViewTables:
        """Stack the views of all classes."""
        return cls(
            np.stack([item.center for item in views]),
            views[0].directions,
            np.stack([item.points for item in views]),
            np.stack([item.normals for item in views]),
            np.stack([item.contour_points for item in views]),
            np.stack([item.contour_normals for item in views]),
            np.stack([item.areas for item in views]),
        )


@kernel
def _nearest_views(
    class_ids: Indices, rotation: Array, translation: Array, centers: Array, directions: Array
) -> Indices:
    """Return the view (B,) nearest to how the camera sees each of B poses."""
    views = np.zeros(len(class_ids), dtype=np.intp)
    for i in range(len(class_ids)):
        r, t, center = rotation[i], translation[i], centers[class_ids[i]]
        x, y, z = rotated(r, center[0], center[1], center[2])
        x, y, z = -(x + t[0]), -(y + t[1]), -(z + t[2])
        ox = r[0, 0] * x + r[1, 0] * y + r[2, 0] * z
        oy = r[0, 1] * x + r[1, 1] * y + r[2, 1] * z
        oz = r[0, 2] * x + r[1, 2] * y + r[2, 2] * z
        best = -1e300
        for view in range(len(directions)):
            cosine = ox * directions[view, 0] + oy * directions[view, 1] + oz * directions[view, 2]
            if cosine > best:
                best = cosine
                views[i] = view
    return views


@dataclass(frozen=True)
class ModelViews:
    """One class's tables over V view directions: (V, 3) unit ``directions`` from the object's box centre to the camera.

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


BuildViews = Callable[[Sequence[ObjectModel]], Sequence[ModelViews]]


def build_views_of_all(objects: Sequence[ObjectModel]) -> list[ModelViews]:
    """Tabulate objects one after the other."""
    return [build_views(model) for model in objects]


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
    border, outward = _contour(silhouette)
    flat_contour = border * cell + origin
    # Depth does not move a contour in the image much: the nearest visible point's is near enough.
    lift = depth[visible][cKDTree(flat[visible]).query(flat_contour)[1]]
    contour = flat_contour @ axes - lift[:, None] * direction
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
    """Return (C, 2) points on the contours of the mask and their (C, 2) outward normals, in cells."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # Tiny contours are gaps between samples, not holes of the object.
    points = np.concatenate([o[:, 0] for o in contours if len(o) >= _CONTOUR_MIN_CELLS] or [contours[0][:, 0]])
    chosen = points[np.linspace(0, len(points) - 1, _CONTOUR_POINTS).astype(int)]
    smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2.0)
    slope_x, slope_y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    outward = -np.stack([slope_x, slope_y], axis=-1)[chosen[:, 1], chosen[:, 0]].astype(np.float64)
    length = np.linalg.norm(outward, axis=1, keepdims=True)
    return chosen.astype(np.float64), outward / np.maximum(length, 1e-9)
