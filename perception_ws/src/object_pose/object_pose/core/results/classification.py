"""What a whole image shows: how probable each class is, and where the network saw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

import numpy as np
from numpy.typing import NDArray

from object_pose.core.results.schema import ClassId, Number, Point, Score, number

# Names of the class that is the absence of every other, which a folder of images may use.
NORMAL_LABELS = ("undamaged", "intact", "normal", "good", "ok")

_SUM_TOLERANCE = 1e-3


class AttentionPeakJson(TypedDict):
    """Where the attention is greatest."""

    point_px: Point
    value: Score


class ClassificationJson(TypedDict):
    """The class of a whole image."""

    class_id: ClassId
    class_name: str
    score: Score
    probabilities: Annotated[dict[str, Number], {"description": "of each class, by its name"}]
    attention_peak: AttentionPeakJson


@dataclass(frozen=True)
class Classification:
    """``probabilities`` (C,) of the labels in their order, and ``attention`` (H, W) float32 in [0, 1].

    The attention is in pixels of the image: the probability that what is seen there speaks for a class other than the
    normal one. Raises ``ValueError`` where a shape is wrong or the probabilities do not sum to 1.
    """

    probabilities: NDArray[np.float64]
    attention: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 1 or len(self.probabilities) == 0:
            raise ValueError(f"probabilities must have shape (C,), C at least 1, got {self.probabilities.shape}")
        if self.attention.ndim != 2 or self.attention.size == 0:
            raise ValueError(f"attention must have shape (H, W), both at least 1, got {self.attention.shape}")
        if not abs(float(self.probabilities.sum()) - 1.0) < _SUM_TOLERANCE:
            raise ValueError(f"probabilities must sum to 1, got {float(self.probabilities.sum())}")

    @property
    def class_id(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def score(self) -> float:
        """How probable the most probable class is."""
        return float(self.probabilities.max())

    def to_json(self, labels: Sequence[str]) -> ClassificationJson:
        """Return the likeliest class, all probabilities, and where the attention is greatest."""
        row, column = np.unravel_index(int(self.attention.argmax()), self.attention.shape)
        return {
            "class_id": self.class_id,
            "class_name": labels[self.class_id],
            "score": number(self.score),
            "probabilities": {name: number(value) for name, value in zip(labels, self.probabilities)},
            "attention_peak": {"point_px": [int(column), int(row)], "value": number(self.attention.max())},
        }


def normal_class(labels: Sequence[str]) -> int | None:
    """Return which label is the absence of the others ('undamaged', 'good', ...), None where no name says so."""
    names = [label.lower() for label in labels]
    return next((names.index(name) for name in NORMAL_LABELS if name in names), None)


def confusion_matrix(predicted: NDArray[np.integer], true: NDArray[np.integer], class_count: int) -> NDArray[np.int64]:
    """Count images by true class (rows) and predicted class (columns) from two (N,) arrays of class ids."""
    counts = np.zeros((class_count, class_count), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def roc_auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores above a negative, ties counting half; NaN without one of either."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    _, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * (counts - 1))[index]
    return float((ranks[positive].sum() - 0.5 * positives * (positives + 1)) / (positives * negatives))


def score_classes(
    probabilities: NDArray[np.floating], true: NDArray[np.integer], labels: Sequence[str]
) -> dict[str, float]:
    """Return accuracy, and recall, precision and area under the ROC curve of each label.

    ``probabilities`` are (N, C), ``true`` (N,) class ids. A recall without images and a precision without predictions
    are NaN. ``count_TRUE_as_PREDICTED`` are the confusions; ``roc_auc`` is that of the first label when there are two.
    """
    predicted = probabilities.argmax(axis=1) if len(probabilities) else np.zeros(0, dtype=np.int64)
    counts = confusion_matrix(predicted, true, len(labels))
    figures = {"accuracy": _ratio(np.trace(counts), counts.sum())}
    for index, label in enumerate(labels):
        figures[f"recall_{label}"] = _ratio(counts[index, index], counts[index].sum())
        figures[f"precision_{label}"] = _ratio(counts[index, index], counts[:, index].sum())
        if len(labels) > 2 and len(true):
            figures[f"roc_auc_{label}"] = roc_auc(probabilities[:, index], true == index)
    if len(labels) == 2:
        figures["roc_auc"] = roc_auc(probabilities[:, 0], true == 0)
    for row, label in enumerate(labels):
        for column, other in enumerate(labels):
            figures[f"count_{label}_as_{other}"] = float(counts[row, column])
    return figures


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
