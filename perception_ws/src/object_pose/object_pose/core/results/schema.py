"""Declarations of JSON values, and the JSON schema that follows from them.

A result's JSON is declared once, as a ``TypedDict``: type checkers hold ``to_json`` to it, and ``json_schema`` turns it
into the schema that files and HTTP promise. ``Annotated`` adds keywords of JSON schema, such as a description.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Protocol, Union, get_args, get_origin, get_type_hints, is_typeddict

from object_pose.core.arrays import Array

Number = float | None
Score = Annotated[Number, {"minimum": 0, "maximum": 1}]
ClassId = Annotated[int, {"description": "index of the class in the model's labels; -1 where they lack it"}]
Point = Annotated[list[Number], {"minItems": 2, "maxItems": 2, "description": "x, y in pixels of the image"}]
Vector = Annotated[list[Number], {"minItems": 3, "maxItems": 3, "description": "x, y, z in metres"}]
BoxXyxy = Annotated[
    list[Number], {"minItems": 4, "maxItems": 4, "description": "left, top, right, bottom in pixels of the image"}
]

_SCALARS = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    type(None): {"type": "null"},
}


class Result(Protocol):
    """A task's result."""

    def to_json(self, labels: Sequence[str]) -> Mapping[str, Any]:
        """Return the result as JSON values; ``labels`` names the class ids."""
        ...


def json_schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of a declaration: a ``TypedDict``, a list, a mapping, a union or a scalar."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner, *keywords = arguments
        return json_schema(inner) | {name: value for item in keywords for name, value in item.items()}
    if origin is None and kind in _SCALARS:
        return dict(_SCALARS[kind])
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        properties = {name: json_schema(hint) for name, hint in hints.items()}
        required = sorted(kind.__required_keys__)
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if origin in (Union, types.UnionType):
        return {"type": [json_schema(argument)["type"] for argument in arguments]}
    if origin is list:
        return {"type": "array", "items": json_schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": json_schema(arguments[1])}
    raise TypeError(f"{kind} has no JSON schema")


def number(value: float, digits: int | None = None) -> Number:
    """Return a number for JSON, rounded to ``digits``; None where it is not finite, which JSON cannot hold."""
    if not math.isfinite(value):
        return None
    return float(value) if digits is None else round(float(value), digits)


def numbers(values: Array | Iterable[float], digits: int | None = None) -> list[Number]:
    """Return numbers for JSON; see ``number``."""
    return [number(value, digits) for value in values]


def from_number(value: Number) -> float:
    """Return a number that ``number`` wrote; NaN for None."""
    return math.nan if value is None else float(value)


def from_numbers(values: Iterable[Number]) -> list[float]:
    """Return numbers that ``numbers`` wrote; see ``from_number``."""
    return [from_number(value) for value in values]
