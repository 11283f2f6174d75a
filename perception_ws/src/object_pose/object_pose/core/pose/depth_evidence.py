"""A depth image prepared for many look-ups, and the evidence it gives for and against pose candidates.

A measured surface in front of the model is an occluder and no evidence. A measured surface behind it is a
contradiction: the camera looked through where the model claims to be. The silhouette is evidence, too: whether it
stands out from its surroundings, and whether it fills the detection's box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera, undistorted_depth
from object_pose.core.geometry.lens import rotated
from object_pose.core.kernels import for_kernels, kernel
from object_pose.core.pose.candidates import Candidates, Surfaces
from object_pose.core.pose.gauss_newton import MIN_DEPTH_M, looked_up, tolerance_at
from object_pose.core.pose.pnp import pinhole_of

# Neighbouring pixels that differ by more, in metres and in sigmas, show different surfaces.
_SURFACE_STEP_M, _SURFACE_STEP_SIGMAS = 0.006, 4.0
# A point may lie this many tolerances off along the ray where its surface is slanted.
_SLANT = 4.0
# What speaks against a candidate, against the inlier fit as one; fitted to which of many candidates was right.
_VIOLATED, _OCCLUDED, _BOX_COVERAGE = 0.35, 0.14, 0.5
_LEAST_MEASURED, _LEAST_CONFIRMED = 0.05, 0.05
_BOX_MARGIN_PX, _BOX_MARGIN_SHARE = 2.0, 0.05
# A silhouette's surroundings are looked at in two rings: depth cameras widen objects by a few pixels.
_RINGS_PX = (3.0, 6.0)
_RING_STRIDE = 2
_NOTHING_M = np.float32(1e9)  # where nothing was measured
_BITS_OF_INFINITY = 0x7F800000
# Columns of what is counted.
_EXPECTED, _CONFIRMED, _BEHIND, _FRONT, _HOLES, _FIT, _SQUARES, _FACING, _CONTRAST, _COVERAGE = range(10)
_COLUMNS = 10

# Below this share of measured surface an object lies in a hole of the depth image.
MIN_MEASURED = 0.1


@dataclass(frozen=True)
class DepthNoise:
    """One standard deviation of a depth pixel: ``floor_m``, growing with the square of the distance as in stereo."""

    floor_m: float
    at_1m: float

    @property
    def values(self) -> Array:
        """Both (2,), as kernels read them."""
        return np.array([self.floor_m, self.at_1m])

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

    @property
    def pinhole(self) -> Array:
        """Focal lengths and principal point (4,), as kernels read them."""
        return pinhole_of(self.camera)

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
    given = for_kernels(depth_m, np.float32)
    clean = for_kernels(undistorted_depth(_cleaned(given, given.view(np.int32)), camera), np.float32)
    return DepthView(clean, _front(clean, noise.values), camera, noise)


@kernel
def _cleaned(depth_m: DepthImage, bits: NDArray[np.int32]) -> DepthImage:
    """Return a depth image with 0 where it is not positive and finite, which its ``bits`` say of NaN, too."""
    clean = np.empty_like(depth_m)
    for row in range(depth_m.shape[0]):
        for column in range(depth_m.shape[1]):
            is_measured = 0 < bits[row, column] < _BITS_OF_INFINITY
            clean[row, column] = depth_m[row, column] if is_measured else np.float32(0.0)
    return clean


@kernel
def _front(depth_m: DepthImage, noise: Array) -> DepthImage:
    """Return the nearest depth of each pixel and its eight neighbours where it is another surface's, else its own."""
    height, width = depth_m.shape
    front, own = np.empty_like(depth_m), np.empty((3, width), dtype=np.float32)
    # The nearest of each pixel and its two neighbours in the rows above, of, and below the present one.
    nearest = np.full((3, width), _NOTHING_M, dtype=np.float32)
    floor, growth = (_SURFACE_STEP_SIGMAS * noise[0]) ** 2, (_SURFACE_STEP_SIGMAS * noise[1]) ** 2
    for row in range(height + 1):
        ahead, here = row % 3, (row - 1) % 3
        if row < height:
            for column in range(width):
                value = depth_m[row, column]
                own[ahead, column] = value if value > 0.0 else _NOTHING_M
            for column in range(1, width - 1):
                beside = min(own[ahead, column - 1], own[ahead, column + 1])
                nearest[ahead, column] = min(own[ahead, column], beside)
            nearest[ahead, 0] = min(own[ahead, 0], own[ahead, min(1, width - 1)])
            nearest[ahead, width - 1] = min(own[ahead, width - 1], own[ahead, max(width - 2, 0)])
        else:
            nearest[ahead] = _NOTHING_M
        if row == 0:
            continue
        for column in range(width):
            near = min(nearest[0, column], min(nearest[1, column], nearest[2, column]))
            step, square = float(own[here, column]) - float(near), float(near) * float(near)
            is_other = step > _SURFACE_STEP_M and step * step > floor + growth * square * square
            front[row - 1, column] = near if is_other else depth_m[row - 1, column]
    return front


