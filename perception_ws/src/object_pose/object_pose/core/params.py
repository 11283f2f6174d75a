"""Parameters declared once, as dataclass fields, and read from there by the command line, YAML, ROS and HTTP.

A field whose type is another config dataclass nests it: its parameters have dotted names, ``solver.depth.scale_sigma``.
"""

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
    """One parameter: its (dotted) name, type (bool, int, float or str), default, meaning and bounds (inclusive)."""

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
    """Return the declared parameters of a config dataclass, in order; those of nested configs have dotted names."""
    return _parameters_of(config_class, config_class)


def _parameters_of(config_class: type, defaults: Any) -> tuple[Parameter, ...]:
    """Return the parameters of a config class with the defaults of one of its instances, or its own."""
    hints = typing.get_type_hints(config_class)
    found: list[Parameter] = []
    for field in dataclasses.fields(config_class):
        default = field.default if defaults is config_class else getattr(defaults, field.name)
        if _KEY in field.metadata:
            found.append(Parameter(field.name, hints[field.name], default, **field.metadata[_KEY]))
        elif nested := _nested_class(hints[field.name]):
            inner = _parameters_of(nested, nested if default is None else default)
            found += [dataclasses.replace(item, name=f"{field.name}.{item.name}") for item in inner]
    return tuple(found)


def _nested_class(hint: Any) -> type | None:
    """Return the config dataclass that a field's type is, or is where it is not None; None for another type."""
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) and dataclasses.is_dataclass(kinds[0]) else None


def make_config(config_class: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build a config from user values, which nest or have dotted names; see ``replace_values``."""
    return replace_values(config_class(), values)


def replace_values(config: ConfigT, values: Mapping[str, Any]) -> ConfigT:
    """Return a config with some of its parameters changed, given as nested mappings or under their dotted names.

    A nested config that is None becomes one as soon as any of its parameters is given. Raises ``ConfigError`` for
    unknown names, with the nearest known one, and for values out of range.
    """
    known = {item.name: item for item in parameters(type(config))}
    flat = flatten(values)
    for name in flat:
        if name not in known:
            raise unknown_parameter(name, known)
    changed: ConfigT = _replaced(config, {name: known[name].check(value) for name, value in flat.items()})
    return changed


def _replaced(config: Any, values: Mapping[str, Any]) -> Any:
    own = {name: value for name, value in values.items() if "." not in name}
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        group, _, rest = name.partition(".")
        if rest:
            groups.setdefault(group, {})[rest] = value
    hints = typing.get_type_hints(type(config))
    for group, inner in groups.items():
        current = getattr(config, group)
        nested = _nested_class(hints[group])
        assert nested  # its parameters are known
        own[group] = _replaced(nested() if current is None else current, inner)
    return dataclasses.replace(config, **own)


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as one of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": item for inner, item in flatten(value).items()}
        else:
            flat[str(name)] = value
    return flat


def unknown_parameter(name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that is not among the known ones, with the nearest of them."""
    names = list(known)
    near = nearest_name(name, names)
    hint = f"did you mean '{near}'?" if near else f"known: {', '.join(sorted(names))}"
    return ConfigError(f"unknown parameter '{name}'", hint)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known dotted name that is most like a name, whole or in its last part; None where none is."""
    names = list(known)
    last = {full.rpartition(".")[2]: full for full in reversed(names)}
    near = difflib.get_close_matches(name, names, n=1)
    by_last = difflib.get_close_matches(name.rpartition(".")[2], list(last), n=1)
    return near[0] if near else last[by_last[0]] if by_last else None
