"""A depth image prepared for many look-ups, and the evidence it gives for and against pose candidates.

A measured surface in front of the model is an occluder and no evidence. A measured surface behind it is a
contradiction: the camera looked through where the model claims to be. The silhouette is evidence, too: whether it
stands out from its surroundings, and whether it fills the detection's box.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Mask
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera, undistorted_depth
from object_pose.core.pose.candidates import Candidates, Surfaces

# Neighbouring pixels that differ by more, in metres and in sigmas, show different surfaces.
_SURFACE_STEP_M, _SURFACE_STEP_SIGMAS = 0.006, 4.0
# A point may lie this many tolerances off along the ray where its surface is slanted.
_SLANT = 4.0
# What speaks against a candidate, against the inlier fit as one; fitted to which of many candidates was right.
_VIOLATED, _OCCLUDED, _BOX_COVERAGE = 0.35, 0.14, 0.5
_LEAST_MEASURED = 0.05
_BOX_MARGIN_PX, _BOX_MARGIN_SHARE = 2.0, 0.05
_RING_PX = 3.0
_RING_STRIDE = 2
_MIN_DEPTH_M = 1e-3

# Below this share of measured surface an object lies in a hole of the depth image.
MIN_MEASURED = 0.1


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
    clean = np.ascontiguousarray(undistorted_depth(clean, camera))
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


@dataclass(frozen=True)
class SurfaceComparison:
    """Model points of B candidates against the depth at their pixels; (B, N) arrays unless said otherwise.

    ``rotated``, ``points`` and ``normals`` (B, N, 3) are in camera axes, the first about the object origin.
    ``distances`` are from the model plane to the measured point along the outward normal, ``gaps`` how much farther
    along z the measured point is. ``usable`` points face the camera and were measured. ``pixels`` (B, N, 2).
    """

    rotated: Array
    points: Array
    normals: Array
    distances: Array
    gaps: Array
    facing: Mask
    usable: Mask
    pixels: Array


@dataclass(frozen=True)
class Evidence:
    """Shares (B,) of the model points that should be visible: confirmed, violated (seen through), occluded, in holes.

    ``fit`` (B,) is the confirmed share, each point weighted by how well it fits, ``rms_m`` (B,) the distance of
    confirmed points, ``visibility`` (B,) their share of all camera-facing points. The deficits (B,) are of the
    silhouette, see ``boundary_contrast_deficit`` and ``box_coverage_deficit``.
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
    def support(self) -> Array:
        """One number to compare candidates of the same detection by; 1 is perfect."""
        against = _VIOLATED * self.violated + _OCCLUDED * self.occluded + _BOX_COVERAGE * self.box_coverage_deficit
        return np.asarray(self.inlier_fit - against)


def compare(surfaces: Surfaces, rotation: Array, translation: Array, depth: DepthView) -> SurfaceComparison:
    """Look up the measured depth behind every model point of the poses (B, 3, 3), (B, 3)."""
    turn = np.swapaxes(rotation, 1, 2)
    rotated = surfaces.points @ turn
    normals = surfaces.normals @ turn
    points = rotated + translation[:, None]
    z = np.maximum(points[..., 2], 1e-3)
    pixels = depth.camera.project(np.stack([points[..., 0], points[..., 1], z], axis=-1))
    measured, ray_x, ray_y = depth.look_up(pixels, z)
    gaps = measured - z
    along_ray = normals[..., 0] * ray_x + normals[..., 1] * ray_y + normals[..., 2]
    offset = normals[..., 0] * points[..., 0] + normals[..., 1] * points[..., 1] + normals[..., 2] * points[..., 2]
    facing = offset < 0.0
    usable = facing & (measured > 0.0) & (points[..., 2] > 0.0)
    return SurfaceComparison(rotated, points, normals, measured * along_ray - offset, gaps, facing, usable, pixels)


def tolerance(translation: Array, depth: DepthView, scale_m: float) -> Array:
    """Return (B,) how far from the model a measured point may be: ``scale_m``, or three sigmas of the sensor."""
    return np.maximum(scale_m, 3.0 * depth.noise.sigma(translation[:, 2]))


