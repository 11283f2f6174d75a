"""The options of a kind of job: declared once, shown as JSON Schema, checked before a job is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from object_pose.core.errors import ConfigError
from object_pose.core.params import Parameter, unknown_parameter

_TYPES = {"boolean": bool, "integer": int, "number": float, "string": str}
_NAMES = {kind: name for name, kind in _TYPES.items()}
MOST_ITEMS = 10_000
_LONGEST = 1024


@dataclass(frozen=True)
class Option:
    """One option: a parameter, a list of ``many``, a ``mapping`` of texts or numbers by name, or files.

    ``files`` are the suffixes of files that are taken, '*' for any file or folder, '' where the option names none.
    ``advanced`` ones are for those who know them.
    """

    parameter: Parameter
    files: str = ""
    many: bool = False
    mapping: bool = False
    required: bool = False
    advanced: bool = False

    @property
    def name(self) -> str:
        """The option's name."""
        return self.parameter.name

    def schema(self) -> dict[str, Any]:
        """Return the option as JSON Schema."""
        item, value = self.parameter, self._item_schema()
        if self.many:
            value = {"type": "array", "items": value, "maxItems": MOST_ITEMS}
        if self.mapping:
            value = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
        value["description"] = item.description
        if not self.required:
            value["default"] = item.default
        if self.files:
            value["format"] = "upload"
            value["accept"] = "" if self.files == "*" else self.files
        if self.advanced:
            value["x-advanced"] = True
        return value

    def check(self, value: Any, find: Callable[[str, str], str]) -> Any:
        """Return a value that fits, files as ``find(name, suffixes)`` finds them; raises ``ConfigError``."""
        if self.mapping:
            if not _is_flat(value):
                raise ConfigError(f"option '{self.name}' must be an object of texts and numbers")
            return dict(value)
        if self.many:
            if not isinstance(value, list) or len(value) > MOST_ITEMS:
                raise ConfigError(f"option '{self.name}' must be a list of at most {MOST_ITEMS}")
            if self.required and not value:
                raise ConfigError(f"option '{self.name}' is empty", self.parameter.description)
            return [self._checked(item, find) for item in value]
        return self._checked(value, find)

    def _checked(self, value: Any, find: Callable[[str, str], str]) -> Any:
        value = self.parameter.check(value)
        if isinstance(value, str) and len(value) > _LONGEST:
            raise ConfigError(f"option '{self.name}' is longer than {_LONGEST} characters")
        return find(value, self.files) if self.files and value != self.parameter.default else value

    def _item_schema(self) -> dict[str, Any]:
        item = self.parameter
        limits = {"minimum": item.minimum, "maximum": item.maximum, "enum": list(item.choices) or None}
        limits["maxLength"] = _LONGEST if item.type is str and not item.choices else None
        return {"type": _NAMES[item.type]} | {name: limit for name, limit in limits.items() if limit is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the option for another process."""
        values = dataclasses.asdict(self)
        values["parameter"]["type"] = _NAMES[self.parameter.type]
        return values

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Option:
        """Return what ``to_json`` wrote."""
        item = dict(values["parameter"])
        item |= {"type": _TYPES[item["type"]], "choices": tuple(item["choices"])}
        return Option(**{**values, "parameter": Parameter(**item)})


@dataclass(frozen=True)
class KindDescription:
    """A kind of job for those who ask for one: ``resumes`` says that it goes on where it was stopped.

    ``problem`` says why it cannot be had here, empty where it can.
    """

    name: str
    title: str
    description: str
    options: tuple[Option, ...]
    resumes: bool = False
    problem: str = ""

    def schema(self) -> dict[str, Any]:
        """Return the options as JSON Schema of an object."""
        return {
            "type": "object",
            "properties": {option.name: option.schema() for option in self.options},
            "required": [option.name for option in self.options if option.required],
            "additionalProperties": False,
        }

    def check(self, given: Mapping[str, Any], find: Callable[[str, str], str]) -> dict[str, Any]:
        """Return the options that were given, checked; raises ``ConfigError`` naming the first that does not fit."""
        if self.problem:
            raise ConfigError(f"'{self.name}' cannot be done here: {self.problem}")
        known = {option.name: option for option in self.options}
        for name in given:
            if name not in known:
                raise unknown_parameter(name, known)
        missing = [option for option in self.options if option.required and option.name not in given]
        if missing:
            raise ConfigError(f"option '{missing[0].name}' is missing", missing[0].parameter.description)
        return {name: known[name].check(value, find) for name, value in given.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the description for another process."""
        return {**vars(self), "options": [option.to_json() for option in self.options]}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> KindDescription:
        """Return what ``to_json`` wrote."""
        return KindDescription(**{**values, "options": tuple(map(Option.from_json, values["options"]))})


def _is_flat(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(item, str | int | float) for item in value.values())


def from_parameters(
    declared: Iterable[Parameter], shown: Iterable[str] = (), leave_out: Iterable[str] = ()
) -> list[Option]:
    """Return the options of declared parameters; all but the ``shown`` ones are advanced."""
    shown, leave_out = set(shown), set(leave_out)
    return [Option(item, advanced=item.name not in shown) for item in declared if item.name not in leave_out]


def text(name: str, description: str, default: str = "", choices: tuple[str, ...] = ()) -> Parameter:
    """Return a parameter of text."""
    return Parameter(name, str, default, description, choices=choices)
