"""Parts found in a depth image without a network: candidates, alignment, verification, and which of them are there."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Mask
from object_pose.core.geometry.camera import Camera
from object_pose.core.matching.clusters import cluster
from object_pose.core.matching.oriented_depth import (
    OrientedDepth,
    Plane,
    even_points,
    find_planes,
    measured_points,
    pixels_on,
)
from object_pose.core.matching.part_model import PartModel
from object_pose.core.matching.point_pairs import frames_of
from object_pose.core.matching.ranking import rank
from object_pose.core.matching.segments import Segment, find_segments, starts_in
from object_pose.core.pose.config import DepthConfig
from object_pose.core.pose.depth_evidence import DepthView
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.aligner import AlignerConfig, FrameAligner

_RADIUS_SHARE, _LEAST_RADIUS_M, _MOST_RADIUS_M = 0.06, 0.003, 0.008  # of normals, the first of the smallest diameter
_PLANE_DIAMETERS = 1.5  # a plane reaches farther than parts do
_NOISE_SHARE = 0.05  # of the diameter: where a standard deviation is more nothing is told
_SPACING_SHARE, _REFERENCE_STEP = 0.05, 4
_WEIGHED, _ALIGNED = 400, 30  # candidates of a part and kind: weighed, and aligned
_STARTS, _LEAST_STARTS = 800, 60  # aligned in all, and of each part: the right one may fit badly before that
_KEPT = 40  # of a part, once aligned
_KEPT_OF_WIRES = 10  # of each segment that consists of wires, of a part that does
_SAME_M, _SAME_RAD = 0.1, np.radians(18.0)  # the first in diameters
_TWICE_M, _TWICE_RAD = 0.02, np.radians(3.0)  # of aligned candidates that are one
_LEAST_INFORMATION = 1e-3
_SLIDE_OF_VOTED, _SLIDE_OF_STARTS = 0.1, 0.5  # along the ray, in diameters


@dataclass(frozen=True)
class _DepthFrame:
    """Depth as the aligner reads it: what a pinhole sees, without colour."""

    camera: Camera
    depth_m: DepthImage | None
    rgb: None = None
    stamp_ns: int = 0


@dataclass(frozen=True)
class MatchScene:
    """A depth image prepared for matching.

    ``on_plane`` (h, w) are oriented pixels on one of the ``planes``, ``near_plane`` (h, w) all whose points are as near
    to one; ``free`` (h, w) are oriented pixels where parts may be, ``segments`` pieces of these.
    """

    oriented: OrientedDepth
    planes: Sequence[Plane]
    on_plane: Mask
    near_plane: Mask
    free: Mask
    segments: Sequence[Segment]


@dataclass(frozen=True)
class Candidates:
    """Poses (N, 4, 4) with covariance (N, 6, 6) of (dt, dr) of parts ``class_ids`` (N,) that depth does not refute."""

    class_ids: NDArray[np.intp]
    poses: Array
    covariance: Array

    def __len__(self) -> int:
        return len(self.class_ids)


class PartMatcher:
    """Proposes poses of ``parts``; class ids are their positions."""

    def __init__(self, parts: Sequence[PartModel], depth: DepthConfig | None = None) -> None:
        self._parts = tuple(parts)
        config = AlignerConfig(use_colour="never", depth=depth or DepthConfig())
        # One for each part: an aligner works on one batch at a time, and parts are searched for side by side.
        self._aligners = [FrameAligner([part.views], config) for part in parts]

    def prepare(self, view: DepthView) -> MatchScene:
        """Orient the surface, and find what planes parts may lie on or before."""
        diameters = [part.diameter for part in self._parts]
        radius = float(np.clip(_RADIUS_SHARE * min(diameters), _LEAST_RADIUS_M, _MOST_RADIUS_M))
        scene = OrientedDepth.of(view, radius)
        extent = _PLANE_DIAMETERS * max(diameters)
        planes = find_planes(scene, extent)
        scene = scene.with_noise_of(planes)
        measured = measured_points(view)
        tolerance = scene.tolerance(measured[..., 2])
        on_plane, near_plane = (np.zeros(tolerance.shape, dtype=bool) for _ in range(2))
        for plane in planes:
            on_plane |= pixels_on(plane, scene, extent)
            near_plane |= np.abs(plane.height(measured)) < tolerance
        free, above = scene.is_oriented & ~on_plane, (measured[..., 2] > 0.0) & ~on_plane
        if planes:
            free &= planes[0].height(scene.points.astype(np.float64)) > 0.5 * tolerance
            above &= planes[0].height(measured) > tolerance
        return MatchScene(scene, planes, on_plane, near_plane, free, find_segments(view, above))

    def propose(
        self, scene: MatchScene, expected: Sequence[ObjectPose] = (), pool: ThreadPoolExecutor | None = None
    ) -> Candidates:
        """Return poses that fit the surface, several for each object and more of none, aligned with depth.

        ``expected`` poses, such as a tracker's, are among the starts. Parts are searched for in the threads of a pool.
        """

        def of_part(index: int) -> tuple[Array, Array]:
            known = [pose.T_camera_object[None] for pose in expected if pose.class_id == index]
            return self._aligned(index, np.concatenate([self._propose(index, scene), *known]), scene)

        indices = range(len(self._parts))
        found = list(pool.map(of_part, indices) if pool else map(of_part, indices))
        class_ids = np.repeat(np.arange(len(found), dtype=np.intp), [len(poses) for poses, _ in found])
        return Candidates(class_ids, *(np.concatenate(arrays) for arrays in zip(*found)))

    def _aligned(self, index: int, poses: Array, scene: MatchScene) -> tuple[Array, Array]:
        """Return the poses (N, 4, 4) of one part that fit best once aligned with depth, with covariance (N, 6, 6).

        Those that depth refutes are left out, and of those that mean the same all but the best one.
        """
        if not len(poses):
            return poses, np.zeros((0, 6, 6))
        part, view = self._parts[index], scene.oriented.view
        class_ids = np.zeros(len(poses), dtype=np.intp)
        prior = np.tile(_LEAST_INFORMATION * np.eye(6), (len(poses), 1, 1))
        aligned = self._aligners[index].align(_DepthFrame(view.camera, view.depth_m), class_ids, poses, prior)
        rows = np.flatnonzero(aligned.is_tracked)
        poses, covariance = aligned.T_camera_object[rows], aligned.covariance[rows]
        _, support = self._ranked(index, poses, 0.0, scene)
        same = part.model.symmetry, _TWICE_M * part.diameter, float(_TWICE_RAD)
        heads, _ = cluster(poses, support, part.model.box_center, *same, most=_KEPT)
        return poses[heads], covariance[heads]

    def _ranked(self, index: int, poses: Array, slide: float, scene: MatchScene) -> tuple[Array, Array]:
        """Return poses of one part slid along their rays by up to ``slide`` diameters, and how well each fits."""
        class_ids, slides = np.zeros(len(poses), dtype=np.intp), np.full(len(poses), slide)
        return rank(self._aligners[index].tables, class_ids, poses, scene.oriented, scene.on_plane, slides)

    def _propose(self, index: int, scene: MatchScene) -> Array:
        """Return the rough poses (N, 4, 4) of one part that are worth aligning."""
        part, oriented = self._parts[index], scene.oriented
        voted = self._voted(part, scene)
        center, shapes = part.model.box_center, part.shapes
        in_segments, in_wires = (
            [
                starts_in(segment, part.diameter, center, shapes.rotations, shapes.extents, oriented.view)
                for segment in scene.segments
                if segment.is_wire == is_wire and (part.is_wire or not is_wire)
            ]
            for is_wire in (False, True)
        )
        # Thin walls are seen beside by poses that are good starts: what most points voted for is kept, however it fits.
        kept = [voted[:_ALIGNED], self._best(index, voted, _SLIDE_OF_VOTED, scene, least_support=0.0)[:_ALIGNED]]
        starts = np.concatenate([voted[:0], *in_segments])
        kept.append(
            self._best(index, starts, _SLIDE_OF_STARTS, scene)[: max(_LEAST_STARTS, _STARTS // len(self._parts))]
        )
        # A start that is off by the width of a wire has no support: for wires it only gives an order.
        kept += [self._best(index, poses, _SLIDE_OF_STARTS, scene)[:_KEPT_OF_WIRES] for poses in in_wires]
        return np.concatenate(kept)

    def _best(self, index: int, poses: Array, slide: float, scene: MatchScene, least_support: float = -np.inf) -> Array:
        """Return rough poses of one part slid along their rays, without those that mean the same, the best first."""
        part = self._parts[index]
        moved, support = self._ranked(index, poses, slide, scene)
        best = np.argsort(-support, kind="stable")[:_WEIGHED]
        best = best[support[best] > least_support]
        same = part.model.symmetry, 0.8 * _SAME_M * part.diameter, 0.8 * _SAME_RAD
        heads, _ = cluster(moved[best], support[best], part.model.box_center, *same, most=_WEIGHED)
        return moved[best[np.sort(heads)]]

    def _voted(self, part: PartModel, scene: MatchScene) -> Array:
        oriented = scene.oriented
        tells = oriented.view.noise.sigma(oriented.points[..., 2].astype(np.float64)) < _NOISE_SHARE * part.diameter
        index = even_points(oriented, scene.free & tells, _SPACING_SHARE * part.diameter)
        if not len(index):
            return np.zeros((0, 4, 4))
        points = np.ascontiguousarray(oriented.points.reshape(-1, 3)[index])
        frames = frames_of(oriented.normals.reshape(-1, 3)[index])
        poses, votes = part.pairs.vote(points, frames, np.arange(0, len(index), _REFERENCE_STEP, dtype=np.int32))
        same = part.model.symmetry, _SAME_M * part.diameter, float(_SAME_RAD)
        return poses[cluster(poses, votes, part.model.box_center, *same, most=_WEIGHED)[0]]
