"""Copy-paste: labelled objects of one photograph, with a soft edge, in another (Dwibedi 2017, "Cut, Paste and Learn").

Objects of rare classes are pasted more often than they occur: a class is drawn by the square root of its frequency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.vision.boxes import box_area, box_intersection
from object_pose.training.data.augmentation import DetectionSample, flipped

_MOST_OBJECTS = 4
_SCALES = (0.4, 1.3)
# Of its box's sides, how much more of the photograph comes along and fades out; of the image, how large it may become.
_MARGIN, _LARGEST = 0.12, 0.6
_MOST_COVERED = 0.3  # of another object's box
_TRIES = 8


class CopyPaste:
    """Pastes objects of a data set: ``class_ids`` has the (M,) of each image, and ``read`` reads one by its number."""

    def __init__(self, class_ids: Sequence[NDArray[np.int64]], read: Callable[[int], DetectionSample]) -> None:
        self._read = read
        self._places: dict[int, list[tuple[int, int]]] = {}
        for image, ids in enumerate(class_ids):
            for number, class_id in enumerate(ids.tolist()):
                self._places.setdefault(class_id, []).append((image, number))
        self._classes = sorted(self._places)
        chances = np.sqrt([len(self._places[class_id]) for class_id in self._classes])
        self._chances = chances / max(chances.sum(), 1e-9)

    def __call__(self, sample: DetectionSample, rng: np.random.Generator) -> DetectionSample:
        """Return the sample with up to four more objects, fewer where there is no room for them."""
        if not self._classes:
            return sample
        sample = replace(sample, image=sample.image.copy(), depth=None, owners=None, visibilities=None)
        for _ in range(int(rng.integers(1, _MOST_OBJECTS + 1))):
            places = self._places[self._classes[int(rng.choice(len(self._classes), p=self._chances))]]
            image, number = places[int(rng.integers(len(places)))]
            sample = _pasted(sample, cut_out(self._read(image), number), rng)
        return sample


def cut_out(sample: DetectionSample, number: int) -> DetectionSample:
    """Return the surroundings of one object with the boxes that lie wholly in them, its own first."""
    box = sample.boxes_xyxy[number]
    margin = np.maximum(_MARGIN * np.tile(box[2:] - box[:2], 2), 2.0) * (-1, -1, 1, 1)
    last = np.subtract(sample.image.shape[1::-1], 1)
    left, top, right, bottom = np.clip(np.rint(box + margin).astype(int), 0, np.tile(last, 2)).tolist()
    boxes = sample.boxes_xyxy - np.array([left, top, left, top])
    low, high = boxes[:, :2] >= -0.5, boxes[:, 2:] <= np.array([right - left, bottom - top]) + 0.5
    numbers = [number, *(int(i) for i in np.flatnonzero((low & high).all(axis=1)) if i != number)]
    return DetectionSample(
        sample.image[top : bottom + 1, left : right + 1],
        boxes[numbers],
        sample.class_ids[numbers],
        sample.keypoints[numbers],
    )


def _pasted(sample: DetectionSample, piece: DetectionSample, rng: np.random.Generator) -> DetectionSample:
    """Paste a piece at a random size and place into the sample's own image; where none is free, nothing is pasted."""
    image_wh = np.array(sample.image.shape[1::-1])
    piece_wh = np.array(piece.image.shape[1::-1])
    scale = float(np.exp(rng.uniform(*np.log(_SCALES))))
    scale = min(scale, *(_LARGEST * image_wh / piece_wh))
    wh = np.maximum(np.rint(piece_wh * scale).astype(int), 3)
    factor = np.tile(wh / piece_wh, 2)
    if rng.random() < 0.5:
        piece = flipped(piece)
    boxes = (piece.boxes_xyxy + 0.5) * factor - 0.5
    corner = _free_place(boxes, image_wh - wh, sample.boxes_xyxy, rng)
    if corner is None:
        return sample
    (left, top), (width, height) = corner, wh.tolist()
    shrinks = scale < 1.0
    pixels = cv2.resize(piece.image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    opacity = _opacity(width, height, boxes[0])[..., None]
    target = sample.image[top : top + height, left : left + width]
    target[:] = np.rint(opacity * pixels + (1.0 - opacity) * target).astype(np.uint8)
    return replace(
        sample,
        boxes_xyxy=np.concatenate([sample.boxes_xyxy, boxes + np.tile(corner, 2)]),
        class_ids=np.concatenate([sample.class_ids, piece.class_ids]),
        keypoints=np.concatenate([sample.keypoints, piece.keypoints]),
    )


def _free_place(boxes: Array, slack: NDArray[np.int64], others: Array, rng: np.random.Generator) -> list[int] | None:
    """Return a corner (x, y) at which the first box covers little of any other, None where none is found."""
    for _ in range(_TRIES):
        corner = rng.integers(0, np.maximum(slack, 0) + 1)
        covered = box_intersection(boxes[:1] + np.tile(corner, 2), others)[0]
        if (covered <= _MOST_COVERED * np.maximum(box_area(others), 1.0)).all():
            return [int(value) for value in corner]
    return None


def _opacity(width: int, height: int, box: Array) -> NDArray[np.float32]:
    """Return (H, W): 1 within the box, falling to 0 at the edges of the piece."""
    sides = []
    for size, low, high in ((width, box[0], box[2]), (height, box[1], box[3])):
        places = np.arange(size)
        rising = (places + 1) / max(low + 1.0, 1.0)
        falling = (size - places) / max(size - high, 1.0)
        sides.append(np.clip(np.minimum(rising, falling), 0.0, 1.0))
    return np.outer(sides[1], sides[0]).astype(np.float32)
