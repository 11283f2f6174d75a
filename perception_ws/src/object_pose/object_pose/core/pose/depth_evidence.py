"""What a depth image says about pose candidates: which model points it confirms, and which it contradicts.

A measured surface in front of the model is an occluder and says nothing. A measured surface behind it is a
contradiction: the camera looked through where the model claims to be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.pose.candidates import Surfaces
from object_pose.core.pose.depth_view import DepthView

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# A point may lie this many tolerances off along the ray where its surface is slanted.
_SLANT = 4.0
# What speaks against a candidate, against inlier_fit as one; fitted to which of many candidates was right.
_VIOLATED, _OCCLUDED, _UNCOVERED = 0.35, 0.14, 0.5
_MIN_MEASURED = 0.05
_BOX_MARGIN_PX, _BOX_MARGIN_SHARE = 2.0, 0.05


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

    ``fit`` (B,) is the confirmed share weighted by inlier_fit, ``rms_m`` (B,) the distance of confirmed points,
    ``visibility`` (B,) their share of all camera-facing points. ``merged`` (B,) is the share of the silhouette beyond
    which the same surface goes on, ``uncovered`` (B,) the share of the detection's box that the silhouette leaves
    empty.
    """

    confirmed: Array
    violated: Array
    occluded: Array
    holes: Array
    fit: Array
    rms_m: Array
    visibility: Array
    merged: Array
    uncovered: Array

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
        return np.asarray(self.fit / np.maximum(self.measured, _MIN_MEASURED))

    @property
    def support(self) -> Array:
        """One number to compare candidates of the same detection by; 1 is perfect."""
        against = _VIOLATED * self.violated + _OCCLUDED * self.occluded + _UNCOVERED * self.uncovered
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


def weigh(
    comparison: SurfaceComparison, tolerance: Array, boxes_xyxy: Array, merged: Array, uncovered: Array
) -> Evidence:
    """Count confirmations and contradictions within ``tolerance`` (B,) metres; the rest is passed on.

    What is hidden outside of the detections' ``boxes_xyxy`` (B, 4) does not count: boxes enclose what can be seen.
    """
    limit = tolerance[:, None]
    near = np.abs(comparison.distances) < limit
    confirmed = comparison.usable & near & (np.abs(comparison.gaps) < _SLANT * limit)
    behind = comparison.usable & ~confirmed & (comparison.gaps > 0.0)
    expected = confirmed | behind | (comparison.facing & _inside(comparison.pixels, boxes_xyxy))
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
        merged=merged,
        uncovered=uncovered,
    )


def _inside(pixels: Array, boxes_xyxy: Array) -> Mask:
    margin = _BOX_MARGIN_PX + _BOX_MARGIN_SHARE * (boxes_xyxy[:, None, 2:] - boxes_xyxy[:, None, :2])
    above = pixels >= boxes_xyxy[:, None, :2] - margin
    below = pixels <= boxes_xyxy[:, None, 2:] + margin
    return np.asarray(np.all(above & below, axis=-1))
