"""What the camera would see of a class from each direction: visible surface and contour, as tables for kernels.

Drawing a model at every iteration of a tracker costs more than aligning it. As in ICG (Stoiber, Sundermeyer, Triebel,
"Iterative corresponding geometry", 2022) it is drawn once from directions spread evenly over the sphere, and a pose
takes the nearest of these views.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.kernels import kernel
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.candidates import sphere_directions

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

VIEW_COUNT = 320
SURFACE_POINTS = 200
CONTOUR_POINTS = 128
# Columns of ``contours``.
CONTOUR_COLUMNS = 8
FOREGROUND_RUN, BACKGROUND_RUN = 6, 7

_DISTANCE = 4.0  # of the drawn views, in diameters: perspective as on a table
_MIN_FACING = 0.15  # cosine below which a surface is too slanted to be measured
_CELLS_PER_SPACING = 3.0
_LONGEST_EDGE = 2.2  # of a triangle between surface points, in spacings
_WIDEST_TURN_RAD = 2.6
_BETWEEN = 0.6  # of the squared distance to a neighbour; 1 is a Gabriel graph
_INSET = 0.15  # of the outermost points within the edges of the surface, in spacings
_NOTHING_M = 1e6
_MARGIN_CELLS = 6
_NEIGHBOURS = 12
_LONGEST_RUN = 0.5  # in diameters
_RUN_STEP, _LEAST_RUN = 0.5, 1.5  # in cells; the first ones beside a border may be of either side
_LEAST_CONTOUR_CELLS = 12
_SMOOTHING_CELLS = 2.0


@dataclass(frozen=True)
class ViewModel:
    """One class seen from V directions; object frame, metres, float32.

    ``directions`` (V, 3) are unit vectors from ``center`` (3,) to the camera. ``surface`` (P, 6) holds points and their
    outward normals, of which ``visible`` (V, M) int32 are seen in each view: the first ``visible_counts`` (V,) of a
    row, any first few of which are spread over the whole view. ``contours`` (V, C, 8) are points on the contour, in
    order along it, their normals out of the object and square to the view, and how far the object goes on inward and
    the background outward along the normal, both at most half a diameter. ``contour_spacings`` (V,) is how much of the
    contour's length belongs to each of its points, ``areas`` (V,) that of the silhouette in square metres. ``axis``
    (2, 3) is a point and the direction of the axis of revolution, a direction of zero where there is none.
    """

    name: str
    diameter: float
    center: Floats
    directions: Floats
    surface: Floats
    visible: Ints
    visible_counts: Ints
    contours: Floats
    contour_spacings: Floats
    areas: Floats
    axis: Floats

    @classmethod
    def of(cls, model: ObjectModel, view_count: int = VIEW_COUNT) -> ViewModel:
        """Draw a class from ``view_count`` directions."""
        order = _spread_order(model.points_object)
        points, normals = model.points_object[order] - model.box_center, model.normals_object[order]
        dense = model.surface_object if len(model.surface_object) else model.points_object
        drawing = _Drawing(points, normals, dense - model.box_center, model.diameter)
        directions, symmetry = sphere_directions(view_count), model.symmetry
        views = [drawing.seen_from(direction) for direction in directions]
        visible = np.zeros((view_count, SURFACE_POINTS), dtype=np.int32)
        for row, view in zip(visible, views):
            row[: len(view.visible)] = view.visible
        contours = np.stack([view.contour for view in views])
        contours[..., :3] += model.box_center
        return cls(
            name=model.name,
            diameter=model.diameter,
            center=model.box_center.astype(np.float32),
            directions=directions.astype(np.float32),
            surface=np.concatenate([points + model.box_center, normals], axis=1).astype(np.float32),
            visible=visible,
            visible_counts=np.array([len(view.visible) for view in views], dtype=np.int32),
            contours=contours.astype(np.float32),
            contour_spacings=np.array([view.contour_spacing for view in views], dtype=np.float32),
            areas=np.array([view.area for view in views], dtype=np.float32),
            axis=np.array([symmetry.offset, np.zeros(3) if symmetry.axis is None else symmetry.axis], dtype=np.float32),
        )


def draw_view_models(objects: Sequence[ObjectModel]) -> list[ViewModel]:
    """Draw objects one after the other, a second each."""
    return [ViewModel.of(model) for model in objects]


@dataclass(frozen=True)
class ViewTables:
    """The views of K classes, contiguous: the arrays of ``ViewModel`` with a first axis (K, ...)."""

    diameters: Floats
    centers: Floats
    directions: Floats
    surfaces: Floats
    visible: Ints
    visible_counts: Ints
    contours: Floats
    contour_spacings: Floats
    areas: Floats
    axes: Floats

    @classmethod
    def of(cls, models: Sequence[ViewModel]) -> ViewTables:
        """Pack models, drawn from the same directions; raises ``ValueError`` for none."""
        surfaces = np.zeros((len(models), max(len(model.surface) for model in models), 6), dtype=np.float32)
        for padded, model in zip(surfaces, models):
            padded[: len(model.surface)] = model.surface
        return cls(
            diameters=np.array([model.diameter for model in models], dtype=np.float32),
            centers=np.stack([model.center for model in models]),
            directions=models[0].directions.copy(),
            surfaces=surfaces,
            visible=np.stack([model.visible for model in models]),
            visible_counts=np.stack([model.visible_counts for model in models]),
            contours=np.stack([model.contours for model in models]),
            contour_spacings=np.stack([model.contour_spacings for model in models]),
            areas=np.stack([model.areas for model in models]),
            axes=np.stack([model.axis for model in models]),
        )

    def nearest(self, class_ids: NDArray[np.intp], rotation: Array, translation: Array) -> Ints:
        """Return the view (N,) nearest to how the camera sees each of the poses (N, 3, 3), (N, 3)."""
        centers = self.centers[class_ids]
        offset = -(translation + np.einsum("nij,nj->ni", rotation, centers))
        in_object = np.einsum("nji,nj->ni", rotation, offset)
        return np.asarray(np.argmax(in_object @ self.directions.T, axis=1), dtype=np.int32)


@dataclass(frozen=True)
class _View:
    """One direction: indices of visible points, contour (C, 8) about the centre, length of a point, and area."""

    visible: NDArray[np.intp]
    contour: Array
    contour_spacing: float
    area: float


class _Drawing:
    """Draws a model about its centre: ``points`` with ``normals`` that are tested, ``dense`` ones that hide them."""

    def __init__(self, points: Array, normals: Array, dense: Array, diameter: float) -> None:
        self._points, self._normals, self._dense = points, normals, np.concatenate([dense, points])
        self._distance, self._diameter = _DISTANCE * diameter, diameter
        self._spacing = _spacing(self._dense)
        self._triangles = _triangles(self._dense, _LONGEST_EDGE * self._spacing)
        self._cell = self._spacing / _CELLS_PER_SPACING

    def seen_from(self, direction: Array) -> _View:
        """Draw the model as a camera in ``direction`` (3,) sees it."""
        axes = np.stack(se3.tangents(direction))
        flat, depth = self._project(self._dense, axes, direction)
        origin = flat.min(axis=0) - _MARGIN_CELLS * self._cell
        shape = tuple(np.ceil((np.ptp(flat, axis=0)) / self._cell).astype(int)[::-1] + 2 * _MARGIN_CELLS)
        front = np.full(shape, _NOTHING_M, dtype=np.float32)
        _draw((flat - origin) / self._cell, depth, self._triangles, front)
        mask = np.asarray(front < _NOTHING_M, dtype=np.uint8)
        visible = self._visible(axes, direction, origin, front)
        border, outward, length = _border(np.asarray(mask, dtype=np.uint8))
        lift = front[np.rint(border[:, 1]).astype(np.intp), np.rint(border[:, 0]).astype(np.intp)].astype(np.float64)
        lift = np.where(lift < _NOTHING_M, lift, 0.0)
        scale = (self._distance + lift) / self._distance
        contour = np.empty((CONTOUR_POINTS, CONTOUR_COLUMNS))
        edge = border + _INSET * _CELLS_PER_SPACING * outward
        contour[:, :3] = ((edge * self._cell + origin) * scale[:, None]) @ axes - lift[:, None] * direction
        contour[:, 3:6] = outward @ axes
        most = _LONGEST_RUN * self._diameter / self._cell
        runs = np.empty((CONTOUR_POINTS, 2))
        _measure_runs(mask, border, outward, most, runs)
        contour[:, [FOREGROUND_RUN, BACKGROUND_RUN]] = runs * (self._cell * scale[:, None])
        area = float(np.count_nonzero(mask)) * self._cell**2
        return _View(visible, contour, length * self._cell / CONTOUR_POINTS, area)

    def _project(self, points: Array, axes: Array, direction: Array) -> tuple[Array, Array]:
        """Return points (N, 2) in the plane through the centre, in metres, and how far behind it they are (N,)."""
        depth = -(points @ direction)
        return points @ axes.T * (self._distance / (self._distance + depth))[:, None], depth

    def _visible(self, axes: Array, direction: Array, origin: Array, front: Floats) -> NDArray[np.intp]:
        """Return the indices of the first points that nothing hides; a slanted surface lies behind its neighbours."""
        flat, depth = self._project(self._points, axes, direction)
        cells = np.rint((flat - origin) / self._cell).astype(np.intp)
        to_camera = direction * self._distance - self._points
        facing = np.sum(self._normals * to_camera, axis=1) / np.linalg.norm(to_camera, axis=1)
        slant = np.sqrt(1.0 - np.clip(facing, _MIN_FACING, 1.0) ** 2) / np.clip(facing, _MIN_FACING, 1.0)
        limit = front[cells[:, 1], cells[:, 0]] + self._spacing * (0.5 + 1.5 * slant)
        return np.flatnonzero((facing > _MIN_FACING) & (depth < limit))[:SURFACE_POINTS]


def _triangles(points: Array, longest: float) -> Ints:
    """Join surface points (N, 3) with their neighbours: triangles (T, 3) of each point and two beside each other.

    Neighbours have no other one in between (as in a Gabriel graph), and edges are at most ``longest``.
    """
    distance, neighbours = cKDTree(points).query(points, k=min(_NEIGHBOURS, len(points) - 1) + 1)
    distance, neighbours = distance[:, 1:], neighbours[:, 1:]
    offsets = points[neighbours] - points[:, None]
    products = offsets @ offsets.transpose(0, 2, 1)
    is_between = distance[:, None, :] ** 2 < _BETWEEN * products
    is_between[:, np.arange(products.shape[1]), np.arange(products.shape[1])] = False
    joined = (distance < longest) & ~is_between.any(axis=2)
    _, axes = np.linalg.eigh(offsets.transpose(0, 2, 1) @ offsets)
    flat = offsets @ axes[:, :, 1:]
    angles = np.where(joined, np.arctan2(flat[..., 1], flat[..., 0]), np.inf)
    order = np.argsort(angles, axis=1)
    angles, neighbours = np.take_along_axis(angles, order, axis=1), np.take_along_axis(neighbours, order, axis=1)
    count = joined.sum(axis=1)
    column = np.arange(joined.shape[1])
    following = np.where(column + 1 < count[:, None], column + 1, 0)
    turn = np.take_along_axis(angles, following, axis=1) - angles
    with np.errstate(invalid="ignore"):
        chosen = (column < count[:, None]) & (turn % (2.0 * np.pi) < _WIDEST_TURN_RAD)
    row, column = np.nonzero(chosen)
    corners = np.stack([row, neighbours[row, column], neighbours[row, following[row, column]]], axis=1)
    return np.unique(np.sort(corners, axis=1), axis=0).astype(np.int32)


@kernel
def _draw(flat: Array, depth: Array, triangles: Ints, front: Floats) -> None:
    """Draw points, (N, 2) in cells and (N,) deep, and their triangles (T, 3) as the nearest depth of cells (h, w)."""
    height, width = front.shape
    for k in range(len(flat)):
        row, column = int(flat[k, 1] + 0.5), int(flat[k, 0] + 0.5)
        front[row, column] = min(front[row, column], depth[k])
    for k in range(len(triangles)):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        ax, ay, bx, by, cx, cy = flat[a, 0], flat[a, 1], flat[b, 0], flat[b, 1], flat[c, 0], flat[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-6:
            continue
        # Shares of the second and third corner, and how they change along a row.
        b_by_x, b_by_y = (cy - ay) / area, -(cx - ax) / area
        c_by_x, c_by_y = -(by - ay) / area, (bx - ax) / area
        rise_b, rise_c = depth[b] - depth[a], depth[c] - depth[a]
        first_row, last_row = math.ceil(min(ay, by, cy)), math.floor(max(ay, by, cy))
        first_column, last_column = math.ceil(min(ax, bx, cx)), math.floor(max(ax, bx, cx))
        for y in range(max(first_row, 0), min(last_row, height - 1) + 1):
            for x in range(max(first_column, 0), min(last_column, width - 1) + 1):
                share_b = b_by_x * (x - ax) + b_by_y * (y - ay)
                share_c = c_by_x * (x - ax) + c_by_y * (y - ay)
                if min(share_b, share_c, 1.0 - share_b - share_c) >= 0.0:
                    front[y, x] = min(front[y, x], depth[a] + share_b * rise_b + share_c * rise_c)


def _spread_order(points: Array) -> NDArray[np.intp]:
    """Return an order of points (N, 3) in which each is as far as possible from those before it."""
    order = np.zeros(len(points), dtype=np.intp)
    distance = np.full(len(points), np.inf)
    for index in range(1, len(points)):
        distance = np.minimum(distance, np.sum((points - points[order[index - 1]]) ** 2, axis=1))
        order[index] = int(np.argmax(distance))
    return order


def _spacing(points: Array) -> float:
    """Return the mean distance of neighbours, from the area that each point's nearest ones share."""
    neighbours = min(_NEIGHBOURS, len(points) - 1)
    distance = cKDTree(points).query(points, k=[neighbours + 1])[0]
    return float(np.median(distance) * np.sqrt(np.pi / neighbours))


