"""A kind of job, and what the declarations of several kinds share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import ConfigError
from object_pose.core.params import Parameter, make_config, parameters
from object_pose.web.jobs.options import KindDescription, Option, text
from object_pose.workflows.progress import ProgressCallback

Inputs = Mapping[str, Any]
MODEL, ANY = ".onnx", "*"


@dataclass(frozen=True)
class Kind:
    """A kind of job: ``work`` gets checked inputs and the folder for its files, and returns values for JSON."""

    description: KindDescription
    work: Callable[[Inputs, Path, ProgressCallback], dict[str, Any]]

    def run(self, inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
        """Do the work, and return JSON values."""
        values: dict[str, Any] = _plain(self.work(inputs, output, progress))
        return values


def file_option(
    name: str, description: str, suffixes: str = ANY, *, required: bool = False, many: bool = False
) -> Option:
    """Return an option that names a file of these suffixes, or ``many``."""
    return Option(text(name, description), suffixes, many, required=required)


CAMERA = file_option("camera", "camera_info YAML", ".yaml,.yml")


def number(name: str, default: float, description: str, minimum: float, maximum: float) -> Parameter:
    """Return a parameter of the default's type."""
    return Parameter(name, type(default), default, description, minimum, maximum)


def given(config_class: type, inputs: Inputs) -> Any:
    """Return a config of those inputs that are its parameters."""
    names = {item.name for item in parameters(config_class)}
    return make_config(config_class, {name: value for name, value in inputs.items() if name in names})


def path_of(inputs: Inputs, name: str) -> Path | None:
    """Return the file that an input names, if it is given."""
    return Path(inputs[name]) if inputs.get(name) else None


def file_stem(name: str) -> str:
    """Return the name of a file to be made; raises ``ConfigError`` where it would be none, or lie elsewhere."""
    if not name or name.startswith(".") or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise ConfigError(f"'{name}' is no name of a file", "use letters, digits, '_', '-' and '.'")
    return name


def _plain(value: Any) -> Any:
    """Return JSON values: arrays as lists, numbers that JSON does not have as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
