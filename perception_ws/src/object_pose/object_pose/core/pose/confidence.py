"""How likely a pose is right, by the detector's score, the keypoints and what depth says about the pose.

The weights are a logistic regression on a network's detections in simulated clutter
(docs/decisions/0002-pose-head.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.pose.depth_evidence import Evidence

Array = NDArray[np.float64]

_BIAS = -14.7
_DETECTOR = 1.45
_CLOSENESS = 17.2
_OCCLUDED = 13.7
_MERGED = -12.9
_UNCOVERED = -8.8
_KEYPOINT_COST = -0.8
_KEYPOINT_SPREAD = -3.0
_LEAST_SPREAD, _MOST_SPREAD = 0.16, 1.0
# The same of poses that keypoints alone give.
_ALONE_BIAS = -3.1
_ALONE_DETECTOR = 0.34
_ALONE_KEYPOINT_COST = -2.5
_ALONE_DISTANCE_SIGMA = -1.7
_LEAST_DISTANCE_SIGMA, _MOST_DISTANCE_SIGMA = 0.0135, 2.0
# How sure keypoints alone were, and where the outline of their pose agrees with colour.
_OUTLINE_BIAS = -1.9
_OUTLINE_BEFORE = 0.8
_OUTLINE_AGREEMENT = 5.8
_SURE = 1e-3


def log_odds_with_depth(scores: Array, evidence: Evidence, keypoint_cost: Array, keypoint_spread: Array) -> Array:
    """Return the log-odds (B,) that poses are right, of detections with ``scores`` (B,) in [0, 1].

    ``keypoint_cost`` is as in ``reprojection.truncated_cost``, ``keypoint_spread`` the network's own doubt: the sigma
    of the keypoints as a share of the detection's longer side.
    """
    by_depth = _CLOSENESS * evidence.inlier_fit + _OCCLUDED * evidence.occluded
    by_outline = _MERGED * evidence.merged + _UNCOVERED * evidence.uncovered
    doubt = np.log(np.clip(keypoint_spread, _LEAST_SPREAD, _MOST_SPREAD))
    by_keypoints = _KEYPOINT_COST * keypoint_cost + _KEYPOINT_SPREAD * doubt
    return np.asarray(_BIAS + _DETECTOR * _log_odds(scores) + by_depth + by_outline + by_keypoints)


def log_odds_of_keypoints(scores: Array, keypoint_cost: Array, distance_sigma: Array) -> Array:
    """Return the log-odds (B,) that poses found without depth are right.

    ``distance_sigma`` is how uncertain a pose's distance is, as a share of the object's diameter: what keypoints alone
    tell worst.
    """
    doubt = np.log(np.clip(distance_sigma, _LEAST_DISTANCE_SIGMA, _MOST_DISTANCE_SIGMA))
    by_keypoints = _ALONE_KEYPOINT_COST * keypoint_cost + _ALONE_DISTANCE_SIGMA * doubt
    return np.asarray(_ALONE_BIAS + _ALONE_DETECTOR * _log_odds(scores) + by_keypoints)


def log_odds_of_outline(score: float, agreement: float) -> float:
    """Return the log-odds that a pose is right whose keypoints said ``score``, by how far its outline agrees."""
    return float(_OUTLINE_BIAS + _OUTLINE_BEFORE * _log_odds(np.array(score)) + _OUTLINE_AGREEMENT * agreement)


def probability(log_odds: float) -> float:
    """Return the probability in [0, 1] of log-odds."""
    return float(1.0 / (1.0 + np.exp(-log_odds)))


def _log_odds(probabilities: Array) -> Array:
    sure = np.clip(probabilities, _SURE, 1.0 - _SURE)
    return np.asarray(np.log(sure / (1.0 - sure)))