def _border(mask: NDArray[np.uint8]) -> tuple[Array, Array, float]:
    """Return points (C, 2) along the contours of a mask, outer and inner, outward normals (C, 2), and their length."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # Tiny contours are gaps between samples, not holes of the object.
    long = [item[:, 0] for item in contours if len(item) >= _LEAST_CONTOUR_CELLS] or [contours[0][:, 0]]
    points = np.concatenate(long).astype(np.float64)
    length = sum(float(cv2.arcLength(item, True)) for item in long)
    chosen = points[np.linspace(0, len(points), CONTOUR_POINTS, endpoint=False).astype(np.intp)]
    smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SMOOTHING_CELLS)
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], axis=-1)
    outward = -slope[chosen[:, 1].astype(np.intp), chosen[:, 0].astype(np.intp)].astype(np.float64)
    return chosen, outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9), length


@kernel
def _measure_runs(mask: NDArray[np.uint8], border: Array, outward: Array, most: float, runs: Array) -> None:
    """Write how many cells (C, 2) the mask goes on inward of border points (C, 2), and the background outward."""
    height, width = mask.shape
    for i in range(len(border)):
        for side in range(2):
            sign, value = (-1.0, 1) if side == 0 else (1.0, 0)
            run = _LEAST_RUN
            while run < most:
                column = int(border[i, 0] + sign * outward[i, 0] * run + 0.5)
                row = int(border[i, 1] + sign * outward[i, 1] * run + 0.5)
                inside = 0 <= column < width and 0 <= row < height
                if (mask[row, column] if inside else 0) != value:
                    break
                run += _RUN_STEP
            runs[i, side] = run
