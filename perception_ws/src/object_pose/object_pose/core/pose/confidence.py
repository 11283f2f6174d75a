"""How sure a pose is: its covariance, and the probability that it is right by all that was measured.

The weights of the probability are logistic regressions on networks' detections in simulated clutter
(docs/decisions/0002-pose-solver.md; with depth 0026-scores-in-real-depth.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.pose import depth_icp
from object_pose.core.pose.candidates import Candidates
from object_pose.core.pose.depth_evidence import DepthView, Evidence
from object_pose.core.pose.pnp import INLIER_SIGMAS, KeypointTargets, PnpSolution, mean_truncated, residuals
from object_pose.core.pose.search import FINAL_SCALE_M, SearchResult
from object_pose.core.results.pose import ImageOffset

_BIAS = -5.6
_DETECTOR = 0.9
_CLOSENESS = 8.3
_VIOLATED = -12.8
_OCCLUDED = -3.6
_HOLES = -4.6
_BOUNDARY_CONTRAST_DEFICIT = -4.3
# Places side by side say the same: a neighbour that touches, or smoothed depth, lets depth go on beside many of them.
_CONTRAST_SCALE = 4.0
_BOX_COVERAGE_DEFICIT = -6.7
_KEYPOINT_COST = -2.0
_KEYPOINT_SPREAD = -1.8
# A greater mean square, in sigmas, says no more: misaligned depth is off from all keypoints (see contradiction.py).
_MOST_KEYPOINT_COST = 1.25
_LEAST_SPREAD, _MOST_SPREAD = 0.16, 1.0
# The same of poses that keypoints alone give.
_ALONE_BIAS = -3.1
_ALONE_DETECTOR = 0.34
_ALONE_KEYPOINT_COST = -2.5
_ALONE_DISTANCE_SIGMA = -1.7
_LEAST_DISTANCE_SIGMA, _MOST_DISTANCE_SIGMA = 0.0135, 2.0
# How sure keypoints alone were, and where the contour of their pose agrees with colour.
_CONTOUR_BIAS = -1.9
_CONTOUR_BEFORE = 0.8
_CONTOUR_AGREEMENT = 5.8
# The same of poses that depth gives.
_DEPTH_CONTOUR_BIAS = -3.7
_DEPTH_CONTOUR_BEFORE = 0.7
_DEPTH_CONTOUR_AGREEMENT = 6.6
_SURE = 1e-3
# Variance of an angle that may be anything: uniform over a full turn.
FREE_ANGLE_VARIANCE = np.pi**2 / 3.0
_MIN_INFORMATION = 1e-6
_MIN_INLIER_FIT = 0.1
_SYSTEMATIC_M = 0.001


@dataclass(frozen=True)
class PoseEstimate:
    """One detection's pose; the shares of ``depth_evidence`` and ``depth_rms_m`` are NaN without depth.

    ``covariance`` (6, 6) is measured, symmetries not yet freed. ``inlier_share`` counts keypoints within three sigmas,
    ``reprojection_rms_px`` is over these. ``score`` is the probability that the pose is right, by all evidence.
    ``image_offset`` is None where depth does not confirm the pose.
    """

    T_camera_object: Array
    covariance: Array
    reprojection_rms_px: float
    inlier_share: float
    score: float
    verification: float = np.nan
    violated: float = np.nan
    visibility: float = np.nan
    depth_rms_m: float = np.nan
    image_offset: ImageOffset | None = None

    @property
    def depth_used(self) -> bool:
        """Whether depth took part in the pose."""
        return bool(np.isfinite(self.visibility))

    def covariance_with(self, symmetry: Symmetry) -> Array:
        """Return the covariance with the turn about an axis of revolution unconstrained."""
        return free_symmetry(self.covariance, self.T_camera_object[:3, :3], symmetry)


def from_keypoints(
    solution: PnpSolution, targets: KeypointTargets, scores: Array, diameters: Array
) -> list[PoseEstimate]:
    """Describe the poses that keypoints alone give, of detections with ``scores`` (B,) of objects of ``diameters``."""
    cost = np.where(solution.solved, solution.cost, 0.0)
    distance_variance = np.where(solution.solved, solution.covariance[:, 2, 2], 0.0)
    log_odds = log_odds_of_keypoints(scores, cost, np.sqrt(distance_variance) / diameters)
    shares = np.count_nonzero(solution.inliers, axis=1) / np.maximum(np.isfinite(targets.sigmas).sum(axis=1), 1)
    return [
        PoseEstimate(
            se3.make_transform(solution.rotation[i], solution.translation[i]),
            solution.covariance[i],
            float(solution.rms_px[i]),
            float(shares[i]),
            probability(log_odds[i]),
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
    log_odds = log_odds_with_depth(scores, evidence, cost, spread)
    covariances = from_information(information, evidence.inlier_fit)
    covariances = add_systematic(covariances, candidates.translation, scale_sigma)
    verification = evidence.verification
    return [
        PoseEstimate(
            se3.make_transform(candidates.rotation[i], candidates.translation[i]),
            covariances[i],
            float(rms_px[i]),
            float(shares[i]),
            probability(log_odds[i]),
            float(verification[i]),
            float(evidence.violated[i]),
            float(evidence.visibility[i]),
            float(evidence.rms_m[i]),
        )
        for i in range(len(candidates))
    ]


def _keypoint_spread(candidates: Candidates) -> Array:
    """Return the median keypoint sigma (B,) of each candidate, as a share of its box's longer side."""
    sides = (candidates.boxes_xyxy[:, 2:] - candidates.boxes_xyxy[:, :2]).max(axis=1)
    return np.asarray(np.median(candidates.targets.sigmas, axis=1) / np.maximum(sides, 1.0))


