"""From an image to a result in its own pixels, for every task: prepare, network, decode, and a second look if any."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import ModelError
from object_pose.core.frame import AlignedDepth
from object_pose.core.params import parameter
from object_pose.core.results.detections import Detections
from object_pose.core.vision.decoders import DecodeOptions, merge_scales
from object_pose.core.vision.image import enlarged_wh, smaller_wh, to_rgb
from object_pose.runtime.card import METADATA_KEY, ModelCard
from object_pose.runtime.engine import Engine, EngineConfig, load_engine
from object_pose.runtime.foreign import card_of_foreign_model
from object_pose.runtime.resources import find_model
from object_pose.runtime.roi_head import load_roi_head
from object_pose.runtime.timing import StageClock
from object_pose.tasks.registry import task_of_card
from object_pose.tasks.task import Interface, Task

_DETECTING = ("detect", "pose")
_SMALLER = 0.75  # of the size, each further look


class Predictor:
    """One model of any task, opened once; ``card`` says what it is, ``task`` how its results read.

    ``model_path`` is a file, or the name of a shipped model. ``labels`` are the class names that it must have, and
    those of a foreign model without names; empty for any.
    ``options`` say how outputs are read, by default as the task does. Raises ``ModelError`` for a file that cannot be
    used.
    """

    def __init__(
        self,
        model_path: str | Path,
        config: EngineConfig | None = None,
        options: DecodeOptions | None = None,
        labels: tuple[str, ...] = (),
    ) -> None:
        config = config or EngineConfig()
        self.path = find_model(model_path)
        self._engine = load_engine(self.path, config)
        try:
            self.card = _read_card(self._engine, labels)
            self.task: Task[Any, Any] = task_of_card(self.card.task, self.card.layout)
            _check(self._engine, self.card, self.task)
            self._roi_head = load_roi_head(self.path, self._engine.metadata, self.card, config)
        except ModelError as error:
            raise ModelError(f"model file {model_path}: {error.message}", error.hint) from error
        self._read_with(options or self.task.options)

    def with_options(self, options: DecodeOptions) -> Predictor:
        """Return a predictor of the same opened network that reads its outputs in another way."""
        other = copy.copy(self)
        other._read_with(options)
        return other

    @property
    def reads_depth(self) -> bool:
        """Whether ``predict`` gives more for an image with its depth."""
        return self._roi_head is not None and self._roi_head.reads_relief

    def predict(
        self, image: NDArray[np.generic], clock: StageClock | None = None, depth: AlignedDepth | None = None
    ) -> Any:
        """Return the task's result for an RGB (or grey, or RGBA) uint8 image, in its pixels.

        ``depth`` of the image helps a model that ``reads_depth``. ``clock`` collects the stages preprocess, inference,
        decode and, with a second look, crops. Raises ``DataError`` for another kind of image.
        """
        clock = clock or StageClock()
        with clock.stage("preprocess"):
            looks = [self.task.prepare(image, wh) for wh in self._input_whs(image)]
        with clock.stage("inference"):
            outputs = [self._engine.run(look.batch) for look in looks]
        with clock.stage("decode"):
            labels, options = self.card.labels, self._first_options
            results = [self.task.decode(found, look, labels, options) for found, look in zip(outputs, looks)]
            result = results[0] if len(results) == 1 else merge_scales(results, options)
        if self._roi_head:
            with clock.stage("crops"):
                result = self._roi_head.refine(to_rgb(image), result, self._options, depth)
        return result

    def _input_whs(self, image: NDArray[np.generic]) -> list[tuple[int, int]]:
        """Return the sizes at which the network looks at an image, the usual one first."""
        is_image = image.ndim >= 2 and image.size > 0  # ``prepare`` refuses what is none
        if not self._engine.takes_any_size or not is_image:
            return [self.card.input_wh]
        height, width = image.shape[:2]
        largest = enlarged_wh((width, height), self.card.input_wh, self._options.input_scale)
        return [smaller_wh(largest, _SMALLER**look) for look in range(self._options.extra_scales + 1)]

    def _read_with(self, options: DecodeOptions) -> None:
        layout, keypoint_count = str(self.card.layout), self.card.keypoint_count
        self._options = dataclasses.replace(options, layout=layout, keypoint_count=keypoint_count)
        # Where a second look has the last word, the first one lets more through.
        lowest = min(options.candidate_threshold, options.score_threshold)
        threshold = lowest if self._roi_head else options.score_threshold
        self._first_options = dataclasses.replace(self._options, score_threshold=threshold)


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
    context_crop: bool = parameter(
        False, "with a crop-level head: look at a wider window, too; twice the time, more poses of occluded objects"
    )
    alternative_share: float = parameter(
        1.0,
        "with a crop-level head: further hypotheses of keypoints are tried from this share on, 1 for none",
        minimum=0.01,
        maximum=1.0,
    )
    input_scale: float = parameter(
        1.0,
        "a network that takes any size sees an image as large as it is, up to this many times its usual size",
        minimum=1.0,
        maximum=4.0,
    )
    extra_scales: int = parameter(
        0,
        "a network that takes any size looks so many times more, each time at three quarters of the size: more "
        "candidates where a picture is blurred or noisy, and more false ones",
        minimum=0,
        maximum=4,
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
        return DecodeOptions(
            self.score_threshold,
            self.iou_threshold,
            self.max_detections,
            self.fuse_keypoints,
            self.candidate_threshold,
            self.context_crop,
            self.alternative_share,
            self.input_scale,
            self.extra_scales,
        )


class Detector(Predictor):
    """A predictor whose results are ``Detections``; raises ``ModelError`` for a model of another task."""

    def __init__(self, model_path: str | Path, config: DetectorConfig | None = None) -> None:
        config = config or DetectorConfig()
        super().__init__(model_path, config, config.decode_options, config.expected_labels)
        if self.task.name not in _DETECTING:
            raise ModelError(
                f"model file {model_path} is of the task {self.task.name}", f"expected {' or '.join(_DETECTING)}"
            )

    def with_config(self, config: DetectorConfig) -> Detector:
        """Return a detector of the same opened network that reads its output with other thresholds."""
        other = copy.copy(self)
        other._read_with(config.decode_options)
        return other

    def detect(
        self, rgb: NDArray[np.generic], clock: StageClock | None = None, depth: AlignedDepth | None = None
    ) -> Detections:
        """Return the detections of an image, best first; see ``predict``."""
        found: Detections = self.predict(rgb, clock, depth)
        return found


def load_card(model_path: str | Path) -> ModelCard:
    """Return the card of a model file of any task, or the one that a foreign detector's metadata makes."""
    engine = load_engine(find_model(model_path), EngineConfig(device="cpu"))
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


def _check(engine: Engine, card: ModelCard, task: Task[Any, Any]) -> None:
    """Hold what the network really takes and gives against what the card promises."""
    width, height = card.input_wh
    expected = task.prepare(np.zeros((height, width, 3), dtype=np.uint8), card.input_wh).batch.shape
    if engine.input_shape != expected:
        raise ModelError(f"the network reads images of shape {engine.input_shape}, its card says {expected}")
    task.check(Interface(str(card.layout), card.labels, card.keypoint_count, engine.output_shapes))