def gather_evidence(candidates: Candidates, surfaces: Surfaces, depth: DepthView, scale_m: float) -> Evidence:
    """Count what confirms and what contradicts each candidate, within the ``tolerance`` of ``scale_m`` metres.

    What is hidden outside of the detections' boxes does not count: boxes enclose what can be seen.
    """
    tolerances = tolerance(candidates.translation, depth, scale_m)
    limit = tolerances[:, None]
    comparison = compare(surfaces, candidates.rotation, candidates.translation, depth)
    near = np.abs(comparison.distances) < limit
    confirmed = comparison.usable & near & (np.abs(comparison.gaps) < _SLANT * limit)
    behind = comparison.usable & ~confirmed & (comparison.gaps > 0.0)
    expected = confirmed | behind | (comparison.facing & _inside(comparison.pixels, candidates.boxes_xyxy))
    front = expected & comparison.usable & ~confirmed & ~behind
    total = np.maximum(np.count_nonzero(expected, axis=1), 1)
    squared = np.where(confirmed, comparison.distances**2, 0.0)
    inlier_fit = np.where(confirmed, (1.0 - comparison.distances**2 / limit**2) ** 2, 0.0)
    count = np.count_nonzero(confirmed, axis=1)
    return Evidence(
        confirmed=count / total,
        violated=np.count_nonzero(behind, axis=1) / total,
        occluded=np.count_nonzero(front, axis=1) / total,
        holes=np.count_nonzero(expected & ~comparison.usable, axis=1) / total,
        fit=np.sum(inlier_fit, axis=1) / total,
        rms_m=np.sqrt(np.sum(squared, axis=1) / np.maximum(count, 1)),
        visibility=count / np.maximum(np.count_nonzero(comparison.facing, axis=1), 1),
        boundary_contrast_deficit=boundary_contrast_deficit(candidates, surfaces, depth, tolerances),
        box_coverage_deficit=box_coverage_deficit(candidates, surfaces, depth.camera),
    )


def _inside(pixels: Array, boxes_xyxy: Array) -> Mask:
    margin = _BOX_MARGIN_PX + _BOX_MARGIN_SHARE * (boxes_xyxy[:, None, 2:] - boxes_xyxy[:, None, :2])
    above = pixels >= boxes_xyxy[:, None, :2] - margin
    below = pixels <= boxes_xyxy[:, None, 2:] + margin
    return np.asarray(np.all(above & below, axis=-1))


def boundary_contrast_deficit(candidates: Candidates, surfaces: Surfaces, depth: DepthView, tolerance: Array) -> Array:
    """Return (B,) the share of the silhouette just outside of which depth goes on as if the object did.

    An object that lies in the open has edges all around; a pose sunk into the table has none.
    """
    turn = np.swapaxes(candidates.rotation, 1, 2)
    points = _in_front(surfaces.contour_points[:, ::_RING_STRIDE] @ turn + candidates.translation[:, None])
    outward = surfaces.contour_normals[:, ::_RING_STRIDE] @ turn
    ring = depth.camera.project(points + outward * (_RING_PX * points[..., 2:] / depth.camera.fx))
    measured, _, _ = depth.look_up(ring)
    same = np.abs(measured - points[..., 2]) < tolerance[:, None]
    return np.asarray(np.count_nonzero(same, axis=1) / same.shape[1])


def box_coverage_deficit(candidates: Candidates, surfaces: Surfaces, camera: Camera) -> Array:
    """Return (B,) the share of the detection's box that lies outside of the silhouette's.

    A box around what is visible, or around the whole object, is never larger than the object.
    """
    turn = np.swapaxes(candidates.rotation, 1, 2)
    contour = camera.project(_in_front(surfaces.contour_points @ turn + candidates.translation[:, None]))
    low, high = candidates.boxes_xyxy[:, :2], candidates.boxes_xyxy[:, 2:]
    overlap = np.minimum(contour.max(axis=1), high) - np.maximum(contour.min(axis=1), low)
    share = np.clip(overlap / np.maximum(high - low, 1.0), 0.0, 1.0)
    return np.asarray(1.0 - share[:, 0] * share[:, 1])


def _in_front(points_camera: Array) -> Array:
    points_camera[..., 2] = np.maximum(points_camera[..., 2], _MIN_DEPTH_M)
    return points_camera
