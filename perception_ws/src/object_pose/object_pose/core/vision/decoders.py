"""Network outputs to detections: the layouts that this package and other YOLO trainers export.

Every layout is one float array; candidates below the score threshold are dropped before anything else is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.errors import ModelError
from object_pose.core.params import parameter
from object_pose.core.results.detections import Detections
from object_pose.core.vision.boxes import box_area, box_iou, suppress

Output = NDArray[np.float32]

_MAX_CANDIDATES = 3000  # bounds the time that an untrained or hostile network can take
_FUSE_IOU = 0.7  # looser overlaps are often a neighbouring object of the same class
_MIN_SIGMA_PX = 1e-2
# Another trainer's keypoint with full confidence is taken to be this share of its box's size off.
_VISIBLE_SIGMA = 0.02
_MIN_VISIBILITY = 0.05


class Layout(str, Enum):
    """How a network lays out its one output; N candidates, C classes, K keypoints."""

    OBJECT_POSE_KEYPOINTS = "object_pose_keypoints"  # (1, 4 + C + 3K, N), keypoints as x, y, sigma
    YOLOV5 = "yolov5"  # (1, N, 5 + C)
    YOLOV8_DETECT = "yolov8_detect"  # (1, 4 + C, N)
    YOLOV8_POSE = "yolov8_pose"  # (1, 4 + C + 3K, N), keypoints as x, y, visibility
    END_TO_END = "end_to_end"  # (1, N, 6): x1, y1, x2, y2, score, class
    END_TO_END_POSE = "end_to_end_pose"  # (1, N, 6 + 3K)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class OutputFormat:
    """A layout with its numbers of classes and keypoints."""

    layout: Layout
    class_count: int
    keypoint_count: int = 0

    @property
    def channels(self) -> int:
        """Values per candidate."""
        head = {Layout.YOLOV5: 5 + self.class_count, Layout.END_TO_END: 6, Layout.END_TO_END_POSE: 6}
        return head.get(self.layout, 4 + self.class_count) + 3 * self.keypoint_count

    @property
    def channels_first(self) -> bool:
        """Whether the candidates lie along the last axis."""
        return self.layout in (Layout.OBJECT_POSE_KEYPOINTS, Layout.YOLOV8_DETECT, Layout.YOLOV8_POSE)

    @property
    def is_end_to_end(self) -> bool:
        """Whether the network suppresses duplicates itself."""
        return self.layout in (Layout.END_TO_END, Layout.END_TO_END_POSE)

    def __str__(self) -> str:
        shape = f"(1, {self.channels}, N)" if self.channels_first else f"(1, N, {self.channels})"
        return f"{self.layout} {shape}"

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an output of ``shape`` is in this format."""
        return len(shape) == 3 and shape[0] == 1 and shape[1 if self.channels_first else 2] == self.channels

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ``ModelError`` where an output of ``shape`` is not in this format."""
        if not self.accepts(shape):
            raise ModelError(
                f"the network's output has shape {shape}, expected {self} "
                f"for {self.class_count} classes and {self.keypoint_count} keypoints"
            )


@dataclass(frozen=True)
class DecodeOptions:
    """Which candidates become results; ``layout`` and ``keypoint_count`` are the model card's, not a user's."""

    score_threshold: float = parameter(0.3, "detections below this score are dropped", minimum=0.0, maximum=1.0)
    iou_threshold: float = parameter(
        0.5, "boxes of one class that overlap by more are one object", minimum=0.0, maximum=1.0
    )
    max_detections: int = parameter(100, "at most this many detections a frame", minimum=1, maximum=10000)
    fuse_keypoints: bool = parameter(True, "average keypoints over the candidates that agree on an object")
    candidate_threshold: float = parameter(
        0.05, "with a RoI head: candidates above this score are refined by it", minimum=0.0, maximum=1.0
    )
    context_crop: bool = parameter(
        False, "with a RoI head: refine a wider crop too; twice the time, more poses of occluded objects"
    )
    hypothesis_threshold: float = parameter(
        1.0,
        "with a RoI head: further keypoint hypotheses of a candidate are kept from this weight on, 1 for none",
        minimum=0.01,
        maximum=1.0,
    )
    visible_masks: bool = parameter(
        False, "with a RoI head: predict visible masks, too, which contours use where contour.use_masks says so"
    )
    input_scale: float = parameter(
        1.0,
        "a network of dynamic input size reads an image at its own size, up to this many times the usual one",
        minimum=1.0,
        maximum=4.0,
    )
    extra_scales: int = parameter(
        0,
        "a network of dynamic input size also runs at so many smaller scales (multi-scale test-time augmentation), "
        "each three quarters of the one before: more candidates in blurred or noisy images, and more false ones",
        minimum=0,
        maximum=4,
    )
    layout: str = ""
    keypoint_count: int = 0


@dataclass(frozen=True)
class _Candidates:
    """Candidates (N, ...) in network pixels, above the score threshold, not yet suppressed."""

    boxes: Array
    scores: Array
    class_ids: NDArray[np.int64]
    keypoints: Array
    sigmas: Array

    def plausible(self) -> _Candidates:
        """Return the candidates whose box is not empty, at most a few thousand."""
        index = np.flatnonzero(box_area(self.boxes) > 0)
        if len(index) > _MAX_CANDIDATES:
            index = index[np.argsort(-self.scores[index], kind="stable")[:_MAX_CANDIDATES]]
        return _Candidates(
            self.boxes[index], self.scores[index], self.class_ids[index], self.keypoints[index], self.sigmas[index]
        )


def decode(form: OutputFormat, output: Output, options: DecodeOptions) -> Detections:
    """Read detections in network pixels from one network output.

    Our own layout's keypoints are fused over the candidates that overlap a survivor (IoU > 0.7, same class), weighted
    by score / sigma^2. Their errors go together, so the fused sigma is a weighted mean, not the mean's standard error.
    Raises ``ModelError`` when the output is not of ``form``.
    """
    form.check(output.shape)
    rows = output[0].T if form.channels_first else output[0]
    read = _READERS[form.layout]
    found = read(form, rows, options.score_threshold).plausible()
    if form.is_end_to_end:
        kept = np.argsort(-found.scores, kind="stable")[: options.max_detections]
        owner = np.full(len(found.scores), -1)
    else:
        kept, owner = suppress(
            found.boxes, found.scores, found.class_ids, options.iou_threshold, options.max_detections
        )
    keypoints, sigmas = found.keypoints[kept], found.sigmas[kept]
    if options.fuse_keypoints and form.layout is Layout.OBJECT_POSE_KEYPOINTS:
        keypoints, sigmas = _fuse(found, kept, owner)
    scores = np.clip(found.scores[kept], 0.0, 1.0)
    return Detections(found.boxes[kept], scores, found.class_ids[kept], keypoints, sigmas)


def merge_scales(scales: Sequence[Detections], options: DecodeOptions) -> Detections:
    """Return what was found at several scales of one image, each object once, the best first."""
    found = Detections.join(scales)
    kept, _ = suppress(found.boxes_xyxy, found.scores, found.class_ids, options.iou_threshold, options.max_detections)
    return replace(found.select(kept), candidate_ids=np.arange(len(kept)))


def _fuse(found: _Candidates, kept: NDArray[np.int64], owner: NDArray[np.int64]) -> tuple[Array, Array]:
    keypoints, sigmas = found.keypoints[kept], found.sigmas[kept]
    for position, best in enumerate(kept):
        members = np.flatnonzero(owner == position)
        members = members[box_iou(found.boxes[best : best + 1], found.boxes[members])[0] > _FUSE_IOU]
        weights = found.scores[members, None] / found.sigmas[members] ** 2
        total = weights.sum(axis=0)
        keypoints[position] = (weights[..., None] * found.keypoints[members]).sum(axis=0) / total[:, None]
        sigmas[position] = np.sqrt(found.scores[members].sum() / total)
    return keypoints, sigmas


def _read_anchors(form: OutputFormat, rows: Output, score_threshold: float) -> _Candidates:
    """Read v8-like rows (N, 4 + C + 3K): centre and size, class probabilities, keypoints of three values."""
    end = 4 + form.class_count
    best = rows[:, 4:end].max(axis=1)
    picked = _finite(rows[best > score_threshold])
    third = picked[:, end:].reshape(len(picked), form.keypoint_count, 3)
    boxes = _xyxy(picked[:, :4])
    if form.layout is Layout.OBJECT_POSE_KEYPOINTS:
        sigmas = np.maximum(third[..., 2], _MIN_SIGMA_PX)
    else:
        sigmas = _sigma_of_visibility(third[..., 2], boxes)
    classes = picked[:, 4:end]
    return _Candidates(boxes, classes.max(axis=1), classes.argmax(axis=1), third[..., :2], sigmas)


def _read_yolov5(form: OutputFormat, rows: Output, score_threshold: float) -> _Candidates:
    """Read (N, 5 + C) rows: centre and size, objectness, class probabilities given an object."""
    likely = _finite(rows[rows[:, 4] > score_threshold])
    classes = likely[:, 5:] * likely[:, 4:5]
    scores = classes.max(axis=1)
    picked = scores > score_threshold
    return _without_keypoints(_xyxy(likely[picked, :4]), scores[picked], classes[picked].argmax(axis=1))


def _read_end_to_end(form: OutputFormat, rows: Output, score_threshold: float) -> _Candidates:
    """Read (N, 6 + 3K) rows: corners, score, class, keypoints as x, y, visibility."""
    in_range = (rows[:, 5] >= 0) & (rows[:, 5] < form.class_count)
    picked = _finite(rows[(rows[:, 4] > score_threshold) & in_range])
    boxes = picked[:, :4]
    third = picked[:, 6:].reshape(len(picked), form.keypoint_count, 3)
    sigmas = _sigma_of_visibility(third[..., 2], boxes)
    return _Candidates(boxes, picked[:, 4], picked[:, 5].astype(np.int64), third[..., :2], sigmas)


_READERS = {
    Layout.OBJECT_POSE_KEYPOINTS: _read_anchors,
    Layout.YOLOV5: _read_yolov5,
    Layout.YOLOV8_DETECT: _read_anchors,
    Layout.YOLOV8_POSE: _read_anchors,
    Layout.END_TO_END: _read_end_to_end,
    Layout.END_TO_END_POSE: _read_end_to_end,
}


def _finite(rows: Output) -> Array:
    return rows[np.isfinite(rows).all(axis=1)].astype(np.float64)


def _without_keypoints(boxes: Array, scores: Array, class_ids: NDArray[np.int64]) -> _Candidates:
    count = len(scores)
    return _Candidates(boxes, scores, class_ids, np.zeros((count, 0, 2)), np.zeros((count, 0)))


def _xyxy(cxcywh: Array) -> Array:
    half = 0.5 * cxcywh[:, 2:]
    return np.concatenate([cxcywh[:, :2] - half, cxcywh[:, :2] + half], axis=1)


def _sigma_of_visibility(visibility: Array, boxes: Array) -> Array:
    """Pixels of one standard deviation: 2 % of the box's size for a certain keypoint, more as confidence falls."""
    size = np.sqrt(box_area(boxes))[:, None]
    return np.asarray(_VISIBLE_SIGMA * size / np.clip(visibility, _MIN_VISIBILITY, 1.0))