@dataclass(frozen=True)
class Evidence:
    """Shares (B,) of the model points that should be visible: confirmed, violated (seen through), occluded, in holes.

    ``fit`` (B,) is the confirmed share, each point weighted by how well it fits, ``rms_m`` (B,) the distance of
    confirmed points, ``visibility`` (B,) their share of all camera-facing points. The deficits (B,) are of the
    silhouette: the share just outside of which depth goes on as if the object did, for an object that lies in the open
    has edges all around; and the share of the detection's box outside of the silhouette's, for a box around what is
    visible, or around the whole object, is never larger than the object.
    """

    confirmed: Array
    violated: Array
    occluded: Array
    holes: Array
    fit: Array
    rms_m: Array
    visibility: Array
    boundary_contrast_deficit: Array
    box_coverage_deficit: Array

    @property
    def measured(self) -> Array:
        """Share of the points that should be visible at whose pixels something was measured."""
        return np.asarray(1.0 - self.holes)

    @property
    def verification(self) -> Array:
        """Confirmed / (confirmed + violated), 0 where nothing was seen."""
        return np.asarray(self.confirmed / np.maximum(self.confirmed + self.violated, 1e-9))

    @property
    def inlier_fit(self) -> Array:
        """How well what was measured fits, from 0 to 1: 1 where every measured point lies right on the model."""
        return np.asarray(self.fit / np.maximum(self.measured, _LEAST_MEASURED))

    @property
    def closeness(self) -> Array:
        """How close to the model the confirmed points lie, from 0 to 1; less where less than 5 % are confirmed."""
        return np.asarray(self.fit / np.maximum(self.confirmed, _LEAST_CONFIRMED))

    @property
    def support(self) -> Array:
        """One number to compare candidates of the same detection by; 1 is perfect."""
        against = _VIOLATED * self.violated + _OCCLUDED * self.occluded + _BOX_COVERAGE * self.box_coverage_deficit
        return np.asarray(self.inlier_fit - against)


def gather_evidence(
    candidates: Candidates, surfaces: Surfaces, depth: DepthView, scale_m: float, stride: int = 1
) -> Evidence:
    """Count what confirms and what contradicts each candidate, within ``scale_m`` metres or three sigmas of the sensor.

    Every ``stride``-th surface point is compared. What is hidden outside of the detections' boxes does not count:
    boxes enclose what can be seen.
    """
    tables, counts = surfaces.tables, np.zeros((len(candidates), _COLUMNS))
    _gather(
        tables.points,
        tables.normals,
        tables.contour_points,
        tables.contour_normals,
        surfaces.class_ids,
        surfaces.views,
        stride,
        depth.depth_m,
        depth.front_m,
        depth.noise.values,
        depth.pinhole,
        scale_m,
        candidates.boxes_xyxy,
        candidates.rotation,
        candidates.translation,
        counts,
    )
    confirmed, total = counts[:, _CONFIRMED], np.maximum(counts[:, _EXPECTED], 1.0)
    return Evidence(
        confirmed=confirmed / total,
        violated=counts[:, _BEHIND] / total,
        occluded=counts[:, _FRONT] / total,
        holes=counts[:, _HOLES] / total,
        fit=counts[:, _FIT] / total,
        rms_m=np.sqrt(counts[:, _SQUARES] / np.maximum(confirmed, 1.0)),
        visibility=confirmed / np.maximum(counts[:, _FACING], 1.0),
        boundary_contrast_deficit=counts[:, _CONTRAST],
        box_coverage_deficit=counts[:, _COVERAGE],
    )


