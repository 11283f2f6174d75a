"""Config dataclasses as command-line options, configs back from what the user typed, and the option ``--model``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from object_pose.core.errors import ConfigError, ModelError
from object_pose.core.params import Parameter, flatten, make_config, parameters, unknown_parameter
from object_pose.io.files import load_yaml
from object_pose.runtime.resources import find_model

ConfigT = TypeVar("ConfigT")


def add_model_option(
    parser: argparse.ArgumentParser, default: str | None = None, meaning: str = "ONNX model", required: bool = False
) -> None:
    """Add ``--model``, a file or the name of a shipped model; the option's value is the file's path."""
    text = f"{meaning}: a file, or the name of a shipped model" + (f" (default: {default})" if default else "")
    parser.add_argument("--model", type=model_file, default=default, required=required, help=text)


def model_file(name: str) -> Path:
    """Return the model file that a command line names, as argparse wants it."""
    try:
        return find_model(name)
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_config_options(
    parser: argparse.ArgumentParser,
    config_class: type,
    title: str,
    leave_out: Collection[str] = (),
    prefix: str = "",
) -> None:
    """Add one option a declared parameter, its name in dashes: ``--solver.depth.scale-sigma``.

    Only those that the user gives override anything. ``prefix`` is what nests the config, such as ``solver.``.
    """
    group = parser.add_argument_group(title)
    declared = [dataclasses.replace(item, name=prefix + item.name) for item in parameters(config_class)]
    for item in declared:
        if item.name not in leave_out:
            add_parameter_option(group, item, "--" + item.name.replace("_", "-"), item.name)
    names = frozenset(item.name for item in declared)
    parser.set_defaults(known_parameters=names | (parser.get_default("known_parameters") or frozenset()))


def add_parameter_option(parser: argparse._ActionsContainer, item: Parameter, flag: str, destination: str) -> None:
    """Add an option for a declared parameter; it is None where the user does not give it."""
    text = f"{item.description} (default: {item.default!r})".replace("%", "%%")
    if item.type is bool:
        parser.add_argument(flag, dest=destination, action=argparse.BooleanOptionalAction, default=None, help=text)
    else:
        kind, metavar = _converter(item), _metavar(item)
        parser.add_argument(flag, dest=destination, type=kind, default=None, metavar=metavar, help=text)


def config_from_options(
    options: argparse.Namespace, config_class: type[ConfigT], defaults: Mapping[str, Any] | None = None
) -> ConfigT:
    """Build a config: the user's options over the file of ``--config`` over ``defaults`` over the declared defaults.

    Raises ``ConfigError`` where the file names a parameter that the verb does not have.
    """
    return make_config(config_class, dict(defaults or {}) | given_values(options, config_class))


def given_values(options: argparse.Namespace, config_class: type, prefix: str = "") -> dict[str, Any]:
    """Return those parameters of a config that the user gives, by name: on the command line, or in ``--config``."""
    values = _read_parameters(options.config, options.known_parameters) if getattr(options, "config", None) else {}
    names = {item.name: prefix + item.name for item in parameters(config_class)}
    values |= {name: getattr(options, name) for name in names.values() if getattr(options, name, None) is not None}
    return {name: values[full] for name, full in names.items() if full in values}


def _read_parameters(path: Path, known: Collection[str]) -> dict[str, Any]:
    values = flatten(read_yaml(path))
    for name in values:
        if name not in known:
            error = unknown_parameter(name, known)
            raise ConfigError(f"{path}: {error.message}", error.hint)
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raises ``ConfigError`` naming the file and what is wrong in it."""
    try:
        values = load_yaml(path, ConfigError)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", "check the path of --config") from error
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
