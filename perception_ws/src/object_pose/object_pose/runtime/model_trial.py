"""Whether a newly set model holds its own beside the one before: first in its shadow, then answering alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from statistics import median

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.params import parameter
from object_pose.core.results.detections import Detections
from object_pose.core.vision.boxes import box_iou

_SAME_IOU = 0.4
_SAME_KEYPOINTS = 0.15  # mean distance of two sets of keypoints, as a share of the box's diagonal
_NEVER_SLOW_MS = 50.0  # what other work adds to a small network's time says nothing about it
_LEAST_AGREEMENT = 0.5  # share of the earlier model's detections that the new one has, too


@dataclass(frozen=True)
class ModelTrialConfig:
    """How long a newly set model is on trial, and what ends the trial early."""

    shadow_images: int = parameter(
        3, "images that a new model must answer like the one before, which still answers", minimum=0, maximum=1000
    )
    images: int = parameter(
        12, "images that it then must answer without failure before the one before is let go", minimum=0, maximum=10_000
    )
    max_failures: int = parameter(2, "images without a usable answer that end the trial", minimum=1, maximum=1000)
    max_latency_ratio: float = parameter(
        4.0, "greatest median time of an image over that of the model before", minimum=1.0, maximum=1000.0
    )


class TrialState(str, Enum):
    """Who answers: the model before while in SHADOW and once FAILED, the new one when LIVE and once PASSED."""

    SHADOW = "shadow"
    LIVE = "live"
    PASSED = "passed"
    FAILED = "failed"


class ModelTrial:
    """Counts what a new model does and decides; ``reason`` says why it failed.

    ``class_ids`` maps the classes of the model before to those of the new one, by name, -1 where it has none: of other
    classes nothing is expected.
    """

    def __init__(self, config: ModelTrialConfig, labels_before: tuple[str, ...], labels: tuple[str, ...]) -> None:
        self._config = config
        self.class_ids = np.array([labels.index(name) if name in labels else -1 for name in labels_before])
        self.state = TrialState.SHADOW if config.shadow_images else TrialState.LIVE
        self.reason = ""
        self._failures = self._shadowed = self._answered = 0
        self._before_ms: list[float] = []
        self._now_ms: list[float] = []
        self._expects_poses = self._has_poses = False
        self._end_if_due()

    @property
    def is_running(self) -> bool:
        """Whether nothing is decided yet."""
        return self.state in (TrialState.SHADOW, TrialState.LIVE)

    def shadowed(self, before: Detections, now: Detections, before_ms: float, now_ms: float) -> None:
        """Note what both models made of one image, and how long each took."""
        self._before_ms.append(before_ms)
        self._now_ms.append(now_ms)
        agreement = self._agreement(before, now)
        if agreement < _LEAST_AGREEMENT:
            self.failed(f"it has {100 * agreement:.0f} % of what the model before detects")
            return
        self._shadowed += 1
        if self._shadowed >= self._config.shadow_images and not self._is_slow():
            self.state = TrialState.LIVE
            self._end_if_due()

    def answered(self, now_ms: float) -> None:
        """Note an image that the new model answered alone."""
        self._now_ms.append(now_ms)
        self._answered += 1
        self._end_if_due()

    def failed(self, problem: str) -> None:
        """Note an image without a usable answer."""
        self._failures += 1
        if self._failures >= self._config.max_failures:
            self.state, self.reason = TrialState.FAILED, problem

    def posed(self, class_names: set[str], labels: tuple[str, ...]) -> None:
        """Note the classes of the poses that came of a frame: what is tracked in shadow is expected when live."""
        is_known = bool(class_names & set(labels))
        if self.state is TrialState.SHADOW:
            self._expects_poses = is_known
        elif 2 * self._answered >= self._config.images:  # what came before may be of the model before
            self._has_poses |= is_known

    def __str__(self) -> str:
        if self.state is TrialState.SHADOW:
            return f"in shadow, {self._shadowed} of {self._config.shadow_images} images"
        if self.state is TrialState.LIVE:
            return f"on trial, {self._answered} of {self._config.images} images"
        return f"{self.state.value}: {self.reason}" if self.reason else str(self.state.value)

    def _end_if_due(self) -> None:
        if self.state is not TrialState.LIVE or self._answered < self._config.images or self._is_slow():
            return
        if self._expects_poses and not self._has_poses and self._answered:
            self.state, self.reason = TrialState.FAILED, "none of the objects tracked before has a pose"
            return
        self.state = TrialState.PASSED

    def _is_slow(self) -> bool:
        """Fail a model that takes too long; the first image of either is not counted, where there are others."""
        before, now = (times[1:] or times for times in (self._before_ms, self._now_ms))
        if not before or median(now) <= max(self._config.max_latency_ratio * median(before), _NEVER_SLOW_MS):
            return False
        self.state = TrialState.FAILED
        self.reason = f"an image takes it {median(now):.0f} ms, the model before {median(before):.0f} ms"
        return True

    def _agreement(self, before: Detections, now: Detections) -> float:
        """Return the share of the earlier model's detections of shared classes that the new one has, too."""
        before = before.likeliest()
        expected = [row for row, class_id in enumerate(before.class_ids) if self.class_ids[class_id] >= 0]
        if not expected:
            return 1.0
        overlap = box_iou(before.boxes_xyxy, now.boxes_xyxy)
        is_class = self.class_ids[before.class_ids][:, None] == now.class_ids[None]
        candidates = (overlap >= _SAME_IOU) & is_class
        agreeing = [
            any(_same_keypoints(before, i, now, j) for j in np.flatnonzero(candidates[i]).tolist()) for i in expected
        ]
        return float(np.mean(agreeing))


def _same_keypoints(before: Detections, i: int, now: Detections, j: int) -> bool:
    """Compare two sets of keypoints whatever their order, which a symmetry may change; true where one has none."""
    first, second = (item.keypoints[k][np.isfinite(item.keypoint_sigmas[k])] for item, k in ((before, i), (now, j)))
    if not len(first) or not len(second):
        return len(first) == len(second) or not len(first)
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    apart = 0.5 * float(distances.min(axis=0).mean() + distances.min(axis=1).mean())
    return apart <= _SAME_KEYPOINTS * _diagonal(before.boxes_xyxy[i])


def _diagonal(box: Array) -> float:
    return float(np.linalg.norm(box[2:] - box[:2]))
