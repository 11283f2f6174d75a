"""Depth as a modality: projective point-to-plane distances of the visible surface.

Every visible model point is compared with the depth at its own pixel; where that belongs to something else, with the
nearest measured surface around it that faces the same way. A measured surface in front is an occluder and no error, one
behind a contradiction. Chen and Medioni, "Object modelling by registration of multiple range images", 1992.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Mask
from object_pose.core.frame import CameraFrame
from object_pose.core.geometry.lens import lens_of, pixel_of, rays_of, rotated
from object_pose.core.kernels import for_kernels, kernel
from object_pose.core.pose.depth_evidence import DepthNoise
from object_pose.core.tracking.modality import Objects, Systems, accumulate
from object_pose.core.tracking.view_model import Floats, Ints, ViewTables

# Robust scale, and how far around its pixel a point's surface is searched for, in metres, in each stage.
_SCALES_M = np.array([0.020, 0.014, 0.010, 0.007, 0.005, 0.004])
_REACHES_M = np.array([0.015, 0.010, 0.006, 0.003, 0.0, 0.0])
# Against a pose a hidden part of its surface counts so much of one that is seen through.
_OCCLUDED = 0.5
# Columns of the evidence.
_EXPECTED, _CONFIRMED, _BEHIND, _FRONT, _HOLES, _SQUARES, _OUTSIDE, _EDGES, _NEAR_EDGES = range(9)
_COLUMNS = 9


@dataclass(frozen=True)
class DepthEvidence:
    """What depth says of N poses: shares (N,) of the surface points that should be visible within the image.

    ``confirmed`` ones lie on the measured surface, of ``seen_through`` ones it lies behind, of ``occluded`` ones in
    front; nothing was measured at ``holes``. ``in_image`` (N,) is the share of all camera-facing points within the
    image, ``rms_m`` (N,) the distance of the confirmed ones.
    """

    confirmed: Array
    seen_through: Array
    occluded: Array
    holes: Array
    in_image: Array
    rms_m: Array

    @property
    def contradicted(self) -> Array:
        """Which share (N,) of the surface that would be seen is seen through."""
        return np.asarray(self.seen_through / np.maximum(self.confirmed + self.seen_through, 1e-3))

    @property
    def support(self) -> Array:
        """One number (N,) to compare poses of an object by; 1 is perfect."""
        return np.asarray(self.confirmed - self.seen_through - _OCCLUDED * self.occluded)


class DepthModality:
    """Measures with the depth of a frame; ``noise`` is the sensor's."""

    def __init__(self, tables: ViewTables, noise: DepthNoise) -> None:
        self._tables, self._noise = tables, np.array([noise.floor_m, noise.at_1m])
        self._depth = np.zeros((0, 0), dtype=np.float32)
        self._lens, self._rays = np.zeros(0), np.zeros((0, 0, 2), dtype=np.float32)
        self._counts = np.zeros((0, _COLUMNS))

    def start(self, frame: CameraFrame, objects: Objects) -> bool:
        """Take the frame's depth; False where it has none."""
        if frame.depth_m is None:
            return False
        self._depth = for_kernels(frame.depth_m, np.float32)
        self._lens, self._rays = lens_of(frame.camera), rays_of(frame.camera)
        self._counts = np.zeros((len(objects), _COLUMNS))
        return True

    def add(self, objects: Objects, systems: Systems) -> None:
        """Add the distances of the visible surface to the depth image."""
        tables = self._tables
        _add_depth(
            self._depth,
            self._rays,
            self._lens,
            self._noise,
            tables.surfaces,
            tables.visible,
            tables.visible_counts,
            tables.areas,
            objects.class_ids,
            objects.views,
            objects.stages,
            objects.active,
            objects.rotation,
            objects.translation,
            _SCALES_M,
            _REACHES_M,
            systems.information,
            systems.gradient,
            self._counts,
        )
        _add_edges(
            self._depth,
            self._lens,
            self._noise,
            tables.contours,
            tables.contour_spacings,
            tables.diameters,
            objects.class_ids,
            objects.views,
            objects.stages,
            objects.active,
            objects.rotation,
            objects.translation,
            _REACHES_M,
            systems.information,
            systems.gradient,
            self._counts,
        )

    def search(self, objects: Objects) -> Array:
        """Return the shifts (N, 3) in metres that lay most of the active objects' surfaces on the measured one."""
        shifts, tables = np.zeros((len(objects), 3)), self._tables
        _search_shifts(
            self._depth,
            self._lens,
            self._noise,
            tables.surfaces,
            tables.visible,
            tables.visible_counts,
            tables.diameters,
            objects.class_ids,
            objects.views,
            objects.active,
            objects.rotation,
            objects.translation,
            shifts,
        )
        return shifts

    def finish(self, objects: Objects, is_tracked: NDArray[np.bool_]) -> None:
        """Learn nothing: depth has no appearance."""

    def evidence(self) -> DepthEvidence:
        """Return what depth said in the last round."""
        counts = self._counts
        expected = np.maximum(counts[:, _EXPECTED], 1.0)
        return DepthEvidence(
            confirmed=counts[:, _CONFIRMED] / expected,
            seen_through=counts[:, _BEHIND] / expected,
            occluded=counts[:, _FRONT] / expected,
            holes=counts[:, _HOLES] / expected,
            in_image=counts[:, _EXPECTED] / np.maximum(counts[:, _EXPECTED] + counts[:, _OUTSIDE], 1.0),
            rms_m=np.sqrt(counts[:, _SQUARES] / np.maximum(counts[:, _CONFIRMED], 1.0)),
        )


