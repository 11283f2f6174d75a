"""Boxes with classes, keypoints and visible masks, as a detector finds them in one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, expect_shape
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.schema import BoxXyxy, ClassId, Number, Score, from_number, from_numbers, number, numbers

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class VisibleMask:
    """Where one object is seen: ``probabilities`` (M, M) of the cells of its ``window`` (3,); see ``VisibleMasks``."""

    probabilities: Probabilities
    window: Array

    def over(self, corner: NDArray[np.intp], shape: tuple[int, int]) -> Probabilities:
        """Return the share of each pixel (h, w) of an image's part that is the object's; none outside the window.

        ``corner`` (2,) is the first pixel of the part, x and y; ``shape`` its height and width.
        """
        x, y, side = self.window
        cell = side / len(self.probabilities)
        first = np.array([x, y]) - 0.5 * (side - cell) - corner
        matrix = np.array([[cell, 0.0, first[0]], [0.0, cell, first[1]]])
        part = cv2.warpAffine(self.probabilities, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
        return np.asarray(part, dtype=np.float32)


@dataclass(frozen=True)
class VisibleMasks:
    """Where N objects are seen, each in a square window of the image.

    ``probabilities`` (N, M, M) float32 in [0, 1]: how far an object fills each cell of its window; ``windows``
    (N, 3): x and y of the middle and side, in pixels. M is 0 where none is known.
    """

    probabilities: Probabilities
    windows: Array

    def __post_init__(self) -> None:
        count, cells = len(self.windows), self.probabilities.shape[-1]
        if self.probabilities.shape != (count, cells, cells) or self.windows.shape != (count, 3):
            got = f"{self.probabilities.shape}, {self.windows.shape}"
            raise ValueError(f"probabilities and windows must have shapes (N, M, M) and (N, 3), got {got}")

    def __getitem__(self, index: int) -> VisibleMask | None:
        """Return the mask of one object, None where it is not known."""
        return VisibleMask(self.probabilities[index], self.windows[index]) if self.probabilities.size else None

    def select(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> VisibleMasks:
        """Return the masks that an index or mask picks."""
        return VisibleMasks(self.probabilities[index], self.windows[index])

    def undistorted(self, camera: Camera) -> VisibleMasks:
        """Return the masks in undistorted pixels; within a window the lens is taken to shift and scale only."""
        middles, half = self.windows[:, :2], 0.5 * self.windows[:, 2:]
        low, middles, high = (camera.undistort(points) for points in (middles - half, middles, middles + half))
        sides = np.sqrt(np.prod(high - low, axis=1, keepdims=True))
        return VisibleMasks(self.probabilities, np.concatenate([middles, sides], axis=1))

    @staticmethod
    def join(parts: Sequence[VisibleMasks]) -> VisibleMasks:
        """Return the masks of several batches, one after the other; all have equally many cells."""
        return VisibleMasks(
            np.concatenate([part.probabilities for part in parts]), np.concatenate([part.windows for part in parts])
        )

    @staticmethod
    def unknown(count: int) -> VisibleMasks:
        """Return ``count`` masks of which nothing is known."""
        return VisibleMasks(np.zeros((count, 0, 0), dtype=np.float32), np.zeros((count, 3)))


_NO_IDS: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
_NO_MASKS = VisibleMasks.unknown(0)


class DetectionJson(TypedDict):
    """One detection; see ``Detections.to_json``."""

    class_id: ClassId
    class_name: str
    score: Score
    box_xyxy: BoxXyxy
    keypoints_px: Annotated[
        list[Annotated[list[Number], {"minItems": 3, "maxItems": 3}]],
        {"description": "x, y and standard deviation of each keypoint, in pixels of the image"},
    ]


class DetectionsJson(TypedDict):
    """The detections of an image, best first."""

    detections: list[DetectionJson]


@dataclass(frozen=True)
class Detections:
    """Detections of one image, as arrays of equal length N (N may be 0).

    ``boxes_xyxy`` (N, 4) in pixels of the original image, ``scores`` (N,) in [0, 1], ``class_ids`` (N,) int,
    ``keypoints`` (N, K, 2) pixels and ``keypoint_sigmas`` (N, K) pixels, one standard deviation; K may be 0.
    ``candidate_ids`` (N,): detections that share one are hypotheses of one candidate, of which at most one is right;
    where none are given, each detection is a candidate of its own. ``masks`` are the visible masks.
    """

    boxes_xyxy: Array
    scores: Array
    class_ids: NDArray[np.int64]
    keypoints: Array
    keypoint_sigmas: Array
    candidate_ids: NDArray[np.int64] = field(default_factory=lambda: _NO_IDS)
    masks: VisibleMasks = field(default_factory=lambda: _NO_MASKS)

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.candidate_ids is _NO_IDS:
            object.__setattr__(self, "candidate_ids", np.arange(count))
        if self.masks is _NO_MASKS:
            object.__setattr__(self, "masks", VisibleMasks.unknown(count))
        expect_shape("masks", self.masks.windows, (count, 3))
        expect_shape("candidate_ids", self.candidate_ids, (count,))
        expect_shape("boxes_xyxy", self.boxes_xyxy, (count, 4))
        expect_shape("scores", self.scores, (count,))
        expect_shape("class_ids", self.class_ids, (count,))
        expect_shape("keypoints", self.keypoints, (count, None, 2))
        expect_shape("keypoint_sigmas", self.keypoint_sigmas, (count, self.keypoints.shape[1]))

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Detections:
        """Return the detections that an index or mask picks."""
        return Detections(
            self.boxes_xyxy[index],
            self.scores[index],
            self.class_ids[index],
            self.keypoints[index],
            self.keypoint_sigmas[index],
            self.candidate_ids[index],
            self.masks.select(index),
        )

    def to_json(self, labels: Sequence[str]) -> DetectionsJson:
        """Return the best hypothesis of each candidate; ``labels`` names the class ids."""
        best = self.likeliest()
        keypoints = np.concatenate([best.keypoints, best.keypoint_sigmas[..., None]], axis=2)
        return {
            "detections": [
                {
                    "class_id": int(class_id),
                    "class_name": labels[class_id],
                    "score": number(score, 4),
                    "box_xyxy": numbers(box, 2),
                    "keypoints_px": [numbers(point, 2) for point in points],
                }
                for class_id, score, box, points in zip(best.class_ids, best.scores, best.boxes_xyxy, keypoints)
            ]
        }

    @staticmethod
    def from_json(record: DetectionsJson) -> Detections:
        """Return what ``to_json`` wrote, to its digits; further hypotheses and masks are not in it."""
        found = record["detections"]
        if not found:
            return Detections.empty()
        keypoints = np.array([[from_numbers(p) for p in item["keypoints_px"]] for item in found], dtype=np.float64)
        keypoints = keypoints.reshape(len(found), -1, 3)
        return Detections(
            np.array([from_numbers(item["box_xyxy"]) for item in found]),
            np.array([from_number(item["score"]) for item in found]),
            np.array([item["class_id"] for item in found], dtype=np.int64),
            keypoints[..., :2],
            keypoints[..., 2],
        )

    def likeliest(self) -> Detections:
        """Return the best hypothesis of each candidate, in the order of the detections."""
        by_score = np.argsort(-self.scores, kind="stable")
        _, firsts = np.unique(self.candidate_ids[by_score], return_index=True)
        return self.select(np.sort(by_score[firsts]))

    @staticmethod
    def join(parts: Sequence[Detections]) -> Detections:
        """Return the detections of several batches, joined; keypoint counts are equal, candidates shared."""
        return Detections(
            np.concatenate([part.boxes_xyxy for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.class_ids for part in parts]),
            np.concatenate([part.keypoints for part in parts]),
            np.concatenate([part.keypoint_sigmas for part in parts]),
            np.concatenate([part.candidate_ids for part in parts]),
            VisibleMasks.join([part.masks for part in parts]),
        )

    @staticmethod
    def empty(keypoint_count: int = 0) -> Detections:
        """Return no detections, with the shapes that a model of ``keypoint_count`` keypoints has."""
        return Detections(
            np.zeros((0, 4)),
            np.zeros(0),
            np.zeros(0, dtype=np.int64),
            np.zeros((0, keypoint_count, 2)),
            np.zeros((0, keypoint_count)),
        )
