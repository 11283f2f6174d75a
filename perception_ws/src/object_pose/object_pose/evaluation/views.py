"""What can be shown of each task beyond its figures: how well one case went, its picture, curves and confusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image, Mask
from object_pose.core.metrics.detection import Ranking, rank_boxes
from object_pose.core.results.classification import Classification, confusion_matrix
from object_pose.core.results.detections import Detections
from object_pose.core.results.oriented import SCORE_THRESHOLD, OrientedBoxes
from object_pose.core.results.segmentation import Segmentation
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.drawing import as_picture, draw_detections, draw_mask, side_by_side
from object_pose.tasks.classify import CLASSIFY
from object_pose.tasks.detect import DETECT
from object_pose.tasks.oriented import ORIENTED
from object_pose.tasks.pose import PoseTruth, true_detections

Labels = Sequence[str]
_MATCH_IOU = 0.5
NOTHING = "nothing"
_PROBABILITY_STEPS = 200


@dataclass(frozen=True)
class Curve:
    """Precision over recall, each (N,)."""

    recall: Array
    precision: Array

    @classmethod
    def of(cls, ranking: Ranking) -> Curve:
        """Return the curve of ranked answers."""
        return cls(ranking.recall, ranking.precision)


@dataclass(frozen=True)
class Confusion:
    """How often the class of a row (truth) was called that of a column: ``counts`` (N, N) of ``names``."""

    names: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """``quality`` says in [0, 1] how well one sample went; ``draw`` puts image, truth and prediction side by side."""

    quality: Callable[[Any, Any], float]
    draw: Callable[[NDArray[np.generic], Any, Any, Labels], Image]
    curves: Callable[[Sequence[Any], Sequence[Any], Labels], Mapping[str, Curve]]
    confusion: Callable[[Sequence[Any], Sequence[Any], Labels], Confusion]


def _likely(result: Detections) -> Detections:
    """Return the detections that a user would see, of all that a ranking is made of."""
    return result.select(result.scores >= DETECT.options.score_threshold).likeliest()


def _matched(result: Detections, truth: Detections) -> list[tuple[int, int]]:
    """Pair detections, best first, with the free truth of any class that each overlaps most: (detection, truth)."""
    overlap = box_iou(result.boxes_xyxy, truth.boxes_xyxy)
    pairs: list[tuple[int, int]] = []
    for index in np.argsort(-result.scores, kind="stable"):
        if overlap.size and overlap[index].max() >= _MATCH_IOU:
            best = int(overlap[index].argmax())
            overlap[:, best] = 0.0
            pairs.append((int(index), best))
    return pairs


def _box_quality(result: Detections, truth: Detections) -> float:
    """F1 of the boxes that a user would see."""
    seen = _likely(result)
    right = sum(seen.class_ids[i] == truth.class_ids[j] for i, j in _matched(seen, truth))
    total = len(seen) + len(truth)
    return float(2.0 * right / total) if total else 1.0


def _draw_boxes(image: NDArray[np.generic], result: Detections, truth: Detections, labels: Labels) -> Image:
    rgb = as_picture(image)
    true, predicted = draw_detections(rgb, truth, labels), draw_detections(rgb, _likely(result), labels)
    return side_by_side([("truth", true), ("prediction", predicted)])


def _box_curves(results: Sequence[Detections], truths: Sequence[Detections], labels: Labels) -> dict[str, Curve]:
    present = sorted({int(class_id) for truth in truths for class_id in truth.class_ids})
    return {labels[class_id]: Curve.of(rank_boxes(results, truths, class_id)[0]) for class_id in present}


def _box_confusion(results: Sequence[Detections], truths: Sequence[Detections], labels: Labels) -> Confusion:
    nothing = len(labels)
    counts = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    for result, truth in zip(map(_likely, results), truths):
        pairs = _matched(result, truth)
        called = {j: int(result.class_ids[i]) for i, j in pairs}
        for index, class_id in enumerate(truth.class_ids):
            counts[class_id, called.get(index, nothing)] += 1
        false = set(range(len(result))) - {i for i, _ in pairs}
        for index in false:
            counts[nothing, result.class_ids[index]] += 1
    return Confusion((*labels, NOTHING), counts)


def _pose_quality(result: Detections, truth: PoseTruth) -> float:
    return _box_quality(result, true_detections(truth))


def _draw_pose(image: NDArray[np.generic], result: Detections, truth: PoseTruth, labels: Labels) -> Image:
    return _draw_boxes(image, result, true_detections(truth), labels)


def _pose_curves(results: Sequence[Detections], truths: Sequence[PoseTruth], labels: Labels) -> dict[str, Curve]:
    likeliest = [result.likeliest() for result in results]
    return _box_curves(likeliest, [true_detections(truth) for truth in truths], labels)


def _pose_confusion(results: Sequence[Detections], truths: Sequence[PoseTruth], labels: Labels) -> Confusion:
    return _box_confusion(results, [true_detections(truth) for truth in truths], labels)


def _oriented_quality(result: OrientedBoxes, truth: OrientedBoxes) -> float:
    """IoU, halved where the heading is the wrong way round; 1 where rightly nothing was found."""
    found, true = _sure(result).best, truth.best
    if found is None or true is None:
        return float(found is true)
    return found.iou(true) * (0.5 if found.heading_error(true) > np.pi / 2 else 1.0)


def _sure(result: OrientedBoxes) -> OrientedBoxes:
    return OrientedBoxes(tuple(box for box in result if box.score >= SCORE_THRESHOLD))


def _draw_oriented(image: NDArray[np.generic], result: OrientedBoxes, truth: OrientedBoxes, labels: Labels) -> Image:
    rgb = as_picture(image)
    pictures = [("image", rgb), ("truth", ORIENTED.draw(rgb, truth, labels))]
    return side_by_side([*pictures, ("prediction", ORIENTED.draw(rgb, _sure(result), labels))])


def _oriented_curves(
    results: Sequence[OrientedBoxes], truths: Sequence[OrientedBoxes], labels: Labels
) -> dict[str, Curve]:
    pairs = [(box, truth.best) for result, truth in zip(results, truths) for box in result]
    answers = [(box.score, true is not None and box.iou(true) > 0.7) for box, true in pairs]
    scores, correct = np.array([score for score, _ in answers]), np.array([hit for _, hit in answers], dtype=bool)
    return {labels[0]: Curve.of(Ranking.of(scores, correct, sum(map(len, truths))))}


def _oriented_confusion(results: Sequence[OrientedBoxes], truths: Sequence[OrientedBoxes], labels: Labels) -> Confusion:
    counts = np.zeros((2, 2), dtype=np.int64)
    for result, truth in zip(results, truths):
        counts[int(not truth), int(not _sure(result))] += 1
    return Confusion((labels[0], NOTHING), counts)


def _class_quality(result: Classification, truth: int) -> float:
    return float(result.probabilities[truth])


def _draw_class(image: NDArray[np.generic], result: Classification, truth: int, labels: Labels) -> Image:
    rgb = as_picture(image)
    return side_by_side([(f"truth: {labels[truth]}", rgb), ("attention", CLASSIFY.draw(rgb, result, labels))])


def _class_curves(results: Sequence[Classification], truths: Sequence[int], labels: Labels) -> dict[str, Curve]:
    probabilities = np.array([result.probabilities for result in results], dtype=np.float64)
    true = np.asarray(truths)
    return {
        label: Curve.of(Ranking.of(probabilities[:, index], true == index, int((true == index).sum())))
        for index, label in enumerate(labels)
    }


def _class_confusion(results: Sequence[Classification], truths: Sequence[int], labels: Labels) -> Confusion:
    predicted = np.array([result.class_id for result in results])
    return Confusion(tuple(labels), confusion_matrix(predicted, np.asarray(truths), len(labels)))


def _mask_quality(result: Segmentation, truth: Mask) -> float:
    """Share of the pixels that are right: one stray pixel where nothing is costs no more than elsewhere."""
    return float((result.mask == truth).mean())


def _draw_masks(image: NDArray[np.generic], result: Segmentation, truth: Mask, labels: Labels) -> Image:
    rgb = as_picture(image)
    pictures = [("RGB", rgb), ("truth", draw_mask(rgb, truth))]
    return side_by_side([*pictures, ("prediction", draw_mask(rgb, result.mask))])


def _mask_curves(results: Sequence[Segmentation], truths: Sequence[Mask], labels: Labels) -> dict[str, Curve]:
    """Precision and recall of pixels at evenly spaced thresholds, from the strictest down."""
    edges = np.linspace(0.0, 1.0, _PROBABILITY_STEPS + 1)
    right, wrong = np.zeros(_PROBABILITY_STEPS), np.zeros(_PROBABILITY_STEPS)
    for result, truth in zip(results, truths):
        right += np.histogram(result.probability[truth], edges)[0]
        wrong += np.histogram(result.probability[~truth], edges)[0]
    found, false = np.cumsum(right[::-1]), np.cumsum(wrong[::-1])
    return {labels[0]: Curve(found / max(found[-1], 1.0), found / np.maximum(found + false, 1.0))}


def _mask_confusion(results: Sequence[Segmentation], truths: Sequence[Mask], labels: Labels) -> Confusion:
    counts = np.zeros((2, 2), dtype=np.int64)
    for result, truth in zip(results, truths):
        for row, column in np.ndindex(2, 2):
            counts[row, column] += int(((truth == (row == 0)) & (result.mask == (column == 0))).sum())
    return Confusion((labels[0], NOTHING), counts)


VIEWS: dict[str, View] = {
    "detect": View(_box_quality, _draw_boxes, _box_curves, _box_confusion),
    "pose": View(_pose_quality, _draw_pose, _pose_curves, _pose_confusion),
    "oriented": View(_oriented_quality, _draw_oriented, _oriented_curves, _oriented_confusion),
    "classify": View(_class_quality, _draw_class, _class_curves, _class_confusion),
    "segment": View(_mask_quality, _draw_masks, _mask_curves, _mask_confusion),
}
