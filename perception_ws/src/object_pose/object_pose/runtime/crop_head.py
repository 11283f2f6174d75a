"""The detector's second look: each candidate's window to its class, its score and its keypoints.

The network travels inside the detector's model file, so that one file is one model.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from object_pose.core.crops import CropWindow, normalised_batch
from object_pose.core.decoders import DecodeOptions
from object_pose.core.errors import ModelError
from object_pose.core.nms import suppress
from object_pose.core.types import Detections, Image
from object_pose.runtime.card import ModelCard
from object_pose.runtime.engine import Engine, EngineConfig, load_embedded_engine

CROP_HEAD_KEY = "object_pose.crop_head"
LAYOUT = "crop_keypoints"  # probabilities (N, C + 1), the last of none; keypoints (N, C, K, 3): x, y, sigma
_LIKELY = 0.1  # the least probability of another class than the best one: depth may tell them apart
_MOST_CANDIDATES = 32  # bounds the time that a cluttered picture can take


class CropHead:
    """Classifies windows and finds their keypoints; ``engine`` takes any number of windows at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._size = engine.input_shape[2]

    def refine(self, rgb: Image, candidates: Detections, options: DecodeOptions) -> Detections:
        """Return the candidates that the second look confirms, with its classes and keypoints, best first.

        A score becomes the geometric mean of the detector's and this head's.
        """
        chosen = candidates.select(np.argsort(-candidates.scores, kind="stable")[:_MOST_CANDIDATES])
        if not len(chosen):
            return chosen
        windows = [CropWindow.around(box, self._size) for box in chosen.boxes_xyxy]
        batch = normalised_batch([window.cut(rgb) for window in windows])
        probabilities, keypoints = self._engine.run(batch)
        rows, class_ids = _likely_classes(probabilities[:, :-1])
        own = keypoints[rows, class_ids].astype(np.float64)
        refined = Detections(
            chosen.boxes_xyxy[rows],
            np.sqrt(chosen.scores[rows] * probabilities[rows, class_ids]),
            class_ids,
            np.stack([windows[row].to_image(points[:, :2]) for row, points in zip(rows, own)]),
            own[..., 2] * np.array([[windows[row].side] for row in rows]),
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
    if inside.layout != LAYOUT or inside.labels != card.labels or engine.output_shapes != expected:
        raise ModelError(
            f"its crop-level head knows {list(inside.labels)} with outputs {engine.output_shapes}, "
            f"the detector {list(card.labels)} with {card.keypoint_count} keypoints",
            "export both from runs on the same objects",
        )
    return CropHead(engine)
