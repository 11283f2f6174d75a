"""Config dataclasses as command-line options, and configs back from what the user typed."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from object_pose.core.errors import ConfigError
from object_pose.core.params import Parameter, make_config, parameters, unknown_parameter

ConfigT = TypeVar("ConfigT")


def add_config_options(
    parser: argparse.ArgumentParser, config_class: type, title: str, leave_out: Collection[str] = ()
) -> None:
    """Add one ``--name`` option a declared parameter; only those that the user gives override anything."""
    group = parser.add_argument_group(title)
    for item in parameters(config_class):
        if item.name in leave_out:
            continue
        flag = "--" + item.name.replace("_", "-")
        text = f"{item.description} (default: {item.default})".replace("%", "%%")
        if item.type is bool:
            group.add_argument(flag, dest=item.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            group.add_argument(
                flag, dest=item.name, type=_converter(item), default=None, metavar=_metavar(item), help=text
            )
    names = frozenset(item.name for item in parameters(config_class))
    parser.set_defaults(known_parameters=names | (parser.get_default("known_parameters") or frozenset()))


def config_from_options(
    options: argparse.Namespace, config_class: type[ConfigT], defaults: Mapping[str, Any] | None = None
) -> ConfigT:
    """Build a config: the user's options over the file of ``--config`` over ``defaults`` over the declared defaults.

    Raises ``ConfigError`` where the file names a parameter that the verb does not have.
    """
    known = {item.name for item in parameters(config_class)}
    values = dict(defaults or {})
    if getattr(options, "config", None):
        in_file = _read_parameters(options.config, options.known_parameters)
        values |= {name: value for name, value in in_file.items() if name in known}
    given = {name: getattr(options, name) for name in known if getattr(options, name, None) is not None}
    return make_config(config_class, values | given)


def _read_parameters(path: Path, known: Collection[str]) -> dict[str, Any]:
    values = read_yaml(path)
    for name in values:
        if name not in known:
            error = unknown_parameter(str(name), known)
            raise ConfigError(f"{path}: {error.message}", error.hint)
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raises ``ConfigError`` naming the file and what is wrong in it."""
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", "check the path of --config") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold 'name: value' lines")
    return values


def _converter(item: Parameter) -> Any:
    def convert(text: str) -> Any:
        try:
            return item.check(item.type(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{text}' is not a {item.type.__name__}") from error
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _metavar(item: Parameter) -> str:
    return "{" + ",".join(item.choices) + "}" if item.choices else item.type.__name__.upper()
