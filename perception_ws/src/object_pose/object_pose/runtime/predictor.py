"""From an image to a result in its own pixels, for every task: prepare, network, decode, and the RoI head if any."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import ModelError
from object_pose.core.frame import AlignedDepth
from object_pose.core.params import parameter
from object_pose.core.vision.decoders import DecodeOptions, merge_scales
from object_pose.core.vision.image import enlarged_wh, scaled_wh, smaller_wh, to_rgb
from object_pose.runtime.card import METADATA_KEY, ModelCard
from object_pose.runtime.engine import Engine, EngineConfig, load_engine
from object_pose.runtime.foreign import open_foreign_model
from object_pose.runtime.resources import find_model
from object_pose.runtime.roi_head import KnownBoxes, load_roi_head
from object_pose.runtime.timing import StageClock
from object_pose.tasks.registry import task_of_card
from object_pose.tasks.task import GroundResolution, Interface, Prepared, Task

_SCALE_STEP = 0.75  # of the size, each further scale
# An aerial image as a whole is seen at this share of the usual size. It is seen so, and at its own size, in these
# mirrorings (axes that are flipped).
_WHOLE_SCALE = 0.5
_OF_WHOLE: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
_OF_OWN_SIZE: tuple[tuple[int, ...], ...] = ((), (2, 3))


@dataclass(frozen=True)
class PredictorConfig(EngineConfig):
    """On what a model runs and how its outputs are read; without ``decoding`` as the model's task does."""

    labels: str = parameter(
        "", "class names with commas between, that the model must have; '' takes the model's own", read_only=True
    )
    metres_per_pixel: float = parameter(
        0.0,
        "ground resolution of aerial images, which models of masks are read by; 0 for the model's own estimate",
        minimum=0.0,
        maximum=100.0,
        read_only=True,
    )
    decoding: DecodeOptions | None = None

    @property
    def expected_labels(self) -> tuple[str, ...]:
        """Class names, or empty."""
        return tuple(name.strip() for name in self.labels.split(",") if name.strip())


