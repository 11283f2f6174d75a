"""The model card: what a model file says about itself, from class names to the geometry of its objects.

It is one JSON document under the ONNX metadata key ``object_pose``; arrays are base64 of little-endian float32.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import ModelError
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.object_model import ObjectModel

METADATA_KEY = "object_pose"
MOST_SIDE = 4096  # of a network's input, in pixels
_FORMAT = 1
_DESCRIPTION = ("name", "version", "data", "metric", "licence", "command")
_UNREADABLE_HINT = "export the model again with this version of object_pose"
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class ModelCard:
    """What a model is and how it is used; ``objects`` is empty or has one entry per label, in the labels' order.

    ``layout`` names how the outputs are laid out, ``core.decoders.Layout`` for detectors; ``input_wh`` is in pixels.
    The description says in words where the model comes from: ``data`` it was trained on, ``metric`` it reached,
    ``command`` and ``seed`` that made it; ``parameters`` is the number of those that were learned, 0 where unknown.
    Raises ``ModelError`` where the parts do not agree.
    """

    task: str
    layout: str
    labels: tuple[str, ...]
    input_wh: tuple[int, int]
    keypoint_count: int = 0
    objects: tuple[ObjectModel, ...] = ()
    name: str = ""
    version: str = ""
    data: str = ""
    metric: str = ""
    licence: str = ""
    command: str = ""
    seed: int = 0
    parameters: int = 0

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ModelError(f"model card field 'labels' must be distinct names, got {list(self.labels)}")
        if not all(0 < side <= MOST_SIDE for side in self.input_wh):
            raise ModelError(f"model card field 'input_wh' must be from 1 to {MOST_SIDE}, got {self.input_wh}")
        if self.keypoint_count < 0:
            raise ModelError(f"model card field 'keypoint_count' is negative: {self.keypoint_count}")
        names = tuple(model.name for model in self.objects)
        if self.objects and names != self.labels:
            raise ModelError(f"model card objects {list(names)} are not its labels {list(self.labels)}")
        for model in self.objects:
            if len(model.keypoints_object) != self.keypoint_count:
                raise ModelError(
                    f"model card object '{model.name}' has {len(model.keypoints_object)} keypoints, "
                    f"the network {self.keypoint_count}"
                )

    def to_metadata(self) -> dict[str, str]:
        """Return the card as ONNX metadata properties."""
        document: dict[str, Any] = {"format": _FORMAT, "task": self.task, "layout": str(self.layout)}
        document |= {"labels": self.labels, "input_wh": self.input_wh, "keypoint_count": self.keypoint_count}
        document |= {"objects": [_object_to_json(model) for model in self.objects]}
        document |= {"seed": self.seed, "parameters": self.parameters}
        document |= {name: getattr(self, name) for name in _DESCRIPTION}
        return {METADATA_KEY: json.dumps(document)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelCard:
        """Read the card of a model file; raises ``ModelError`` naming the field that is missing or wrong."""
        if METADATA_KEY not in metadata:
            raise ModelError(f"the model has no '{METADATA_KEY}' metadata, so no model card")
        reader = _Reader(_parse(metadata[METADATA_KEY]))
        if reader.integer("format") > _FORMAT:
            raise ModelError("the model card was written by a newer object_pose", "update object_pose")
        return cls(
            task=reader.text("task"),
            layout=reader.text("layout"),
            labels=tuple(reader.sequence("labels", str)),
            input_wh=reader.pair("input_wh"),
            keypoint_count=reader.integer("keypoint_count"),
            objects=tuple(
                _object_from_json(_Reader(item, f"objects[{index}]."))
                for index, item in enumerate(reader.sequence("objects", dict))
            ),
            seed=reader.integer("seed"),
            parameters=reader.optional("parameters", lambda: reader.integer("parameters")) or 0,
            **{name: reader.text(name) for name in _DESCRIPTION},
        )


class _Reader:
    """Typed access to the fields of one JSON object; every failure names the field."""

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def _get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        if name not in self._values:
            raise ModelError(f"model card field '{self._prefix}{name}' is missing", _UNREADABLE_HINT)
        value = self._values[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(name, f"must be {_names(kind)}, got {type(value).__name__}")
        self._check_text(name, value)
        return value

    def _check_text(self, name: str, value: Any) -> None:
        """Refuse half characters, which JSON can hold and no message, file or terminal can."""
        if isinstance(value, str) and _HALF_CHARACTER.search(value):
            raise self.wrong(name, "is not valid Unicode")

    def wrong(self, name: str, problem: str) -> ModelError:
        return ModelError(f"model card field '{self._prefix}{name}' {problem}", _UNREADABLE_HINT)

    def text(self, name: str) -> str:
        return str(self._get(name, str))

    def integer(self, name: str) -> int:
        return int(self._get(name, int))

    def number(self, name: str) -> float:
        try:
            return float(self._get(name, (int, float)))
        except OverflowError as error:
            raise self.wrong(name, "is too large") from error

    def sequence(self, name: str, kind: type[ValueT]) -> Sequence[ValueT]:
        values: list[ValueT] = self._get(name, list)
        if not all(isinstance(value, kind) and not isinstance(value, bool) for value in values):
            raise self.wrong(name, f"must hold only {kind.__name__}")
        for value in values:
            self._check_text(name, value)
        return values

    def pair(self, name: str) -> tuple[int, int]:
        values = self.sequence(name, int)
        if len(values) != 2:
            raise self.wrong(name, f"must be two integers, got {len(values)}")
        return values[0], values[1]

    def array(self, name: str, shape: tuple[int | None, ...]) -> Array:
        """Read a float32 array of ``shape``, where None is any length."""
        item = _Reader(self._get(name, dict), f"{self._prefix}{name}.")
        actual = tuple(item.sequence("shape", int))
        if len(actual) != len(shape) or any(size is not None and n != size for n, size in zip(actual, shape)):
            wanted = ", ".join("N" if size is None else str(size) for size in shape)
            raise self.wrong(name, f"must have shape ({wanted}), got {actual}")
        try:
            values = np.frombuffer(base64.b64decode(item.text("float32"), validate=True), dtype="<f4")
            array = values.reshape(actual).astype(np.float64)
        except (binascii.Error, ValueError, TypeError, OverflowError) as error:
            raise self.wrong(name, f"is damaged: {error}") from error
        if not np.all(np.isfinite(array)):
            raise self.wrong(name, "has values that are not finite")
        return array

    def optional(self, name: str, read: Callable[[], ValueT]) -> ValueT | None:
        return None if self._values.get(name) is None else read()


def _names(kind: type | tuple[type, ...]) -> str:
    return " or ".join(item.__name__ for item in (kind if isinstance(kind, tuple) else (kind,)))


def _parse(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:  # of its grammar, or of an integer with thousands of digits
        raise ModelError(f"the model card is not valid JSON: {error}", _UNREADABLE_HINT) from error
    except RecursionError as error:
        raise ModelError("the model card is nested too deeply", _UNREADABLE_HINT) from error
    if not isinstance(document, dict):
        raise ModelError("the model card is not a JSON object", _UNREADABLE_HINT)
    return document


def _array_to_json(array: Array) -> dict[str, Any]:
    data = np.ascontiguousarray(array, dtype="<f4").tobytes()
    return {"shape": list(array.shape), "float32": base64.b64encode(data).decode("ascii")}


def describe_card(card: ModelCard) -> dict[str, Any]:
    """Return what a card says in words and numbers, without the geometry of its objects."""
    return {
        "task": card.task,
        "labels": list(card.labels),
        "input_wh": list(card.input_wh),
        "metric": card.metric,
        "data": card.data,
        "licence": card.licence,
        "command": card.command,
        "seed": card.seed,
        "parameters": card.parameters,
    }


def _object_to_json(model: ObjectModel) -> dict[str, Any]:
    symmetry = model.symmetry
    return {
        "name": model.name,
        "keypoints_object": _array_to_json(model.keypoints_object),
        "points_object": _array_to_json(model.points_object),
        "normals_object": _array_to_json(model.normals_object),
        "box_center": _array_to_json(model.box_center),
        "box_size": _array_to_json(model.box_size),
        "diameter": model.diameter,
        "symmetry_discrete": _array_to_json(symmetry.discrete),
        "symmetry_axis": None if symmetry.axis is None else _array_to_json(symmetry.axis),
        "symmetry_offset": _array_to_json(symmetry.offset),
        "surface_object": _array_to_json(model.surface_object),
    }


def _object_from_json(reader: _Reader) -> ObjectModel:
    symmetry = Symmetry(
        reader.array("symmetry_discrete", (None, 4, 4)),
        reader.optional("symmetry_axis", lambda: reader.array("symmetry_axis", (3,))),
        reader.array("symmetry_offset", (3,)),
    )
    surface = reader.optional("surface_object", lambda: reader.array("surface_object", (None, 3)))
    try:
        return ObjectModel(
            reader.text("name"),
            reader.array("keypoints_object", (None, 3)),
            reader.array("points_object", (None, 3)),
            reader.array("normals_object", (None, 3)),
            reader.array("box_center", (3,)),
            reader.array("box_size", (3,)),
            reader.number("diameter"),
            symmetry,
            np.zeros((0, 3)) if surface is None else surface,
        )
    except ValueError as error:
        raise ModelError(f"model card: {error}", _UNREADABLE_HINT) from error