def _keypoint_fit(
    targets: KeypointTargets, rotation: Array, translation: Array, camera: Camera
) -> tuple[Array, Array, Array]:
    """Return (B,) rms in pixels over the keypoints that fit, (B,) their share, and (B,) the cost of all."""
    whitened, present = residuals(targets, rotation, translation, camera), np.isfinite(targets.sigmas)
    inliers = (whitened < INLIER_SIGMAS) & present
    count = np.count_nonzero(inliers, axis=1)
    squared_px = np.where(inliers, (whitened * np.where(present, targets.sigmas, 0.0)) ** 2, 0.0)
    rms_px = np.sqrt(np.sum(squared_px, axis=1) / np.maximum(count, 1))
    shares = count / np.maximum(np.count_nonzero(present, axis=1), 1)
    return rms_px, shares, mean_truncated(whitened, present)


def log_odds_with_depth(scores: Array, evidence: Evidence, keypoint_cost: Array, keypoint_spread: Array) -> Array:
    """Return the log-odds (B,) that poses are right, of detections with ``scores`` (B,) in [0, 1].

    ``keypoint_cost`` is as in ``pnp.truncated_cost``, ``keypoint_spread`` the network's own doubt: the sigma
    of the keypoints as a share of the detection's longer side.
    """
    by_depth = _CLOSENESS * evidence.closeness + _VIOLATED * evidence.violated
    by_depth += _OCCLUDED * evidence.occluded + _HOLES * evidence.holes
    goes_on = np.log1p(_CONTRAST_SCALE * evidence.boundary_contrast_deficit)
    by_silhouette = _BOUNDARY_CONTRAST_DEFICIT * goes_on
    by_silhouette += _BOX_COVERAGE_DEFICIT * evidence.box_coverage_deficit
    doubt = np.log(np.clip(keypoint_spread, _LEAST_SPREAD, _MOST_SPREAD))
    by_keypoints = _KEYPOINT_COST * np.minimum(keypoint_cost, _MOST_KEYPOINT_COST) + _KEYPOINT_SPREAD * doubt
    return np.asarray(_BIAS + _DETECTOR * log_odds_of(scores) + by_depth + by_silhouette + by_keypoints)


