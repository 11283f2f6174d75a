"""Labelled photographs on disk as training samples: resampled once, and split so that no recording is on both sides."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.core.vision.image import Letterbox, letterbox
from object_pose.io.datasets.samples import LabelledBoxes
from object_pose.io.images import read_image
from object_pose.training.data.augmentation import DetectionSample

# What Roboflow puts behind a file's name when it exports a data set.
_EXPORT_SUFFIX = re.compile(r"_(jpe?g|png|bmp|webp)(_jpg)?\.rf\.[0-9a-f]+$")
_FRAME_NUMBER = re.compile(r"[ _.\-]*\d+$")


@dataclass(frozen=True)
class DiskSource:
    """Endless shuffled passes over labelled image files, ``zoom`` times as large as the letterbox would make them.

    Every data process decodes an image once and keeps it, ``kept_pixels`` pixels of them in all.
    """

    images: tuple[LabelledBoxes, ...]
    input_wh: tuple[int, int]
    zoom: float
    kept_pixels: int = 400_000_000

    def __call__(self, rng: np.random.Generator) -> Iterator[DetectionSample]:
        """Yield samples for ever; raises ``DataError`` where a file can no longer be read."""
        kept: dict[int, DetectionSample] = {}
        free = self.kept_pixels
        while True:
            for index in rng.permutation(len(self.images)):
                sample = kept.get(index) or self._read(self.images[index])
                pixels = sample.image.shape[0] * sample.image.shape[1]
                if index not in kept and pixels <= free:
                    kept[index] = sample
                    free -= pixels
                yield sample

    def _read(self, labelled: LabelledBoxes) -> DetectionSample:
        image = read_image(labelled.path)
        canvas_wh = (round(self.input_wh[0] * self.zoom), round(self.input_wh[1] * self.zoom))
        box = Letterbox.fit((image.shape[1], image.shape[0]), canvas_wh)
        shrinks = box.content_wh[0] < image.shape[1]
        resized = cv2.resize(image, box.content_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        boxes = (labelled.boxes_xyxy + 0.5) * np.tile(box.scale, 2) - 0.5
        return _sample(np.asarray(resized, dtype=np.uint8), boxes, labelled)


def recording_of(path: Path) -> str:
    """Return what the frames of one recording have in common: the name without export suffix and frame number."""
    return _FRAME_NUMBER.sub("", _EXPORT_SUFFIX.sub("", path.stem))


def split_by_recording(
    samples: Sequence[LabelledBoxes], share: float, seed: int = 0
) -> tuple[tuple[LabelledBoxes, ...], tuple[LabelledBoxes, ...]]:
    """Split into (learned, held out) so that no recording is on both sides; at most ``share`` is held out."""
    recordings = defaultdict(list)
    for sample in samples:
        recordings[recording_of(sample.path)].append(sample)
    names = sorted(recordings)
    held: set[str] = set()
    room = round(share * len(samples))
    for index in np.random.default_rng(seed).permutation(len(names)):
        if len(recordings[names[index]]) <= room:
            held.add(names[index])
            room -= len(recordings[names[index]])
    learned = tuple(sample for sample in samples if recording_of(sample.path) not in held)
    return learned, tuple(sample for sample in samples if recording_of(sample.path) in held)


def letterboxed(labelled: LabelledBoxes, input_wh: tuple[int, int]) -> DetectionSample:
    """Read an image as the runtime does, with its boxes in network pixels."""
    canvas, box = letterbox(read_image(labelled.path), input_wh)
    return _sample(canvas, box.to_network(labelled.boxes_xyxy.reshape(-1, 2, 2)).reshape(-1, 4), labelled)


def _sample(image: Image, boxes: Array, labelled: LabelledBoxes) -> DetectionSample:
    return DetectionSample(image, boxes, labelled.class_ids, np.zeros((len(boxes), 0, 2)))