_SIGMAS = 3.0
_MIN_DEPTH_M = 0.05
_MIN_FACING = 0.15
# Neighbouring depth pixels share their noise over about this many pixels.
_CORRELATED_PX = 12.0
# While the scale is coarse, points meet the wrong surface about this share of it away.
_ASSOCIATION = 0.25
_MOST_STEPS = 3  # of a search to either side
_WIDEST_SEARCH_PX = 16
# Normals are measured over so many pixels, and may be so far off (cosine).
_NORMAL_BASE_PX = 3
_SAME_NORMAL = 0.5
_SURFACE_STEP = 0.01  # of the depth, above which three pixels are no one surface


# Edges of depth. What lies so far behind the contour, in metres and sigmas, is no part of the object.
_EDGE_STEP_M, _EDGE_STEP_SIGMAS = 0.012, 4.0
# Surfaces beside a contour slant: how much farther, a metre across, and how much nearer, in diameters.
_BEHIND_SLOPE, _NEARER_DIAMETERS = 1.0, 0.5
_EDGE_SAMPLES = 10  # to either side
_LEAST_EDGE_REACH_PX = 6.0
_LEAST_SIDE = 2  # samples on the object and behind it
_RUN_SHARE = 0.8
_LOG_ODDS = 1.0  # of one pixel
# Stereo matching moves edges by pixels, together over several.
_EDGE_VARIANCE_PX = 2.0
_CORRELATED_EDGE_PX = 8.0
_EDGE_SHIFT_PX = 0.5  # standard deviation of the shift that all edges of an object share, outward
_NEAR_EDGE_PX = 3.0
# Search for an object: points tested, steps to either side across and along the view, and how far, of the diameter.
_SEARCH_POINTS, _SEARCH_STEPS, _SEARCH_LAYERS = 64, 6, 1
_SEARCH_TOLERANCE_M = 0.005
_SEARCH_SHARE, _LEAST_SEARCH_M, _MOST_SEARCH_M = 0.4, 0.02, 0.04
_SHORTER = 0.1


