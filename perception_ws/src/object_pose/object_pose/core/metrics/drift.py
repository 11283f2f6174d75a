"""Whether frames and answers still look as those did on which a model was measured.

A window of frames of one camera is no sample of a test set: its frames resemble one another, so that tests of equal
distributions (Kolmogorov-Smirnov, population stability index) tell any single scene from a varied reference. What is
asked here is whether the window lies within the reference's range: each statistic by its quantiles, and the image as a
whole by the Mahalanobis distance of a small descriptor (Lee et al., "A simple unified framework for detecting
out-of-distribution samples", 2018, of a network's features there). See ``docs/decisions/0021-drift.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from object_pose.core.arrays import Array, DepthImage, Image
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import PoseResults

QUANTILES = np.linspace(0.0, 1.0, 201)
_RANGE = (0.005, 0.995)  # of the reference, widened by a share of its width
_WIDENED = 0.1
# What is of no consequence, however narrow the reference's range is.
_TOLERANCES = {
    "image": 0.3,
    "brightness": 8.0,
    "contrast": 4.0,
    "sharpness": 0.3,
    "depth_holes": 0.02,
    "depth_median_m": 0.05,
    "confidence": 0.1,
    "reprojection_px": 0.5,
    "depth_residual_mm": 0.5,
}
_FOLDS = 8
_SIDE = 160  # pixels of the longer side at which images are described
_CELLS_WH = (3, 2)
_TURNS = 6  # bins of gradient orientation
_SHRINKAGE = 0.5  # of the descriptor's covariance towards its diagonal


def describe_image(rgb: Image) -> tuple[dict[str, float], Array]:
    """Return statistics of an image, and its descriptor (24,): mean Lab of 3 x 2 cells and gradient orientations.

    ``brightness`` and ``contrast`` are mean and deviation of lightness in [0, 255], ``sharpness`` is the logarithm of
    the variance of its Laplacian.
    """
    scale = _SIDE / max(rgb.shape[:2])
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1.0 else rgb
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    light = lab[..., 0]
    cells = cv2.resize(lab, _CELLS_WH, interpolation=cv2.INTER_AREA)
    dx, dy = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    turn, strength = np.mod(np.arctan2(dy, dx), np.pi), np.hypot(dx, dy)
    turns, _ = np.histogram(turn, bins=_TURNS, range=(0.0, np.pi), weights=strength)
    statistics = {
        "brightness": float(light.mean()),
        "contrast": float(light.std()),
        "sharpness": float(np.log1p(cv2.Laplacian(light, cv2.CV_32F).var())),
    }
    return statistics, np.concatenate([cells.ravel(), np.log1p(turns / light.size)]).astype(np.float64)


def describe_depth(depth_m: DepthImage) -> dict[str, float]:
    """Return the share of pixels without depth and the median distance of the others in metres."""
    measured = depth_m[depth_m > 0.0]
    holes = {"depth_holes": 1.0 - measured.size / max(depth_m.size, 1)}
    return holes | {"depth_median_m": float(np.median(measured))} if measured.size else holes


def describe_poses(results: PoseResults) -> dict[str, float]:
    """Return mean score of the poses and medians of their residuals; nothing of what no pose has."""
    values = {
        "confidence": [pose.score for pose in results.poses],
        "reprojection_px": [pose.reprojection_rms_px for pose in results.poses],
        "depth_residual_mm": [1e3 * pose.depth_rms_m for pose in results.poses],
    }
    finite = {name: np.array(items)[np.isfinite(items)] for name, items in values.items()}
    return {name: float(np.median(items)) for name, items in finite.items() if items.size}


def describe_detections(detections: Detections, min_score: float) -> dict[str, float]:
    """Return the median of the scores from ``min_score`` on; nothing where there are none."""
    scores = detections.scores[detections.scores >= min_score]
    return {"confidence": float(np.median(scores))} if scores.size else {}


@dataclass(frozen=True)
class DriftReference:
    """What frames and answers looked like on a model's test set.

    ``quantiles`` has ``QUANTILES`` of each statistic; the descriptors have ``mean`` (D,) and ``covariance`` (D, D), and
    their distance is the statistic ``image``.
    """

    quantiles: Mapping[str, Array]
    mean: Array
    covariance: Array
    frames: int

    @classmethod
    def of(cls, statistics: Sequence[Mapping[str, float]], descriptors: Sequence[Array]) -> DriftReference:
        """Return the reference of at least two frames."""
        stacked = np.stack(descriptors)
        # Of frames that mean and covariance have not seen: neighbours resemble one another and are left out together.
        distances = []
        for fold in np.array_split(np.arange(len(stacked)), min(_FOLDS, len(stacked) // 2)):
            others = np.delete(stacked, fold, axis=0)
            mean, covariance = _normal(others if len(others) > 1 else stacked)
            distances += [_distance(item, mean, covariance) for item in stacked[fold]]
        mean, covariance = _normal(stacked)
        values: dict[str, list[float]] = {"image": distances}
        for item in statistics:
            for name, value in item.items():
                values.setdefault(name, []).append(value)
        return cls({name: np.quantile(v, QUANTILES) for name, v in values.items()}, mean, covariance, len(stacked))

    def distance(self, descriptor: Array) -> float:
        """Return the Mahalanobis distance of an image's descriptor, per root of its dimensions: about 1 is usual."""
        return _distance(descriptor, self.mean, self.covariance)

    def bounds(self, name: str) -> tuple[float, float]:
        """Return between which values a statistic usually lies; of the distance only the upper one counts."""
        low, high = np.interp(_RANGE, QUANTILES, self.quantiles[name])
        margin = max(_WIDENED * float(high - low), _TOLERANCES.get(name, 0.0))
        return (-np.inf if name == "image" else float(low) - margin), float(high) + margin

    def to_json(self) -> dict[str, Any]:
        """Return the reference as JSON values."""
        return {
            "frames": self.frames,
            "quantiles": {name: np.round(values, 6).tolist() for name, values in self.quantiles.items()},
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> DriftReference:
        """Return what ``to_json`` gave; raises ``ValueError``, ``KeyError`` or ``TypeError`` where it is none."""
        quantiles = {str(name): np.array(values, dtype=np.float64) for name, values in record["quantiles"].items()}
        mean, covariance = (np.array(record[name], dtype=np.float64) for name in ("mean", "covariance"))
        if covariance.shape != (len(mean), len(mean)) or any(v.shape != QUANTILES.shape for v in quantiles.values()):
            raise ValueError("the shapes of the reference do not agree")
        return cls(quantiles, mean, covariance, int(record["frames"]))


@dataclass(frozen=True)
class DriftFinding:
    """A statistic whose window lies outside its usual range: the window's median, the range, the share outside."""

    statistic: str
    median: float
    low: float
    high: float
    share: float

    def __str__(self) -> str:
        low = "" if np.isinf(self.low) else f"{self.low:.3g} to "
        return f"{self.statistic} is {self.median:.3g}, usually {low or 'up to '}{self.high:.3g}"


def find_drift(
    reference: DriftReference, window: Sequence[Mapping[str, float]], min_share: float, min_frames: int
) -> tuple[DriftFinding, ...]:
    """Return the statistics of which at least ``min_share`` of the window lies outside the reference's range.

    A statistic is looked at once ``min_frames`` frames of the window have it.
    """
    findings = []
    for name in reference.quantiles:
        values = np.array([item[name] for item in window if name in item])
        if len(values) < min_frames:
            continue
        low, high = reference.bounds(name)
        share = float(np.mean((values < low) | (values > high)))
        if share >= min_share:
            findings.append(DriftFinding(name, float(np.median(values)), low, high, share))
    return tuple(findings)


def _normal(descriptors: Array) -> tuple[Array, Array]:
    """Return mean and covariance of descriptors (N, D), regularised: there may be fewer frames than dimensions."""
    spread = np.cov(descriptors, rowvar=False)
    covariance = (1.0 - _SHRINKAGE) * spread + _SHRINKAGE * np.diag(np.diag(spread)) + 1e-3 * np.eye(len(spread))
    return descriptors.mean(axis=0), covariance


def _distance(descriptor: Array, mean: Array, covariance: Array) -> float:
    offset = descriptor - mean
    return float(np.sqrt(offset @ np.linalg.solve(covariance, offset) / len(mean)))
