"""A depth image as an oriented surface: normals, the planes that parts lie on, and points spread evenly over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask
from object_pose.core.kernels import kernel
from object_pose.core.pose.depth_evidence import DepthNoise, DepthView

Floats = NDArray[np.float32]

STRIDE = 2  # of the normals, in pixels
_LEAST_RADIUS_PX, _MOST_RADIUS_PX = 3, 12
_SAMPLES = 3  # to either side of a pixel
_STEP_SIGMAS = 4.0
_STEEPEST = 3.0  # slope of depth with distance across, above which a neighbour is another surface
_LEAST_NEIGHBOURS = 12
_LEAST_FACING = 0.15
_SHIFTED = 0.5  # of a radius: how far the middle of the neighbours may lie beside the pixel
# Planes: trials, the share of all points that one has at least, and how far its points are turned and off at most.
_PLANE_POINTS, _TRIALS, _LEAST_SHARE, _SAME_NORMAL = 3000, 150, 0.03, 0.9
_MOST_PLANES = 6
_PLANE_M, _PLANE_SIGMAS = 0.0025, 3.0
_SIGMA_OF_MEDIAN, _LEAST_NOISE = 1.48, 0.3


@dataclass(frozen=True)
class Plane:
    """The plane normal . x = offset in metres, its unit normal (3,) towards the camera."""

    normal: Array
    offset: float

    def height(self, points: Array) -> Array:
        """Return how far points (..., 3) lie above the plane, towards the camera."""
        return np.asarray(points @ self.normal - self.offset)

    def contains(self, points: Array, normals: Array, scene: OrientedDepth) -> Mask:
        """Return which oriented points (..., 3) lie on the plane."""
        near = np.abs(self.height(points)) < scene.tolerance(points[..., 2])
        return np.asarray(near & (normals @ self.normal > _SAME_NORMAL))


@dataclass(frozen=True)
class OrientedDepth:
    """Every ``STRIDE``-th pixel: smoothed ``points`` (h, w, 3) and unit ``normals`` (h, w, 3) towards the camera.

    Both are float32, in the camera, in metres; normals of zero where there is none.
    """

    points: Floats
    normals: Floats
    view: DepthView

    @classmethod
    def of(cls, view: DepthView, radius_m: float) -> OrientedDepth:
        """Fit planes to the surface within ``radius_m`` of each pixel."""
        height, width = view.depth_m.shape
        shape = (height + STRIDE - 1) // STRIDE, (width + STRIDE - 1) // STRIDE, 3
        points, normals = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        camera = view.camera
        lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        depth = np.require(view.depth_m, np.float32, ("C", "W"))
        noise = np.array([view.noise.floor_m, view.noise.at_1m])
        _fit_normals(depth, lens, noise, radius_m, points, normals)
        return cls(points, normals, view)

    def with_noise_of(self, planes: Sequence[Plane]) -> OrientedDepth:
        """Return the same with the noise that the planes show, where that is less than what is said of the sensor."""
        points, normals = self.points.astype(np.float64), self.normals.astype(np.float64)
        shares = [1.0]
        for plane in planes:
            inside = plane.contains(points, normals, self)
            off = np.abs(plane.height(measured_points(self.view)[inside])) / self.view.noise.sigma(points[inside][:, 2])
            shares.append(_SIGMA_OF_MEDIAN * float(np.median(off)) if len(off) else 1.0)
        share = max(min(shares), _LEAST_NOISE)
        noise = DepthNoise(share * self.view.noise.floor_m, share * self.view.noise.at_1m)
        return replace(self, view=replace(self.view, noise=noise))

    @property
    def is_oriented(self) -> Mask:
        """Where there is a normal (h, w)."""
        return np.asarray(np.any(self.normals != 0.0, axis=-1))

    def tolerance(self, depth_m: Array) -> Array:
        """Return how far a point at each depth may be off its surface, in metres."""
        return np.maximum(_PLANE_M, _PLANE_SIGMAS * self.view.noise.sigma(depth_m))


@kernel
def _fit_normals(depth: Floats, lens: Array, noise: Array, radius_m: float, points: Floats, normals: Floats) -> None:
    """Write smoothed points and normals (h, w, 3) of every ``STRIDE``-th pixel.

    The inverse depth of a plane is linear in the rays' x / z and y / z, so three numbers are fitted, twice: the second
    time without what is off the first fit.
    """
    height, width = depth.shape
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    for h in range(points.shape[0]):
        for w in range(points.shape[1]):
            row, column = h * STRIDE, w * STRIDE
            z = depth[row, column]
            if z <= 0.0:
                continue
            sigma = math.sqrt(noise[0] ** 2 + (noise[1] * z * z) ** 2)
            radius = min(max(int(radius_m * fx / z + 1.0), _LEAST_RADIUS_PX), _MOST_RADIUS_PX)
            step = max(1, radius // _SAMPLES)
            a = b = 0.0
            c = 1.0 / z
            slope = 0.0
            is_fitted = False
            for turn in range(2):
                sxx = sxy = sx = syy = sy = s = sxw = syw = sw = 0.0
                for dv in range(-_SAMPLES, _SAMPLES + 1):
                    r = row + dv * step
                    if r < 0 or r >= height:
                        continue
                    for du in range(-_SAMPLES, _SAMPLES + 1):
                        q = column + du * step
                        if q < 0 or q >= width:
                            continue
                        d = depth[r, q]
                        if d <= 0.0:
                            continue
                        x, y = du * step / fx, dv * step / fy
                        if turn == 0:
                            across = math.sqrt(x * x + y * y) * z
                            if abs(d - z) > _STEP_SIGMAS * sigma + _STEEPEST * across:
                                continue
                        else:
                            expected = 1.0 / (a * x + b * y + c)
                            if abs(d - expected) > _STEP_SIGMAS * sigma * (1.0 + slope):
                                continue
                        weight = 1.0
                        inverse = 1.0 / d
                        sxx += weight * x * x
                        sxy += weight * x * y
                        syy += weight * y * y
                        sx += weight * x
                        sy += weight * y
                        s += weight
                        sxw += weight * x * inverse
                        syw += weight * y * inverse
                        sw += weight * inverse
                is_fitted = False
                if s < _LEAST_NEIGHBOURS:
                    break
                mx, my, mw = sx / s, sy / s, sw / s
                reach = radius / fx * _SHIFTED
                if mx * mx + my * my > reach * reach:
                    break
                cxx, cxy, cyy = sxx / s - mx * mx, sxy / s - mx * my, syy / s - my * my
                cxw, cyw = sxw / s - mx * mw, syw / s - my * mw
                determinant = cxx * cyy - cxy * cxy
                if determinant < 1e-4 * (cxx + cyy) ** 2:
                    break
                a, b = (cyy * cxw - cxy * cyw) / determinant, (cxx * cyw - cxy * cxw) / determinant
                c = mw - a * mx - b * my
                if c <= 0.0:
                    break
                slope = math.sqrt(a * a + b * b) / c
                is_fitted = True
            if not is_fitted:
                continue
            ax, ay = (column - cx) / fx, (row - cy) / fy
            # In rays from the optical axis instead of this pixel's.
            nx, ny, nz = -a, -b, -(c - a * ax - b * ay)
            length = math.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx / length, ny / length, nz / length
            smooth = 1.0 / c
            facing = -(nx * ax + ny * ay + nz) / math.sqrt(ax * ax + ay * ay + 1.0)
            if facing < _LEAST_FACING or abs(smooth - z) > _STEP_SIGMAS * sigma * (1.0 + slope):
                continue
            points[h, w, 0], points[h, w, 1], points[h, w, 2] = ax * smooth, ay * smooth, smooth
            normals[h, w, 0], normals[h, w, 1], normals[h, w, 2] = nx, ny, nz


def measured_points(view: DepthView) -> Array:
    """Return the points (h, w, 3) of every ``STRIDE``-th pixel as they were measured."""
    depth, camera = view.depth_m[::STRIDE, ::STRIDE].astype(np.float64), view.camera
    x = (np.arange(0, camera.width, STRIDE) - camera.cx) / camera.fx
    y = (np.arange(0, camera.height, STRIDE) - camera.cy) / camera.fy
    return np.stack([x[None] * depth, y[:, None] * depth, depth], axis=-1)


def find_planes(scene: OrientedDepth, least_extent_m: float, seed: int = 0) -> list[Plane]:
    """Return the planes of a scene, the greatest first, that reach farther than ``least_extent_m``."""
    oriented = np.flatnonzero(scene.is_oriented)
    picked = np.random.default_rng(seed).permutation(oriented)[:_PLANE_POINTS]
    points = scene.points.reshape(-1, 3)[picked].astype(np.float64)
    normals = scene.normals.reshape(-1, 3)[picked].astype(np.float64)
    total, planes = len(points), list[Plane]()
    while len(planes) < _MOST_PLANES and len(points) > _LEAST_SHARE * total:
        plane = _best_plane(points, normals, scene)
        inside = plane.contains(points, normals, scene)
        if np.count_nonzero(inside) <= _LEAST_SHARE * total:
            break
        spread = points[inside] - points[inside].mean(axis=0)
        _, axes = np.linalg.eigh(spread.T @ spread)
        low, high = np.percentile(spread @ axes[:, 1:], [3, 97], axis=0)
        planes += [plane] if (high - low).max() > least_extent_m else []
        points, normals = points[~inside], normals[~inside]
    return planes


def _best_plane(points: Array, normals: Array, scene: OrientedDepth) -> Plane:
    """Return the plane through one of the first points that most of the others lie on, fitted to these."""
    few = min(_TRIALS, len(points))
    offsets = np.sum(points[:few] * normals[:few], axis=1)
    off = np.abs(points @ normals[:few].T - offsets)
    limit = scene.tolerance(points[:, 2])[:, None]
    votes = np.count_nonzero((off < limit) & (normals @ normals[:few].T > _SAME_NORMAL), axis=0)
    best = int(np.argmax(votes))
    plane = Plane(normals[best], float(offsets[best]))
    for _ in range(3):
        inside = plane.contains(points, normals, scene)
        if np.count_nonzero(inside) < 3:
            break
        middle = points[inside].mean(axis=0)
        spread = points[inside] - middle
        normal = np.linalg.eigh(spread.T @ spread)[1][:, 0]
        normal = -normal if normal @ middle > 0.0 else normal
        plane = Plane(normal, float(normal @ middle))
    return plane


def pixels_on(plane: Plane, scene: OrientedDepth, least_extent_m: float) -> Mask:
    """Return the oriented pixels (h, w) on a plane, in connected pieces that reach farther than ``least_extent_m``.

    Smaller ones may be faces of parts.
    """
    points = scene.points.astype(np.float64)
    inside = plane.contains(points, scene.normals.astype(np.float64), scene)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    depth = np.bincount(labels.ravel(), points[..., 2].ravel(), count) / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    sides_px = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) * STRIDE
    is_large = sides_px * depth / scene.view.camera.fx > least_extent_m
    is_large[0] = False
    return np.asarray(is_large[labels])


def even_points(scene: OrientedDepth, wanted: Mask, spacing_m: float) -> NDArray[np.intp]:
    """Return flat indices (N,) of the ``wanted`` (h, w) oriented pixels, one a cube of ``spacing_m``.

    Surfaces that face apart keep a point each in a cube.
    """
    index = np.flatnonzero(wanted & scene.is_oriented)
    points = scene.points.reshape(-1, 3)[index]
    normals = scene.normals.reshape(-1, 3)[index]
    cells = np.floor(points / spacing_m).astype(np.int64)
    cells -= cells.min(axis=0) if len(cells) else 0
    # One of six sides of a cube, by the normal's longest component.
    longest = np.abs(normals).argmax(axis=1)
    sides = 2 * longest + (np.take_along_axis(normals, longest[:, None], 1)[:, 0] > 0.0)
    shape = cells.max(axis=0) + 1 if len(cells) else np.ones(3, dtype=np.int64)
    keys = ((cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]) * 6 + sides
    _, first = np.unique(keys, return_index=True)
    return np.asarray(index[np.sort(first)])
