"""What a task is: an image to a network's input, its outputs to a result, results to figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Image
from object_pose.core.results.schema import json_schema
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.image import Letterbox, letterbox, to_batch, to_rgb

Array32 = NDArray[np.float32]
Labels = Sequence[str]
ResultT = TypeVar("ResultT")
TruthT = TypeVar("TruthT")


@dataclass(frozen=True)
class Prepared:
    """An image as a network reads it: ``batch`` (1, C, H, W) float32, and where its pixels came from."""

    batch: Array32
    box: Letterbox


@dataclass(frozen=True)
class Interface:
    """What a model file promises on its card, and the shapes that its network really gives for one image."""

    layout: str
    labels: tuple[str, ...]
    keypoint_count: int
    output_shapes: tuple[tuple[int, ...], ...]


def accept_any(interface: Interface) -> None:
    """Find nothing wrong with a model's outputs: for tasks whose ``decode`` reads any shape."""


_DEFAULT_OPTIONS = DecodeOptions()


@dataclass(frozen=True)
class GroundResolution(Generic[ResultT]):
    """How images are read by their ground resolution.

    ``estimate`` tells an image's metres a pixel from a network's outputs, None where they do not tell; an image of
    pixels finer than ``finest_m`` is read at that; ``merge`` makes one result of those at several sizes; ``refine``
    improves one by its RGB image, whose pixels are so many metres.
    """

    finest_m: float
    estimate: Callable[[Sequence[Array32], Prepared], float | None]
    merge: Callable[[Sequence[ResultT]], ResultT]
    refine: Callable[[ResultT, Image, float], ResultT]


@dataclass(frozen=True)
class Task(Generic[ResultT, TruthT]):
    """One task. Every function is pure; labels are the model's class names.

    ``prepare`` maps an image and the network's (width, height) to its input; ``decode`` maps the network's outputs, in
    the card's order, to a result in pixels of the image; ``to_json`` turns a result into the JSON values that
    ``json_type`` declares, ``summarise`` into a line for people; ``draw`` puts it on a copy of an (H, W, 3) RGB image;
    ``score`` maps results and truths of equal length to figures, ``metric`` being the one that models are chosen by.
    ``default_model`` is the shipped model's file name.
    ``check`` raises ``ModelError`` for outputs that ``decode`` could not read; ``resolution`` is set where pixels have
    a size on the ground, by which a network that takes any size reads an image; ``options`` are how outputs are read
    unless a user says otherwise, ``scored_options`` how they are for ``score``, where rankings want unlikely answers.
    """

    name: str
    summary: str
    layouts: tuple[str, ...]
    metric: str
    json_type: type
    default_model: str
    prepare: Callable[[NDArray[np.generic], tuple[int, int]], Prepared]
    decode: Callable[[Sequence[Array32], Prepared, tuple[str, ...], DecodeOptions], ResultT]
    to_json: Callable[[ResultT, Labels], Mapping[str, Any]]
    summarise: Callable[[ResultT, Labels], str]
    draw: Callable[[Image, ResultT, Labels], Image]
    score: Callable[[Sequence[ResultT], Sequence[TruthT], tuple[str, ...]], dict[str, float]]
    check: Callable[[Interface], None] = accept_any
    resolution: GroundResolution[ResultT] | None = None
    options: DecodeOptions = _DEFAULT_OPTIONS
    scored_options: DecodeOptions = _DEFAULT_OPTIONS

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of ``to_json``'s values."""
        return json_schema(self.json_type)


def prepare_rgb(image: NDArray[np.generic], input_wh: tuple[int, int]) -> Prepared:
    """Letterbox a grey, RGB or RGBA uint8 image into (1, 3, H, W) in [0, 1]; raises ``DataError`` for another kind."""
    canvas, box = letterbox(to_rgb(image), input_wh)
    return Prepared(to_batch(canvas), box)
