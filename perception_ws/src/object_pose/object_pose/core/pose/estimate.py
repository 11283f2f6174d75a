"""Poses of a batch of detections with everything that decides whether they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.pose import confidence as pose_confidence
from object_pose.core.pose import covariance as pose_covariance
from object_pose.core.pose import depth_icp
from object_pose.core.pose.candidates import Candidates
from object_pose.core.pose.contour_alignment import ContourFit
from object_pose.core.pose.depth_view import DepthView
from object_pose.core.pose.pnp import INLIER_SIGMAS, PnpSolution
from object_pose.core.pose.reprojection import KeypointTargets, reproject, truncated_cost
from object_pose.core.pose.search import FINAL_SCALE_M, SearchResult

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PoseEstimate:
    """One detection's pose; ``verification``, ``visibility`` and ``depth_rms_m`` are NaN where depth said nothing.

    ``covariance`` (6, 6) is measured, symmetries not yet freed. ``inlier_share`` counts keypoints within three sigmas,
    ``reprojection_rms_px`` is over these. ``score`` is the probability that the pose is right, all told.
    """

    T_camera_object: Array
    covariance: Array
    reprojection_rms_px: float
    inlier_share: float
    score: float
    verification: float = np.nan
    visibility: float = np.nan
    depth_rms_m: float = np.nan

    @property
    def depth_used(self) -> bool:
        """Whether depth took part in the pose."""
        return bool(np.isfinite(self.visibility))

    def covariance_with(self, symmetry: Symmetry) -> Array:
        """Return the covariance with the turn about an axis of revolution unconstrained."""
        return pose_covariance.free_symmetry(self.covariance, self.T_camera_object[:3, :3], symmetry)


def from_keypoints(
    solution: PnpSolution, targets: KeypointTargets, scores: Array, diameters: Array
) -> list[PoseEstimate]:
    """Describe the poses that keypoints alone give, of detections with ``scores`` (B,) of objects of ``diameters``."""
    cost = np.where(solution.solved, solution.cost, 0.0)
    distance_variance = np.where(solution.solved, solution.covariance[:, 2, 2], 0.0)
    log_odds = pose_confidence.log_odds_of_keypoints(scores, cost, np.sqrt(distance_variance) / diameters)
    shares = np.count_nonzero(solution.inliers, axis=1) / np.maximum(np.isfinite(targets.sigmas).sum(axis=1), 1)
    return [
        PoseEstimate(
            se3.make_transform(solution.rotation[i], solution.translation[i]),
            solution.covariance[i],
            float(solution.rms_px[i]),
            float(shares[i]),
            pose_confidence.probability(log_odds[i]),
        )
        for i in range(len(shares))
    ]


def from_depth(found: SearchResult, depth: DepthView, scores: Array, scale_sigma: float) -> list[PoseEstimate]:
    """Describe the poses that the search aligned with depth, of detections with ``scores`` (B,).

    ``scale_sigma`` is the sensor's relative scale error.
    """
    candidates, evidence = found.candidates, found.evidence
    information = depth_icp.information(candidates, found.surfaces, depth, FINAL_SCALE_M)
    rms_px, shares, cost = _keypoint_fit(candidates.targets, candidates.rotation, candidates.translation, depth.camera)
    spread = _keypoint_spread(candidates)
    log_odds = pose_confidence.log_odds_with_depth(scores, evidence, cost, spread)
    estimates = []
    for i, translation in enumerate(candidates.translation):
        covariance = pose_covariance.from_information(information[i], float(evidence.inlier_fit[i]))
        estimates.append(
            PoseEstimate(
                se3.make_transform(candidates.rotation[i], translation),
                pose_covariance.add_systematic(covariance, translation, scale_sigma),
                float(rms_px[i]),
                float(shares[i]),
                pose_confidence.probability(log_odds[i]),
                float(evidence.verification[i]),
                float(evidence.visibility[i]),
                float(evidence.rms_m[i]),
            )
        )
    return estimates


def from_contour(estimate: PoseEstimate, fit: ContourFit) -> PoseEstimate:
    """Describe a pose that keypoints gave and whose outline was aligned since."""
    log_odds = pose_confidence.log_odds_of_outline(estimate.score, fit.agreement)
    return replace(
        estimate,
        T_camera_object=fit.T_camera_object,
        covariance=fit.covariance,
        score=pose_confidence.probability(log_odds),
    )


def _keypoint_spread(candidates: Candidates) -> Array:
    """Return the median keypoint sigma (B,) of each candidate, as a share of its box's longer side."""
    sides = (candidates.boxes_xyxy[:, 2:] - candidates.boxes_xyxy[:, :2]).max(axis=1)
    return np.asarray(np.median(candidates.targets.sigmas, axis=1) / np.maximum(sides, 1.0))


def _keypoint_fit(
    targets: KeypointTargets, rotation: Array, translation: Array, camera: Camera
) -> tuple[Array, Array, Array]:
    """Return (B,) rms in pixels over the keypoints that fit, (B,) their share, and (B,) the cost of all."""
    state = reproject(targets, rotation, translation, camera)
    present = np.isfinite(targets.sigmas)
    inliers = (state.whitened_residual < INLIER_SIGMAS) & present
    count = np.count_nonzero(inliers, axis=1)
    squared_px = np.where(inliers, (state.whitened_residual * np.where(present, targets.sigmas, 0.0)) ** 2, 0.0)
    rms_px = np.sqrt(np.sum(squared_px, axis=1) / np.maximum(count, 1))
    shares = count / np.maximum(np.count_nonzero(present, axis=1), 1)
    return rms_px, shares, truncated_cost(state.whitened_residual, present)