@kernel
def _add_depth(
    depth: DepthImage,
    rays: Floats,
    lens: Array,
    noise: Array,
    surfaces: Floats,
    visible: Ints,
    visible_counts: Ints,
    areas: Floats,
    class_ids: NDArray[np.intp],
    views: Ints,
    stages: Ints,
    active: Mask,
    rotations: Array,
    translations: Array,
    scales_m: Array,
    reaches_m: Array,
    information: Array,
    gradient: Array,
    evidence: Array,
) -> None:
    """Add the point-to-plane systems of all active objects, and count their ``evidence`` (N, 7) anew."""
    height, width = depth.shape
    is_pinhole = rays.shape[0] == 0
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    j = np.empty(6)
    for i in range(len(class_ids)):
        if not active[i]:
            continue
        k, view = class_ids[i], views[i]
        scale_m, reach_m = scales_m[stages[i]], reaches_m[stages[i]]
        count = visible_counts[k, view]
        r, t = rotations[i], translations[i]
        z0 = max(t[2], _MIN_DEPTH_M)
        sigma = math.sqrt(noise[0] ** 2 + (noise[1] * z0 * z0) ** 2)
        limit = max(scale_m, _SIGMAS * sigma)
        independent = min(1.0, areas[k, view] * fx * fy / (z0 * z0) / (_CORRELATED_PX * max(count, 1)))
        weight_of_one = independent / (sigma * sigma + (_ASSOCIATION * scale_m) ** 2)
        reach_px = min(_WIDEST_SEARCH_PX, int(max(reach_m, limit) * fx / z0))
        stride = max(1, (reach_px + _MOST_STEPS - 1) // _MOST_STEPS)
        steps = reach_px // stride if reach_m > 0.0 else 1
        stride = stride if reach_m > 0.0 else 1
        expected = confirmed = behind = front = holes = outside = 0
        squares = 0.0
        for m in range(count):
            point = surfaces[k, visible[k, view, m]]
            qx, qy, qz = rotated(r, point[0], point[1], point[2])
            nx, ny, nz = rotated(r, point[3], point[4], point[5])
            x, y, z = qx + t[0], qy + t[1], qz + t[2]
            if z < _MIN_DEPTH_M:
                continue
            facing = -(nx * x + ny * y + nz * z) / math.sqrt(x * x + y * y + z * z)
            if facing < _MIN_FACING:
                continue
            u, v = pixel_of(lens, x / z, y / z)
            column, row = math.floor(u + 0.5), math.floor(v + 0.5)
            if column < 0 or row < 0 or column >= width or row >= height:
                outside += 1
                continue
            expected += 1
            # Its own pixel first; a search beside it only where that shows another surface.
            here = depth[row, column]
            best, best_distance = 0.0, 1e9
            best_row, best_column = row, column
            if here > 0.0 and abs(here - z) < limit / facing:
                best, best_distance = here, 0.0
            else:
                for dv in range(-steps, steps + 1):
                    rr = row + dv * stride
                    if rr < 0 or rr >= height:
                        continue
                    for du in range(-steps, steps + 1):
                        cc = column + du * stride
                        if cc < 0 or cc >= width:
                            continue
                        d = depth[rr, cc]
                        if d <= 0.0:
                            continue
                        ex, ey, ez = (cc - u) * z / fx, (rr - v) * z / fy, d - z
                        distance = ex * ex + ey * ey + ez * ez
                        if distance < best_distance:
                            best, best_distance, best_row, best_column = d, distance, rr, cc
                far = max(reach_m, limit)
                if best_distance > far * far:
                    best = 0.0
            if best > 0.0:
                if is_pinhole:
                    ax, ay = (best_column - cx) / fx, (best_row - cy) / fy
                else:
                    ax, ay = float(rays[best_row, best_column, 0]), float(rays[best_row, best_column, 1])
                gap = best - z
                residual = nx * (ax * best - x) + ny * (ay * best - y) + nz * gap
                if abs(residual) < limit and _faces(depth, best_row, best_column, best, fx, fy, ax, ay, nx, ny, nz):
                    confirmed += 1
                    squares += residual * residual
                    share = residual / limit
                    w = (1.0 - share * share) ** 2 * weight_of_one
                    j[0], j[1], j[2] = nx, ny, nz
                    j[3], j[4], j[5] = qy * nz - qz * ny, qz * nx - qx * nz, qx * ny - qy * nx
                    accumulate(w, residual, j, information[i], gradient[i])
                    continue
            if here <= 0.0:
                holes += 1
            elif here > z:
                behind += 1
            else:
                front += 1
        evidence[i, 0], evidence[i, 1], evidence[i, 2], evidence[i, 3] = expected, confirmed, behind, front
        evidence[i, 4], evidence[i, 5], evidence[i, 6] = holes, squares, outside


@kernel
def _faces(
    depth: DepthImage,
    row: int,
    column: int,
    here: float,
    fx: float,
    fy: float,
    ax: float,
    ay: float,
    nx: float,
    ny: float,
    nz: float,
) -> bool:
    """Return whether the surface measured at a pixel has about the normal (``nx``, ``ny``, ``nz``), or has none."""
    height, width = depth.shape
    base = _NORMAL_BASE_PX
    if row < base or column < base or row >= height - base or column >= width - base:
        return True
    left, right = depth[row, column - base], depth[row, column + base]
    above, below = depth[row - base, column], depth[row + base, column]
    if min(min(left, right), min(above, below)) <= 0.0:
        return True
    # The two sides of a fold have no normal together.
    step = _SURFACE_STEP * here
    if abs(left + right - 2.0 * here) > step or abs(above + below - 2.0 * here) > step:
        return True
    # Slopes of depth with x / z and y / z; the surface z(x, y) has the normal (zx, zy, -z - ax zx - ay zy).
    zx, zy = (right - left) * fx / (2.0 * base), (below - above) * fy / (2.0 * base)
    mx, my, mz = zx, zy, -here - ax * zx - ay * zy
    cosine = (mx * nx + my * ny + mz * nz) / math.sqrt(mx * mx + my * my + mz * mz)
    return bool(cosine > _SAME_NORMAL)


@kernel
def _add_edges(
    depth: DepthImage,
    lens: Array,
    noise: Array,
    contours: Floats,
    contour_spacings: Floats,
    diameters: Floats,
    class_ids: NDArray[np.intp],
    views: Ints,
    stages: Ints,
    active: Mask,
    rotations: Array,
    translations: Array,
    reaches_m: Array,
    information: Array,
    gradient: Array,
    evidence: Array,
) -> None:
    """Add how far from the contours of all active objects depth falls off, and count the lines that tell anew.

    Each line across the contour has pixels on the object and pixels behind it. Where between them the edge is, is a
    distribution (as in Stoiber et al., "SRT3D", 2022, of colours), whose mean and variance are the measurement.
    """
    height, width = depth.shape
    fx, fy = lens[0], lens[1]
    j, scores = np.empty(6), np.empty(2 * _EDGE_SAMPLES + 2)
    of_shift = np.empty(6)
    for i in range(len(class_ids)):
        if not active[i]:
            continue
        k, view = class_ids[i], views[i]
        r, t = rotations[i], translations[i]
        z0 = max(t[2], _MIN_DEPTH_M)
        sigma = math.sqrt(noise[0] ** 2 + (noise[1] * z0 * z0) ** 2)
        tolerance = max(_EDGE_STEP_M, _EDGE_STEP_SIGMAS * sigma)
        pixel_m = z0 / fx
        reach_px = max(reaches_m[stages[i]] / pixel_m, _LEAST_EDGE_REACH_PX)
        stride = max(1.0, reach_px / _EDGE_SAMPLES)
        independent = min(1.0, contour_spacings[k, view] / pixel_m / _CORRELATED_EDGE_PX)
        nearer = _NEARER_DIAMETERS * diameters[k]
        lines = near = 0
        # Stereo widens all of an object alike: a shift of its edges that is estimated along, and eliminated.
        of_shift[:] = 0.0
        total_weight = total_residual = 0.0
        for m in range(contours.shape[2]):
            contour = contours[k, view, m]
            qx, qy, qz = rotated(r, contour[0], contour[1], contour[2])
            nx, ny, nz = rotated(r, contour[3], contour[4], contour[5])
            x, y, z = qx + t[0], qy + t[1], qz + t[2]
            if z < _MIN_DEPTH_M:
                continue
            u, v = pixel_of(lens, x / z, y / z)
            du, dv = fx * (nx - nz * x / z), fy * (ny - nz * y / z)
            length = math.sqrt(du * du + dv * dv)
            du, dv = du / length, dv / length
            # The object must not end, nor begin again, within the line.
            inward = min(reach_px, contour[6] * _RUN_SHARE / pixel_m)
            outward = min(reach_px, contour[7] * _RUN_SHARE / pixel_m)
            first, last = -int(inward / stride), int(outward / stride)
            if first > -_LEAST_SIDE or last < _LEAST_SIDE:
                continue
            on = behind = 0
            # scores[p] is that of an edge between samples p - 1 and p, counted from the first.
            score = 0.0
            count = last - first + 1
            scores[0] = 0.0
            for p in range(count):
                at = (first + p) * stride
                column, row = math.floor(u + du * at + 0.5), math.floor(v + dv * at + 0.5)
                if 0 <= column < width and 0 <= row < height:
                    d = depth[row, column]
                    gap = d - z
                    slope = abs(at) * pixel_m
                    if d > 0.0 and gap > tolerance + _BEHIND_SLOPE * slope:
                        score -= _LOG_ODDS
                        behind += at > 0.0
                    elif d > 0.0 and gap > -nearer:
                        score += _LOG_ODDS
                        on += at < 0.0
                scores[p + 1] = score
            if on < _LEAST_SIDE or behind < _LEAST_SIDE:
                continue
            best = scores[0]
            for p in range(1, count + 1):
                best = max(best, scores[p])
            total = mean = square = 0.0
            for p in range(count + 1):
                share = math.exp(scores[p] - best)
                at = (first + p - 0.5) * stride
                total += share
                mean += share * at
                square += share * at * at
            mean /= total
            variance = square / total - mean * mean + stride * stride / 12.0
            lines += 1
            near += abs(mean) < _NEAR_EDGE_PX
            share = mean / (reach_px + 1.0)
            weight = independent * max(1.0 - share * share, 0.0) ** 2
            weight /= (variance + _EDGE_VARIANCE_PX) * pixel_m * pixel_m
            j[0], j[1], j[2] = nx, ny, nz
            j[3], j[4], j[5] = qy * nz - qz * ny, qz * nx - qx * nz, qx * ny - qy * nx
            accumulate(weight, mean * pixel_m, j, information[i], gradient[i])
            total_weight += weight
            total_residual += weight * mean * pixel_m
            for a in range(6):
                of_shift[a] += weight * j[a]
        total_weight += 1.0 / (_EDGE_SHIFT_PX * pixel_m) ** 2
        for a in range(6):
            gradient[i, a] -= of_shift[a] * total_residual / total_weight
            for b in range(a, 6):
                information[i, a, b] -= of_shift[a] * of_shift[b] / total_weight
        evidence[i, 7], evidence[i, 8] = lines, near


@kernel
def _search_shifts(
    depth: DepthImage,
    lens: Array,
    noise: Array,
    surfaces: Floats,
    visible: Ints,
    visible_counts: Ints,
    diameters: Floats,
    class_ids: NDArray[np.intp],
    views: Ints,
    active: Mask,
    rotations: Array,
    translations: Array,
    shifts: Array,
) -> None:
    """Write the shifts (N, 3), out of a grid, with which depth confirms most and sees through least of the objects."""
    height, width = depth.shape
    points = np.empty((_SEARCH_POINTS, 3))
    for i in range(len(class_ids)):
        if not active[i]:
            continue
        k, view = class_ids[i], views[i]
        r, t = rotations[i], translations[i]
        z0 = max(t[2], _MIN_DEPTH_M)
        sigma = math.sqrt(noise[0] ** 2 + (noise[1] * z0 * z0) ** 2)
        tolerance = max(_SEARCH_TOLERANCE_M, _SIGMAS * sigma)
        reach = min(max(_SEARCH_SHARE * diameters[k], _LEAST_SEARCH_M), _MOST_SEARCH_M)
        step = reach / _SEARCH_STEPS
        count = min(visible_counts[k, view], _SEARCH_POINTS)
        for m in range(count):
            point = surfaces[k, visible[k, view, m]]
            x, y, z = rotated(r, point[0], point[1], point[2])
            points[m, 0], points[m, 1], points[m, 2] = x + t[0], y + t[1], z + t[2]
        best = -1e9
        for a in range(-_SEARCH_STEPS, _SEARCH_STEPS + 1):
            for b in range(-_SEARCH_STEPS, _SEARCH_STEPS + 1):
                for c in range(-_SEARCH_LAYERS, _SEARCH_LAYERS + 1):
                    dx, dy, dz = a * step, b * step, 2.0 * c * tolerance
                    # Of equally good shifts the shortest is taken.
                    score = -_SHORTER * math.sqrt(dx * dx + dy * dy + dz * dz) / reach * count
                    for m in range(count):
                        z = points[m, 2] + dz
                        if z < _MIN_DEPTH_M:
                            continue
                        u, v = pixel_of(lens, (points[m, 0] + dx) / z, (points[m, 1] + dy) / z)
                        column, row = math.floor(u + 0.5), math.floor(v + 0.5)
                        if column < 0 or row < 0 or column >= width or row >= height:
                            continue
                        gap = depth[row, column] - z
                        if depth[row, column] <= 0.0:
                            continue
                        if abs(gap) < tolerance:
                            score += 1.0
                        elif gap > 0.0:
                            score -= 1.0
                    if score > best:
                        best = score
                        shifts[i, 0], shifts[i, 1], shifts[i, 2] = dx, dy, dz
