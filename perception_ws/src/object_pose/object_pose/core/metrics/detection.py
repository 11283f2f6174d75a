"""Average precision of boxes as COCO defines it (Lin et al., "Microsoft COCO", 2014), and the curves behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.results.detections import Detections
from object_pose.core.vision.boxes import box_iou

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_POINTS = np.linspace(0.0, 1.0, 101)
_MAX_DETECTIONS = 100
MINIMUM_BOXES = 5


@dataclass(frozen=True)
class Ranking:
    """Answers in falling order of score: ``scores`` (N,), which are ``correct`` (N,), and how many were to be found."""

    scores: Array
    correct: NDArray[np.bool_]
    positives: int

    @classmethod
    def of(cls, scores: Array, correct: NDArray[np.bool_], positives: int) -> Ranking:
        """Sort answers by score; among equals the first given stays first."""
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], correct[order], positives)

    @property
    def recall(self) -> Array:
        """Share of the positives found down to each rank, (N,)."""
        return np.asarray(np.cumsum(self.correct) / max(self.positives, 1))

    @property
    def precision(self) -> Array:
        """Share of correct answers down to each rank, (N,)."""
        return np.asarray(np.cumsum(self.correct) / np.arange(1, len(self.correct) + 1))

    @property
    def average_precision(self) -> float:
        """Mean of the best precision at each of 101 recalls or beyond; NaN where nothing was to be found."""
        if self.positives == 0:
            return float("nan")
        envelope = np.append(np.maximum.accumulate(self.precision[::-1])[::-1], 0.0)
        return float(envelope[np.searchsorted(self.recall, _RECALL_POINTS)].mean())


def rank_boxes(results: Sequence[Detections], truths: Sequence[Detections], class_id: int) -> tuple[Ranking, ...]:
    """Return the ranking of one class's boxes over all images, one for each of ``IOU_THRESHOLDS``."""
    scores, correct, positives = [np.zeros(0)], [np.zeros((len(IOU_THRESHOLDS), 0), dtype=bool)], 0
    for result, truth in zip(results, truths):
        found = result.select(result.class_ids == class_id)
        found = found.select(np.argsort(-found.scores, kind="stable")[:_MAX_DETECTIONS])
        wanted = truth.boxes_xyxy[truth.class_ids == class_id]
        scores.append(found.scores)
        correct.append(_match(box_iou(found.boxes_xyxy, wanted)))
        positives += len(wanted)
    every_score, every_correct = np.concatenate(scores), np.concatenate(correct, axis=1)
    return tuple(Ranking.of(every_score, row, positives) for row in every_correct)


def _match(iou: Array) -> NDArray[np.bool_]:
    """Give each detection, best first, the free truth that it overlaps most: (D, G) IoU to correct (T, D)."""
    count, wanted = iou.shape
    correct = np.zeros((len(IOU_THRESHOLDS), count), dtype=bool)
    if wanted == 0:
        return correct
    free = np.ones((len(IOU_THRESHOLDS), wanted), dtype=bool)
    for index, row in enumerate(iou):
        overlaps = np.where(free, row, -1.0)
        best = wanted - 1 - overlaps[:, ::-1].argmax(axis=1)  # of equal truths COCO takes the last
        hit = np.take_along_axis(overlaps, best[:, None], axis=1)[:, 0] >= IOU_THRESHOLDS
        correct[:, index] = hit
        free[np.flatnonzero(hit), best[hit]] = False
    return correct


def score_boxes(results: Sequence[Detections], truths: Sequence[Detections], labels: Sequence[str]) -> dict[str, float]:
    """Return ``map50``, ``map50_95`` and ``map50_LABEL`` of each label that occurs in the truths.

    ``map50_min_5_boxes`` is the mean over labels with at least ``MINIMUM_BOXES`` boxes: of fewer an average precision
    says little. Spaces in a label become underscores. Without any truth the means are 0.
    """
    boxes = Counter(int(class_id) for truth in truths for class_id in truth.class_ids)
    rankings = {class_id: rank_boxes(results, truths, class_id) for class_id in sorted(boxes)}
    precisions = {class_id: [ranking.average_precision for ranking in rows] for class_id, rows in rankings.items()}
    every = np.array(list(precisions.values())).reshape(-1, len(IOU_THRESHOLDS))
    counted = [row[0] for class_id, row in precisions.items() if boxes[class_id] >= MINIMUM_BOXES]
    figures = {
        "map50": float(every[:, 0].mean()) if len(every) else 0.0,
        "map50_95": float(every.mean()) if len(every) else 0.0,
        "map50_min_5_boxes": float(np.mean(counted)) if counted else 0.0,
    }
    per_label = {f"map50_{labels[class_id].replace(' ', '_')}": row[0] for class_id, row in precisions.items()}
    return figures | per_label