class Predictor:
    """One model of any task, opened once: ``card`` says what it is, ``task`` and ``decoding`` how it is read.

    ``model_path`` is a file, or the name of a shipped model. ``tasks`` are those that it may have, empty for any;
    ``config.labels`` name the classes of a foreign model without names. Raises ``ModelError`` for a file that cannot be
    used.
    """

    def __init__(
        self, model_path: str | Path, config: PredictorConfig | None = None, tasks: Collection[str] = ()
    ) -> None:
        config = config or PredictorConfig()
        self.path = find_model(model_path)
        self._engine = load_engine(self.path, config)
        try:
            self._engine, self.card = _with_card(self._engine, config.expected_labels)
            self.task: Task[Any, Any] = task_of_card(self.card.task, self.card.layout)
            if tasks and self.task.name not in tasks:
                raise ModelError(f"its task is {self.task.name}", f"expected {' or '.join(tasks)}")
            _check(self._engine, self.card, self.task)
            self._roi_head = load_roi_head(self.path, self._engine.metadata, self.card, config)
        except ModelError as error:
            raise ModelError(f"model file {model_path}: {error.message}", error.hint) from error
        self._metres_per_pixel = config.metres_per_pixel
        self._read_with(config.decoding or self.task.options)

    def with_decoding(self, options: DecodeOptions) -> Predictor:
        """Return a predictor of the same opened network that reads its outputs in another way."""
        other = copy.copy(self)
        other._read_with(options)
        return other

    @property
    def engine(self) -> str:
        """The inference engine that runs the network, and on what."""
        return self._engine.name

    @property
    def reads_depth(self) -> bool:
        """Whether ``predict`` gives more for an image with its depth."""
        return self._roi_head is not None

    def predict(
        self,
        image: NDArray[np.generic],
        clock: StageClock | None = None,
        depth: AlignedDepth | None = None,
        known: KnownBoxes | None = None,
    ) -> Any:
        """Return the task's result for an RGB (or grey, or RGBA) uint8 image, in its pixels.

        ``depth`` of the image helps a model that ``reads_depth``; its RoI head leaves ``known`` objects out.
        ``clock`` collects the stages preprocess, inference, decode and, with a RoI head, crops. Raises ``DataError``
        for another kind of image.
        """
        clock = clock or StageClock()
        if self.task.resolution is not None and self._engine.takes_any_size:
            return self._predict_by_resolution(self.task.resolution, image, clock)
        with clock.stage("preprocess"):
            scales = [self.task.prepare(image, wh) for wh in self._input_whs(image)]
        with clock.stage("inference"):
            outputs = [self._engine.run(scale.batch) for scale in scales]
        with clock.stage("decode"):
            labels, options = self.card.labels, self._candidate_options
            results = [self.task.decode(found, scale, labels, options) for found, scale in zip(outputs, scales)]
            result = results[0] if len(results) == 1 else merge_scales(results, options)
        if self._roi_head:
            with clock.stage("crops"):
                result = self._roi_head.refine(to_rgb(image), result, self.decoding, depth, known)
        return result

    def _predict_by_resolution(
        self, resolution: GroundResolution[Any], image: NDArray[np.generic], clock: StageClock
    ) -> Any:
        """Return the mean over the whole image at half the model's usual size, mirrored, and the image at its own size.

        Its own size is at most the usual one, and less where its pixels are finer than the model knows any.
        """
        with clock.stage("preprocess"):
            whole = self.task.prepare(image, smaller_wh(self.card.input_wh, _WHOLE_SCALE))
        with clock.stage("inference"):
            views = [(whole, self._mirrored_outputs(whole, _OF_WHOLE))]
            metres_per_pixel = self._metres_per_pixel or resolution.estimate(views[0][1][0], whole)
            scale = min(1.0, metres_per_pixel / resolution.finest_m) if metres_per_pixel else 1.0
            width, height = (round(side * self.decoding.input_scale) for side in self.card.input_wh)
            own = self.task.prepare(image, scaled_wh(whole.box.image_wh, scale, (width, height)))
            if max(own.box.canvas_wh) > max(whole.box.canvas_wh):
                views.append((own, self._mirrored_outputs(own, _OF_OWN_SIZE)))
        with clock.stage("decode"):
            labels, options = self.card.labels, self._candidate_options
            sizes = [[self.task.decode(outputs, view, labels, options) for outputs in found] for view, found in views]
            result = resolution.merge([resolution.merge(results) for results in sizes])
            return resolution.refine(result, to_rgb(image), metres_per_pixel) if metres_per_pixel else result

    def _mirrored_outputs(
        self, prepared: Prepared, mirrorings: Sequence[tuple[int, ...]]
    ) -> list[list[NDArray[np.float32]]]:
        """Return what the network says of each mirroring of a canvas, maps mirrored back."""
        found = []
        for axes in mirrorings:
            outputs = self._engine.run(np.ascontiguousarray(np.flip(prepared.batch, axes)))
            found.append([np.flip(output, axes) if output.ndim == 4 else output for output in outputs])
        return found

    def _input_whs(self, image: NDArray[np.generic]) -> list[tuple[int, int]]:
        """Return the input sizes at which the network runs on an image, the largest first."""
        is_image = image.ndim >= 2 and image.size > 0  # ``prepare`` refuses what is none
        if not self._engine.takes_any_size or not is_image:
            return [self.card.input_wh]
        height, width = image.shape[:2]
        largest = enlarged_wh((width, height), self.card.input_wh, self.decoding.input_scale)
        return [smaller_wh(largest, _SCALE_STEP**step) for step in range(self.decoding.extra_scales + 1)]

    def _read_with(self, options: DecodeOptions) -> None:
        layout, keypoint_count = str(self.card.layout), self.card.keypoint_count
        self.decoding = dataclasses.replace(options, layout=layout, keypoint_count=keypoint_count)
        # The RoI head decides on the candidates, so that the detector may let more through, and finds their keypoints.
        lowest = min(options.candidate_threshold, options.score_threshold)
        threshold = lowest if self._roi_head else options.score_threshold
        fuses = options.fuse_keypoints and not self._roi_head
        self._candidate_options = dataclasses.replace(self.decoding, score_threshold=threshold, fuse_keypoints=fuses)


def load_card(model_path: str | Path) -> ModelCard:
    """Return the card of a model file of any task, or the one that a foreign detector's metadata makes."""
    engine = load_engine(find_model(model_path), EngineConfig(device="cpu"))
    try:
        return _with_card(engine, ())[1]
    except ModelError as error:
        raise ModelError(f"model file {model_path}: {error.message}", error.hint) from error


def _with_card(engine: Engine, expected_labels: tuple[str, ...]) -> tuple[Engine, ModelCard]:
    """Return a network with its card; one of another trainer as a network of our layouts."""
    if METADATA_KEY in engine.metadata:
        card = ModelCard.from_metadata(engine.metadata)
    else:
        engine, card = open_foreign_model(engine, expected_labels)
    if expected_labels and card.labels != expected_labels:
        raise ModelError(f"the model's classes are {list(card.labels)}, expected {list(expected_labels)}")
    return engine, card


def _check(engine: Engine, card: ModelCard, task: Task[Any, Any]) -> None:
    """Hold what the network really takes and gives against what the card promises."""
    width, height = card.input_wh
    expected = task.prepare(np.zeros((height, width, 3), dtype=np.uint8), card.input_wh).batch.shape
    if engine.input_shape != expected:
        raise ModelError(f"the network reads images of shape {engine.input_shape}, its card says {expected}")
    task.check(Interface(str(card.layout), card.labels, card.keypoint_count, engine.output_shapes))
