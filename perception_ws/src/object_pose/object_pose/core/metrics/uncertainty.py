"""Whether a system knows how good it is: covariances against errors, scores against how often they are right.

NEES: Bar-Shalom, Li, Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001, section 5.4.
Expected calibration error: Guo et al., "On calibration of modern neural networks", 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.metrics.pose import PoseMatch

_CONFIDENCE = 0.95
_SCORE_BINS = 10


@dataclass(frozen=True)
class NormalisedError:
    """A squared error in units of its own covariance, and how many directions it was measured in."""

    squared: float
    freedom: int

    @property
    def is_within_95(self) -> bool:
        """Whether it is what the covariance promises 95 times in 100."""
        return bool(self.squared <= chi2.ppf(_CONFIDENCE, self.freedom))


@dataclass(frozen=True)
class CovarianceScore:
    """Over matched poses: shares within the 95 % bound (0.95 is perfect), and how sharp the promises were.

    ``sigma_*_p50`` are medians of the root mean variance over the measured directions. NaN where there is no pose.
    """

    poses: int
    translation_within_95: float
    rotation_within_95: float
    translation_sigma_mm_p50: float
    rotation_sigma_deg_p50: float


def translation_nees(T_estimate: Array, T_truth: Array, covariance: Array, symmetry: Symmetry) -> NormalisedError:
    """Return the error of the object's origin against the (6, 6) covariance of an estimate, in 3 directions."""
    error = symmetry.closest(T_truth, T_estimate)[:3, 3] - T_estimate[:3, 3]
    return _normalised(error, covariance[:3, :3], np.eye(3))


def rotation_nees(T_estimate: Array, T_truth: Array, covariance: Array, symmetry: Symmetry) -> NormalisedError:
    """Return the rotation error against the (6, 6) covariance; about an axis of revolution nothing is measured.

    Directions are the camera's axes, or the two across the object's axis of revolution.
    """
    rotation = symmetry.closest(T_truth, T_estimate)[:3, :3]
    error = se3.log_so3(rotation @ T_estimate[:3, :3].T)
    return _normalised(error, covariance[3:, 3:], measured_directions(T_estimate, symmetry))


def measured_directions(T_estimate: Array, symmetry: Symmetry) -> Array:
    """Return orthonormal columns (3, 3), or (3, 2) across the axis of revolution, in camera axes."""
    if symmetry.axis is None:
        return np.eye(3)
    axis = T_estimate[:3, :3] @ symmetry.axis
    return np.asarray(np.linalg.svd(axis[None])[2][1:].T)


def _normalised(error: Array, covariance: Array, directions: Array) -> NormalisedError:
    along = directions.T @ error
    spread = directions.T @ covariance @ directions
    return NormalisedError(float(along @ np.linalg.solve(spread, along)), len(along))


def score_covariances(matches: Sequence[PoseMatch], symmetries: Sequence[Symmetry]) -> CovarianceScore:
    """Hold every matched pose, right or wrong, against its covariance; class ids index ``symmetries``."""
    within: list[tuple[bool, bool]] = []
    sigmas: list[tuple[float, float]] = []
    for match in matches:
        symmetry = symmetries[match.pose.class_id]
        T_estimate, T_truth, covariance = match.pose.T_camera_object, match.truth.T_camera_object, match.pose.covariance
        translation = translation_nees(T_estimate, T_truth, covariance, symmetry)
        rotation = rotation_nees(T_estimate, T_truth, covariance, symmetry)
        within.append((translation.is_within_95, rotation.is_within_95))
        across = measured_directions(T_estimate, symmetry)
        variances = np.diag(covariance[:3, :3]), np.diag(across.T @ covariance[3:, 3:] @ across)
        sigmas.append((float(np.sqrt(variances[0].mean())) * 1e3, float(np.degrees(np.sqrt(variances[1].mean())))))
    if not matches:
        return CovarianceScore(0, *[float("nan")] * 4)
    return CovarianceScore(len(matches), *np.mean(within, axis=0).tolist(), *np.median(sigmas, axis=0).tolist())


def expected_calibration_error(scores: ArrayLike, correct: ArrayLike, bins: int = _SCORE_BINS) -> float:
    """Return the mean distance of score and share correct over ``bins`` equal steps of score, weighted by their size.

    ``scores`` (N,) are in [0, 1], ``correct`` (N,) truth values. NaN where there are none.
    """
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if len(values) == 0:
        return float("nan")
    place = np.clip((values * bins).astype(int), 0, bins - 1)
    gaps = np.bincount(place, values, bins) - np.bincount(place, right, bins)
    return float(np.abs(gaps).sum() / len(values))
