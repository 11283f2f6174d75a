"""From an RGB image to detections in its own pixels: letterbox, network, decode, and back."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from object_pose.core.decoders import DecodeOptions, Layout, OutputFormat, decode
from object_pose.core.errors import ModelError
from object_pose.core.image import Letterbox, letterbox, to_batch, to_rgb
from object_pose.core.nms import box_area
from object_pose.core.params import parameter
from object_pose.core.types import Detections
from object_pose.runtime.card import METADATA_KEY, ModelCard
from object_pose.runtime.crop_head import load_crop_head
from object_pose.runtime.engine import Engine, EngineConfig, load_engine
from object_pose.runtime.foreign import card_of_foreign_model
from object_pose.runtime.timing import StageClock


@dataclass(frozen=True)
class DetectorConfig(EngineConfig):
    """How a model is run and how its output is read."""

    score_threshold: float = parameter(0.3, "detections below this score are dropped", minimum=0.0, maximum=1.0)
    iou_threshold: float = parameter(
        0.5, "boxes of one class that overlap by more are one object", minimum=0.0, maximum=1.0
    )
    max_detections: int = parameter(100, "at most this many detections a frame", minimum=1, maximum=10000)
    candidate_threshold: float = parameter(
        0.05, "with a crop-level head: candidates above this score get a second look", minimum=0.0, maximum=1.0
    )
    fuse_keypoints: bool = parameter(True, "average keypoints over the candidates that agree on an object")
    labels: str = parameter(
        "",
        "class names, comma-separated, that the model must have; they name the classes of one without names",
        read_only=True,
    )

    @property
    def expected_labels(self) -> tuple[str, ...]:
        """``labels`` as names; empty when any will do."""
        return tuple(label.strip() for label in self.labels.split(",") if label.strip())

    @property
    def decode_options(self) -> DecodeOptions:
        """What the decoder needs of this."""
        return DecodeOptions(self.score_threshold, self.iou_threshold, self.max_detections, self.fuse_keypoints)

    @property
    def candidate_options(self) -> DecodeOptions:
        """The same where a crop-level head has the last word."""
        threshold = min(self.candidate_threshold, self.score_threshold)
        return dataclasses.replace(self.decode_options, score_threshold=threshold)


class Detector:
    """One model file, opened once; ``card`` says what it finds.

    Raises ``ModelError`` for a file that cannot be used or whose classes are not the expected ones.
    """

    def __init__(self, model_path: str | Path, config: DetectorConfig | None = None) -> None:
        self._config = config or DetectorConfig()
        self._engine = load_engine(model_path, self._config)
        try:
            self.card = _read_card(self._engine, self._config.expected_labels)
            self._format = _output_format(self.card, self._engine)
            self._crop_head = load_crop_head(Path(model_path), self._engine.metadata, self.card, self._config)
        except ModelError as error:
            raise ModelError(f"model file {model_path}: {error.message}", error.hint) from error

    def with_config(self, config: DetectorConfig) -> Detector:
        """Return a detector of the same opened network that reads its output with other thresholds."""
        other = copy.copy(self)
        other._config = config
        return other

    def detect(self, rgb: NDArray[np.generic], clock: StageClock | None = None) -> Detections:
        """Return the detections of an RGB (or grey, or RGBA) uint8 image, in its pixels, best first.

        ``clock`` collects the stages preprocess, inference, decode and, with a crop-level head, crops. Raises
        ``DataError`` for another kind of image.
        """
        clock = clock or StageClock()
        with clock.stage("preprocess"):
            image = to_rgb(rgb)
            canvas, box = letterbox(image, self.card.input_wh)
            batch = to_batch(canvas)
        with clock.stage("inference"):
            (output,) = self._engine.run(batch)
        options = self._config.candidate_options if self._crop_head else self._config.decode_options
        with clock.stage("decode"):
            detections = _to_image(decode(self._format, output, options), box)
        if self._crop_head:
            with clock.stage("crops"):
                detections = self._crop_head.refine(image, detections, self._config.decode_options)
        return detections


def load_card(model_path: str | Path) -> ModelCard:
    """Return the card of a model file of any task, or the one that a foreign detector's metadata makes."""
    engine = load_engine(model_path, EngineConfig(device="cpu"))
    try:
        return _read_card(engine, ())
    except ModelError as error:
        raise ModelError(f"model file {model_path}: {error.message}", error.hint) from error


def _read_card(engine: Engine, expected_labels: tuple[str, ...]) -> ModelCard:
    _, _, height, width = engine.input_shape
    if METADATA_KEY in engine.metadata:
        card = ModelCard.from_metadata(engine.metadata)
    else:
        card = card_of_foreign_model(engine.metadata, engine.output_shapes, (width, height), expected_labels)
    if expected_labels and card.labels != expected_labels:
        raise ModelError(f"the model's classes are {list(card.labels)}, expected {list(expected_labels)}")
    return card


def _output_format(card: ModelCard, engine: Engine) -> OutputFormat:
    """Return the format that the card promises, checked against what the network really takes and gives."""
    known = [layout.value for layout in Layout]
    if card.layout not in known:
        raise ModelError(f"its layout '{card.layout}' is not a detector's", f"known: {', '.join(known)}")
    expected = (1, 3, card.input_wh[1], card.input_wh[0])
    if engine.input_shape != expected:
        raise ModelError(f"the network reads images of shape {engine.input_shape}, its card says {expected}")
    if len(engine.output_shapes) != 1:
        raise ModelError(f"the network has {len(engine.output_shapes)} outputs, a detector has one")
    form = OutputFormat(Layout(card.layout), len(card.labels), card.keypoint_count)
    form.check(engine.output_shapes[0])
    return form


def _to_image(detections: Detections, box: Letterbox) -> Detections:
    """Map detections from the canvas to the image; boxes are clipped to it, and gone when they lie outside."""
    corners = box.to_image(detections.boxes_xyxy.reshape(-1, 2, 2))
    boxes = np.clip(corners, 0.0, np.subtract(box.image_wh, 1.0)).reshape(-1, 4)
    inside = Detections(
        boxes,
        detections.scores,
        detections.class_ids,
        box.to_image(detections.keypoints),
        detections.keypoint_sigmas / float(np.sqrt(np.prod(box.scale))),
    )
    return inside.select(box_area(boxes) > 0)