@kernel
def _gather(
    points: Array,
    normals: Array,
    contour_points: Array,
    contour_normals: Array,
    class_ids: NDArray[np.intp],
    views: NDArray[np.intp],
    stride: int,
    depth_m: DepthImage,
    front_m: DepthImage,
    noise: Array,
    pinhole: Array,
    scale_m: float,
    boxes_xyxy: Array,
    rotation: Array,
    translation: Array,
    counts: Array,
) -> None:
    """Count the surface points of all candidates (B, columns), and measure their silhouettes."""
    for i in range(len(class_ids)):
        k, view = class_ids[i], views[i]
        r, t, box, own = rotation[i], translation[i], boxes_xyxy[i], counts[i]
        limit = tolerance_at(t[2], noise, scale_m)
        margin_x = _BOX_MARGIN_PX + _BOX_MARGIN_SHARE * (box[2] - box[0])
        margin_y = _BOX_MARGIN_PX + _BOX_MARGIN_SHARE * (box[3] - box[1])
        for m in range(0, points.shape[2], stride):
            point, normal = points[k, view, m], normals[k, view, m]
            nx, ny, nz = rotated(r, normal[0], normal[1], normal[2])
            x, y, z = rotated(r, point[0], point[1], point[2])
            x, y, z = x + t[0], y + t[1], z + t[2]
            offset = nx * x + ny * y + nz * z
            if offset >= 0.0:
                continue
            own[_FACING] += 1.0
            is_behind_camera = z <= 0.0
            z = max(z, MIN_DEPTH_M)
            measured, ray_x, ray_y = looked_up(depth_m, front_m, pinhole, x, y, z)
            if measured > 0.0 and not is_behind_camera:
                distance, gap = measured * (nx * ray_x + ny * ray_y + nz) - offset, measured - z
                if abs(distance) < limit and abs(gap) < _SLANT * limit:
                    own[_CONFIRMED] += 1.0
                    own[_EXPECTED] += 1.0
                    own[_SQUARES] += distance * distance
                    share = distance / limit
                    own[_FIT] += (1.0 - share * share) ** 2
                    continue
                if gap > 0.0:
                    own[_BEHIND] += 1.0
                    own[_EXPECTED] += 1.0
                    continue
            u, v = x / z * pinhole[0] + pinhole[2], y / z * pinhole[1] + pinhole[3]
            in_columns = box[0] - margin_x <= u <= box[2] + margin_x
            if in_columns and box[1] - margin_y <= v <= box[3] + margin_y:
                own[_EXPECTED] += 1.0
                own[_FRONT if measured > 0.0 and not is_behind_camera else _HOLES] += 1.0
        own[_CONTRAST] = _contrast_deficit(
            contour_points[k, view], contour_normals[k, view], depth_m, pinhole, limit, r, t
        )
        own[_COVERAGE] = _coverage_deficit(contour_points[k, view], pinhole, box, r, t)


@kernel
def _contrast_deficit(
    points: Array, normals: Array, depth_m: DepthImage, pinhole: Array, limit: float, r: Array, t: Array
) -> float:
    """Return the share of a silhouette (C, 3) just outside of which depth goes on as if the object did."""
    same = count = 0
    for m in range(0, len(points), _RING_STRIDE):
        x, y, z = rotated(r, points[m, 0], points[m, 1], points[m, 2])
        x, y, z = x + t[0], y + t[1], max(z + t[2], MIN_DEPTH_M)
        nx, ny, nz = rotated(r, normals[m, 0], normals[m, 1], normals[m, 2])
        for ring_px in _RINGS_PX:
            ring_m = ring_px * z / pinhole[0]
            outside = max(z + ring_m * nz, MIN_DEPTH_M)
            column = np.rint((x + ring_m * nx) / outside * pinhole[0] + pinhole[2])
            row = np.rint((y + ring_m * ny) / outside * pinhole[1] + pinhole[3])
            measured = 0.0
            if column >= 0.0 and row >= 0.0 and column < depth_m.shape[1] and row < depth_m.shape[0]:
                measured = float(depth_m[int(row), int(column)])
            if abs(measured - z) >= limit:
                break
        else:
            same += 1
        count += 1
    return float(same / count)


@kernel
def _coverage_deficit(points: Array, pinhole: Array, box: Array, r: Array, t: Array) -> float:
    """Return the share of a detection's box that lies outside of the box of a silhouette (C, 3)."""
    low_u = low_v = 1e300
    high_u = high_v = -1e300
    for m in range(len(points)):
        x, y, z = rotated(r, points[m, 0], points[m, 1], points[m, 2])
        z = max(z + t[2], MIN_DEPTH_M)
        u, v = (x + t[0]) / z * pinhole[0] + pinhole[2], (y + t[1]) / z * pinhole[1] + pinhole[3]
        low_u, high_u, low_v, high_v = min(low_u, u), max(high_u, u), min(low_v, v), max(high_v, v)
    across = (min(high_u, box[2]) - max(low_u, box[0])) / max(box[2] - box[0], 1.0)
    along = (min(high_v, box[3]) - max(low_v, box[1])) / max(box[3] - box[1], 1.0)
    return float(1.0 - min(max(across, 0.0), 1.0) * min(max(along, 0.0), 1.0))
