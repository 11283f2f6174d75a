"""How likely a pose is right: the detector's score, updated by what depth and keypoints say about the pose.

The weights are a logistic regression on a network's detections in simulated clutter
(docs/decisions/0002-pose-head.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.depth_evidence import Evidence

Array = NDArray[np.float64]

_BIAS = -4.6
_VERIFICATION = 2.2
_CLOSENESS = 9.4
_MERGED = -7.8
_UNCOVERED = -3.0
_KEYPOINT_COST = -0.5
# What the keypoints of a right pose cost on average, in squared sigmas.
_USUAL_COST = 2.0
_SURE = 1e-3


def log_odds_with_depth(evidence: Evidence, keypoint_cost: Array) -> Array:
    """Return (B,) the log-odds that the evidence adds; ``keypoint_cost`` as in ``reprojection.truncated_cost``."""
    by_depth = _VERIFICATION * evidence.verification + _CLOSENESS * evidence.closeness
    by_outline = _MERGED * evidence.merged + _UNCOVERED * evidence.uncovered
    return np.asarray(_BIAS + by_depth + by_outline + _KEYPOINT_COST * keypoint_cost)


def log_odds_of_keypoints(keypoint_cost: Array) -> Array:
    """Return (B,) the log-odds that the fit of the keypoints alone adds."""
    return np.asarray(_KEYPOINT_COST * (keypoint_cost - _USUAL_COST))


def updated_score(score: float, log_odds: float) -> float:
    """Return the detector's ``score`` in [0, 1] after the evidence."""
    prior = float(np.clip(score, _SURE, 1.0 - _SURE))
    return float(1.0 / (1.0 + (1.0 - prior) / prior * np.exp(-log_odds)))