def log_odds_of_keypoints(scores: Array, keypoint_cost: Array, distance_sigma: Array) -> Array:
    """Return the log-odds (B,) that poses found without depth are right.

    ``distance_sigma`` is how uncertain a pose's distance is, as a share of the object's diameter: what keypoints alone
    measure worst.
    """
    doubt = np.log(np.clip(distance_sigma, _LEAST_DISTANCE_SIGMA, _MOST_DISTANCE_SIGMA))
    by_keypoints = _ALONE_KEYPOINT_COST * keypoint_cost + _ALONE_DISTANCE_SIGMA * doubt
    return np.asarray(_ALONE_BIAS + _ALONE_DETECTOR * log_odds_of(scores) + by_keypoints)


def log_odds_of_contour(score: float, agreement: float) -> float:
    """Return the log-odds that a pose is right whose keypoints said ``score``, by how far its contour agrees."""
    return float(_CONTOUR_BIAS + _CONTOUR_BEFORE * log_odds_of(np.array(score)) + _CONTOUR_AGREEMENT * agreement)


def log_odds_with_contour(score: float, agreement: float) -> float:
    """Return the log-odds that a pose is right to which depth gave ``score``, by how far its contour agrees."""
    before = _DEPTH_CONTOUR_BEFORE * log_odds_of(np.array(score))
    return float(_DEPTH_CONTOUR_BIAS + before + _DEPTH_CONTOUR_AGREEMENT * agreement)


def probability(log_odds: float) -> float:
    """Return the probability in [0, 1] of log-odds."""
    return float(1.0 / (1.0 + np.exp(-log_odds)))


def log_odds_of(probabilities: Array) -> Array:
    """Return the log-odds of probabilities, which never count as quite sure."""
    sure = np.clip(probabilities, _SURE, 1.0 - _SURE)
    return np.asarray(np.log(sure / (1.0 - sure)))


def from_information(information: Array, inlier_fit: Array | float) -> Array:
    """Return the covariance (..., 6, 6) of information matrices; directions without any become very uncertain.

    ``inlier_fit`` in [0, 1] is how well the measurements fit: the less, the less their own sigmas can be believed.
    """
    covariance = np.linalg.inv(information + np.eye(6) * _MIN_INFORMATION)
    fit = np.maximum(np.asarray(inlier_fit), _MIN_INLIER_FIT)[..., None, None]
    return np.asarray(0.5 * (covariance + np.swapaxes(covariance, -1, -2)) / fit**2)


def add_systematic(covariance: Array, translation: Array, scale_sigma: float) -> Array:
    """Add to (..., 6, 6) the errors that more points do not average out: of the model and of the depth's scale."""
    result = covariance.copy()
    along_ray = translation[..., :, None] * translation[..., None, :]
    result[..., :3, :3] += scale_sigma**2 * along_ray + _SYSTEMATIC_M**2 * np.eye(3)
    return result


def free_symmetry(covariance: Array, rotation: Array, symmetry: Symmetry) -> Array:
    """Make the turn about an axis of revolution unconstrained; nothing can be measured about it.

    What the keypoints said about that turn is removed, coupling included, and a uniform angle is put in its place.
    """
    if symmetry.axis is None:
        return covariance
    axis = rotation @ symmetry.axis
    # A turn about a line beside the object's origin moves the origin, too.
    direction = np.concatenate([-np.cross(axis, rotation @ symmetry.offset), axis])
    about_axis = np.concatenate([np.zeros(3), axis])
    keep = np.eye(6) - np.outer(direction, about_axis)
    return np.asarray(keep @ covariance @ keep.T + FREE_ANGLE_VARIANCE * np.outer(direction, direction))
