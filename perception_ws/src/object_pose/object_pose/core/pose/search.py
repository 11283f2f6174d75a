"""Finds for each detection the pose that depth and keypoints support best, trying harder only where it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose import depth_icp, starts
from object_pose.core.pose.candidates import Candidates, Indices, ModelViews, Surfaces, ViewTables, visible_surfaces
from object_pose.core.pose.depth_evidence import DepthView, Evidence, gather_evidence
from object_pose.core.pose.depth_icp import COARSE, FINE, RaySearch
from object_pose.core.pose.pnp import KeypointTargets, PnpSolution, truncated_cost
from object_pose.core.results.pose import ObjectPose

FINAL_SCALE_M = 0.003
_COARSE_SCALE_M, _START_SCALE_M = 0.006, 0.012
# How far along the ray the first pose may be off, as a share of its distance, and in sigmas of its own.
_MIN_REACH, _MAX_REACH, _REACH_SIGMAS = 0.045, 0.15, 3.0
_WIDE_REACH = 0.36
_START_REACH_DIAMETERS = 0.6
_KEYPOINT_COST = 0.08
_SHORTLIST = 16
_START_STRIDE = 4
_START_RAY = RaySearch(steps=21, stride=_START_STRIDE)


@dataclass(frozen=True)
class SearchResult:
    """The winning candidate of each of B detections, its visible surface, and the evidence of depth."""

    candidates: Candidates
    surfaces: Surfaces
    evidence: Evidence


class PoseSearch:
    """Aligns poses with depth, by the ``views`` of its objects, in their order."""

    def __init__(self, objects: Sequence[ObjectModel], views: Sequence[ModelViews]) -> None:
        self._objects = tuple(objects)
        self._views = ViewTables.of(views)
        self._grids = [starts.build_grid(model, own) for model, own in zip(objects, views)]
        self._turns = [starts.half_turns(model) for model in objects]
        self._diameters = np.array([model.diameter for model in objects])

    def search(
        self,
        solution: PnpSolution,
        targets: KeypointTargets,
        class_ids: NDArray[np.int64],
        boxes_xyxy: Array,
        depth: DepthView,
        good_support: float,
        max_searches: int,
        expected: Sequence[ObjectPose] = (),
    ) -> SearchResult:
        """Return one aligned pose per detection of ``solution``, all solved, the best detection first.

        ``boxes_xyxy`` (B, 4) are in undistorted pixels. Where an ``expected`` pose still fits, its detection is done
        after one alignment. What has less than ``good_support`` is searched for, at most ``max_searches`` of them.
        """
        owners = np.arange(len(class_ids))
        first = Candidates(
            solution.rotation, solution.translation, owners, class_ids.astype(np.intp), targets, boxes_xyxy
        )
        aligned, value = self._align(starts.expected_starts(first, expected, depth.camera), depth)
        poor = ~_have_support(aligned, value >= good_support, len(first))
        if np.any(poor):
            rows = np.flatnonzero(poor)
            sigma = np.sqrt(solution.covariance[rows, 2, 2]) / np.maximum(solution.translation[rows, 2], 1e-3)
            reach = np.clip(_REACH_SIGMAS * sigma, _MIN_REACH, _MAX_REACH)
            slid = depth_icp.shift_along_ray(first.take(rows), self._views, depth, reach)
            by_keypoints, value = self._align(slid, depth)
            aligned = Candidates.join([aligned, by_keypoints])
            poor &= ~_have_support(by_keypoints, value >= good_support, len(first))
        poor &= np.cumsum(poor) <= max_searches
        if np.any(poor):
            aligned = Candidates.join([aligned, self._try_harder(first, aligned, poor, solution, depth)])
        return self._decide(aligned, depth)

    def _align(self, candidates: Candidates, depth: DepthView) -> tuple[Candidates, Array]:
        """Return the candidates after coarse alignment, and their values."""
        if not len(candidates):
            return candidates, np.zeros(0)
        aligned, surfaces = depth_icp.refine(candidates, self._views, depth, COARSE)
        return aligned, self._value(aligned, surfaces, depth, _COARSE_SCALE_M, COARSE.stride)

    def _try_harder(
        self, first: Candidates, aligned: Candidates, poor: Mask, solution: PnpSolution, depth: DepthView
    ) -> Candidates:
        """Weigh many other starts as they are, and align the most promising."""
        rows = np.flatnonzero(poor)
        tried = aligned.take(np.flatnonzero(poor[aligned.owners]))
        bases = Candidates.join([first.take(rows), _alternative_minima(solution, first, poor), tried])
        slid = depth_icp.shift_along_ray(bases, self._views, depth, np.full(len(bases), _WIDE_REACH))
        parts = [starts.expand(slid, self._turns)]
        for row in rows:
            class_id = first.class_ids[row]
            model, grid = self._objects[class_id], self._grids[class_id]
            in_box = starts.starts_in_box(first.take(np.array([row])), model, grid, depth)
            parts += [in_box] if in_box is not None else []
        found = Candidates.join(parts)
        reach = _START_REACH_DIAMETERS * self._diameters[found.class_ids] / np.maximum(found.translation[:, 2], 1e-3)
        found = depth_icp.shift_along_ray(found, self._views, depth, reach, _START_RAY)
        value = self._value(found, visible_surfaces(found, self._views), depth, _START_SCALE_M, _START_STRIDE)
        shortlist = found.take(_best_of_each(value, found.owners, _SHORTLIST))
        return depth_icp.refine(shortlist, self._views, depth, COARSE)[0]

    def _decide(self, candidates: Candidates, depth: DepthView) -> SearchResult:
        best = candidates.take(_best_of_each(self._value_among(candidates, depth), candidates.owners, 1))
        final, _ = depth_icp.refine(best, self._views, depth, FINE)
        surfaces = visible_surfaces(final, self._views)
        evidence = gather_evidence(final, surfaces, depth, FINAL_SCALE_M)
        return SearchResult(final, surfaces, evidence)

    def _value_among(self, candidates: Candidates, depth: DepthView) -> Array:
        """Return the values of candidates (N,); 0 of the only one of a detection, which is compared with none."""
        value = np.zeros(len(candidates))
        rivals = np.flatnonzero(np.bincount(candidates.owners)[candidates.owners] > 1)
        if len(rivals):
            compared = candidates.take(rivals)
            surfaces = visible_surfaces(compared, self._views)
            value[rivals] = self._value(compared, surfaces, depth, _COARSE_SCALE_M, COARSE.stride)
        return value

    def _value(
        self, candidates: Candidates, surfaces: Surfaces, depth: DepthView, scale_m: float, stride: int
    ) -> Array:
        evidence = gather_evidence(candidates, surfaces, depth, scale_m, stride)
        keypoints = truncated_cost(candidates.targets, candidates.rotation, candidates.translation, depth.camera)
        return np.asarray(evidence.support - _KEYPOINT_COST * keypoints)


def _have_support(candidates: Candidates, is_good: Mask, count: int) -> Mask:
    """Return for each of ``count`` detections whether one of its candidates has good support."""
    supported = np.zeros(count, dtype=bool)
    supported[candidates.owners[is_good]] = True
    return supported


def _alternative_minima(solution: PnpSolution, first: Candidates, wanted: Mask) -> Candidates:
    """Return the alternative minima of the detections ``wanted`` (B,)."""
    rows, places = np.nonzero(solution.has_alternative & wanted[:, None])
    rotation, translation = solution.alternative_rotation[rows, places], solution.alternative_translation[rows, places]
    return first.take(rows).moved(rotation, translation)


def _best_of_each(value: Array, owners: Indices, count: int) -> Indices:
    """Return the indices of the ``count`` best candidates of every owner, owners in order."""
    order = np.lexsort((-value, owners))
    sorted_owners = owners[order]
    starts = np.searchsorted(sorted_owners, sorted_owners)
    return np.asarray(order[np.arange(len(order)) - starts < count])
