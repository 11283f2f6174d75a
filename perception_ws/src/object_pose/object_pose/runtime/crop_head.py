"""The detector's second look: each candidate's window to its class, its score and its keypoints.

It reads colour and, where there is depth, the relief about the object; older heads read colour alone. The network
travels inside the detector's model file, so that one file is one model.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from object_pose.core.crops import COLOR_CHANNELS, RELIEF_CHANNELS, CropWindow, normalised_batch
from object_pose.core.decoders import DecodeOptions
from object_pose.core.errors import ModelError
from object_pose.core.nms import suppress
from object_pose.core.types import AlignedDepth, Array, Detections, Image
from object_pose.runtime.card import ModelCard
from object_pose.runtime.engine import Engine, EngineConfig, load_embedded_engine

CROP_HEAD_KEY = "object_pose.crop_head"
LAYOUT = "crop_keypoints"  # probabilities (N, C + 1), the last of none; keypoints (N, C, K, 3): x, y, sigma
_LIKELY = 0.1  # the least probability of another class than the best one: depth may tell them apart
_WIDE = 1.4  # a box may show only a part of its object
_MOST_CANDIDATES = 32  # bounds the time that a cluttered picture can take


class CropHead:
    """Classifies windows and finds their keypoints; ``engine`` takes any number of windows at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _, channels, self._size, _ = engine.input_shape
        self.reads_relief = channels > COLOR_CHANNELS

    def refine(
        self, rgb: Image, candidates: Detections, options: DecodeOptions, depth: AlignedDepth | None = None
    ) -> Detections:
        """Return the candidates that the second look confirms, with its classes and keypoints, best first.

        A score becomes the geometric mean of the detector's and this head's. With ``options.wide_look`` each is there
        twice, with the keypoints of two windows: depth decides which are right.
        """
        chosen = candidates.select(np.argsort(-candidates.scores, kind="stable")[:_MOST_CANDIDATES])
        if not len(chosen):
            return chosen
        windows = [CropWindow.around(box, self._size) for box in chosen.boxes_xyxy]
        looks = [self._look(rgb, depth, windows)]
        if options.wide_look and self.reads_relief:  # older heads have not learned from wide windows
            looks.append(self._look(rgb, depth, [window.widened(_WIDE) for window in windows]))
        probabilities = np.mean([look.probabilities for look in looks], axis=0)
        found = Detections.join([_as_detections(chosen, probabilities, look, options) for look in looks])
        return found.select(np.argsort(-found.scores, kind="stable"))

    def _look(self, rgb: Image, depth: AlignedDepth | None, windows: Sequence[CropWindow]) -> _Look:
        reliefs = [window.cut_relief(depth) for window in windows] if self.reads_relief else []
        batch = normalised_batch([window.cut(rgb) for window in windows], reliefs)
        probabilities, keypoints = self._engine.run(batch)
        places = [window.to_image(own[..., :2].astype(np.float64)) for window, own in zip(windows, keypoints)]
        sides = np.array([window.side for window in windows])
        return _Look(probabilities, np.stack(places), keypoints[..., 2] * sides[:, None, None])


@dataclass(frozen=True)
class _Look:
    """What N windows show, in image pixels.

    ``probabilities`` (N, C + 1), the last of none, ``keypoints`` (N, C, K, 2) and their ``sigmas`` (N, C, K).
    """

    probabilities: NDArray[np.float32]
    keypoints: Array
    sigmas: Array


def _as_detections(
    chosen: Detections, probabilities: NDArray[np.float32], look: _Look, options: DecodeOptions
) -> Detections:
    rows, class_ids = _likely_classes(probabilities[:, :-1])
    refined = Detections(
        chosen.boxes_xyxy[rows],
        np.sqrt(chosen.scores[rows] * probabilities[rows, class_ids]),
        class_ids,
        look.keypoints[rows, class_ids],
        look.sigmas[rows, class_ids],
    )
    refined = refined.select(refined.scores >= options.score_threshold)
    # Two candidates of different classes may have become one class.
    kept, _ = suppress(
        refined.boxes_xyxy, refined.scores, refined.class_ids, options.iou_threshold, options.max_detections
    )
    return refined.select(kept)


def _likely_classes(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and classes of (N, C) probabilities that are worth a pose: the best, and others near it."""
    likely = probabilities >= _LIKELY
    likely[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    rows, class_ids = np.nonzero(likely)
    return rows, class_ids


def load_crop_head(path: Path, metadata: Mapping[str, str], card: ModelCard, config: EngineConfig) -> CropHead | None:
    """Open the head inside a model file, or return None; raises ``ModelError`` where it does not fit the card."""
    if CROP_HEAD_KEY not in metadata:
        return None
    try:
        data = base64.b64decode(metadata[CROP_HEAD_KEY], validate=True)
    except binascii.Error as error:
        raise ModelError("its crop-level head is damaged", "export the model again") from error
    engine = load_embedded_engine(path, data, config)
    inside = ModelCard.from_metadata(engine.metadata)
    expected = ((1, len(card.labels) + 1), (1, len(card.labels), card.keypoint_count, 3))
    channels = engine.input_shape[1]
    if channels not in (COLOR_CHANNELS, COLOR_CHANNELS + RELIEF_CHANNELS):
        raise ModelError(f"its crop-level head reads {channels} channels", "export the model again")
    if inside.layout != LAYOUT or inside.labels != card.labels or engine.output_shapes != expected:
        raise ModelError(
            f"its crop-level head knows {list(inside.labels)} with outputs {engine.output_shapes}, "
            f"the detector {list(card.labels)} with {card.keypoint_count} keypoints",
            "export both from runs on the same objects",
        )
    return CropHead(engine)
