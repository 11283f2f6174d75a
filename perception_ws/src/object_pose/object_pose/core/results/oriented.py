"""Oriented boxes: the result type, its decoding, and its published score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.results.schema import ClassId, Number, Point, Score, from_numbers, number, numbers

SCORE_THRESHOLD = 0.5


class OrientedBoxJson(TypedDict):
    """One oriented box; see ``OrientedBox``."""

    class_id: ClassId
    class_name: str
    score: Score
    center_px: Point
    size_px: Annotated[list[Number], {"minItems": 2, "maxItems": 2, "description": "across and along the heading"}]
    yaw: Annotated[Number, {"description": "radians; the heading is (sin yaw, cos yaw), x right and y down"}]


class OrientedBoxesJson(TypedDict):
    """The oriented boxes of an image, best first."""

    boxes: list[OrientedBoxJson]


@dataclass(frozen=True)
class OrientedBox:
    """A box of ``width`` across and ``height`` along its heading, centred at (x, y): pixels, radians, score in [0, 1].

    The heading is (sin yaw, cos yaw) with x right and y down; yaw keeps all 360 degrees.
    """

    x: float
    y: float
    yaw: float
    width: float
    height: float
    score: float = 1.0
    class_id: int = 0

    def __post_init__(self) -> None:
        values = (self.x, self.y, self.yaw, self.width, self.height, self.score)
        if not np.isfinite(values).all() or min(self.width, self.height) < 0 or not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a box has finite x, y, yaw, sizes of at least 0 and a score in [0, 1], got {values}")

    def iou(self, other: OrientedBox) -> float:
        """Return the polygon IoU with another box."""
        overlap = _area(_clip(self.corners, other.corners))
        return overlap / max(self.width * self.height + other.width * other.height - overlap, 1e-9)

    def heading_error(self, other: OrientedBox) -> float:
        """Return the angle in [0, pi] between the two headings."""
        return float(abs((self.yaw - other.yaw + np.pi) % (2.0 * np.pi) - np.pi))

    @property
    def corners(self) -> Array:
        """The (4, 2) corners in pixels, in one turning sense."""
        across = np.array([np.cos(self.yaw), -np.sin(self.yaw)]) * self.width / 2
        along = np.array([np.sin(self.yaw), np.cos(self.yaw)]) * self.height / 2
        return np.array([self.x, self.y]) + np.stack([-across - along, across - along, across + along, along - across])


@dataclass(frozen=True)
class OrientedBoxes:
    """The oriented boxes of one image, best first; there may be none."""

    boxes: tuple[OrientedBox, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[OrientedBox]:
        return iter(self.boxes)

    @property
    def best(self) -> OrientedBox | None:
        """The first box, None where there is none."""
        return self.boxes[0] if self.boxes else None

    def to_json(self, labels: Sequence[str]) -> OrientedBoxesJson:
        """Return the boxes; ``labels`` names the class ids."""
        return {
            "boxes": [
                {
                    "class_id": box.class_id,
                    "class_name": labels[box.class_id],
                    "score": number(box.score, 4),
                    "center_px": numbers((box.x, box.y), 2),
                    "size_px": numbers((box.width, box.height), 2),
                    "yaw": number(box.yaw, 5),
                }
                for box in self.boxes
            ]
        }

    @staticmethod
    def from_json(record: OrientedBoxesJson) -> OrientedBoxes:
        """Return what ``to_json`` wrote, to its digits."""
        boxes = []
        for item in record["boxes"]:
            x, y, width, height = from_numbers([*item["center_px"], *item["size_px"]])
            yaw, score = from_numbers([item["yaw"], item["score"]])
            boxes.append(OrientedBox(x, y, yaw, width, height, score, item["class_id"]))
        return OrientedBoxes(tuple(boxes))


def decode_oriented(row: NDArray[np.float32], score_threshold: float) -> OrientedBox | None:
    """Read a network's row (6,), score, x, y, yaw, width, height, as a box if its score is high enough.

    The network's yaw turns the other way: its heading is (-sin yaw, cos yaw).
    """
    score, x, y, yaw, width, height = (float(value) for value in row)
    if not np.isfinite(row).all() or score < score_threshold or min(width, height) <= 0:
        return None
    return OrientedBox(x, y, -yaw % (2.0 * np.pi), width, height, min(max(score, 0.0), 1.0))


@dataclass(frozen=True)
class OrientedScore:
    """The published score (share of counted images with IoU above 0.7), heading accuracy among them, and AP.

    Below ``SCORE_THRESHOLD`` a prediction is none; only average precision ranks it.
    """

    score_iou07: float
    heading_within_15deg: float
    average_precision: float
    mean_iou: float


def score_oriented(
    predictions: Sequence[OrientedBox | None], truths: Sequence[OrientedBox | None], threshold: float = 0.7
) -> OrientedScore:
    """Score predictions image by image: true negatives are dropped, false positives and misses count as IoU 0."""
    ious, headings, ranked = [], [], []
    for predicted, truth in zip(predictions, truths):
        iou = predicted.iou(truth) if predicted is not None and truth is not None else 0.0
        if predicted is not None:
            ranked.append((predicted.score, iou > threshold))
            if predicted.score < SCORE_THRESHOLD:
                predicted, iou = None, 0.0
        if predicted is None and truth is None:
            continue
        ious.append(iou)
        if predicted is not None and truth is not None and iou > threshold:
            headings.append(predicted.heading_error(truth) <= np.radians(15.0))
    positives = sum(truth is not None for truth in truths)
    return OrientedScore(
        float(np.mean(np.array(ious) > threshold)) if ious else 0.0,
        float(np.mean(headings)) if headings else 0.0,
        average_precision(ranked, positives),
        float(np.mean(ious)) if ious else 0.0,
    )


def average_precision(ranked: Sequence[tuple[float, bool]], positives: int) -> float:
    """Return the area under the interpolated precision-recall curve of (score, correct) pairs."""
    if not ranked or positives == 0:
        return 0.0
    correct = np.array([hit for _, hit in sorted(ranked, key=lambda pair: -pair[0])], dtype=np.float64)
    recall = np.cumsum(correct) / positives
    precision = np.cumsum(correct) / np.arange(1, len(correct) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * envelope))


def _clip(polygon: Array, window: Array) -> Array:
    """Clip a convex polygon by a convex window of the same turning sense (Sutherland and Hodgman 1974)."""
    for start, end in zip(window, np.roll(window, -1, axis=0)):
        if not len(polygon):
            break
        edge = end - start
        side = edge[0] * (polygon[:, 1] - start[1]) - edge[1] * (polygon[:, 0] - start[0])
        following, next_side = np.roll(polygon, -1, axis=0), np.roll(side, -1)
        kept: list[Array] = []
        for point, here, beyond, there in zip(polygon, side, following, next_side):
            if here >= 0:
                kept.append(point)
            if (here > 0 > there) or (here < 0 < there):
                kept.append(point + (beyond - point) * (here / (here - there)))
        polygon = np.array(kept)
    return polygon


def _area(polygon: Array) -> float:
    """Return the area of a convex polygon (N, 2) (shoelace formula)."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon[:, 0] - polygon[0, 0], polygon[:, 1] - polygon[0, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
