"""Parameters declared once, as dataclass fields, and read from there by the command line, ROS and HTTP."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from object_pose.core.errors import ConfigError

ConfigT = TypeVar("ConfigT")
_KEY = "object_pose.parameter"


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, type (bool, int, float or str), default, meaning and bounds (inclusive)."""

    name: str
    type: type
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    def check(self, value: Any) -> Any:
        """Return ``value`` in the parameter's type; raise ``ConfigError`` where it does not fit."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        kind = type(value)
        if kind is not self.type:
            raise ConfigError(f"parameter '{self.name}' must be {self.type.__name__}, got {value!r}", self.description)
        if self.choices and value not in self.choices:
            raise ConfigError(f"parameter '{self.name}' is '{value}'", f"choose one of {', '.join(self.choices)}")
        below = self.minimum is not None and not value >= self.minimum
        above = self.maximum is not None and not value <= self.maximum
        if below or above:
            bounds = f"[{self.minimum}, {self.maximum}]"
            raise ConfigError(f"parameter '{self.name}' is {value}, outside {bounds}", self.description)
        return value


def parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = False,
) -> Any:
    """Declare a dataclass field that is also a user's parameter."""
    options = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "read_only": read_only,
    }
    return dataclasses.field(default=default, metadata={_KEY: options})


def parameters(config_class: type) -> tuple[Parameter, ...]:
    """Return the declared parameters of a config dataclass, in order."""
    hints = typing.get_type_hints(config_class)
    return tuple(
        Parameter(field.name, hints[field.name], field.default, **field.metadata[_KEY])
        for field in dataclasses.fields(config_class)
        if _KEY in field.metadata
    )


def make_config(config_class: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build a config from user values; unknown names and values out of range raise ``ConfigError``."""
    known = {item.name: item for item in parameters(config_class)}
    for name in values:
        if name not in known:
            raise unknown_parameter(name, known)
    return config_class(**{name: known[name].check(value) for name, value in values.items()})


def unknown_parameter(name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that is not among the known ones, with the nearest of them."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known))}"
    return ConfigError(f"unknown parameter '{name}'", hint)
