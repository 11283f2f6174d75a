"""Where parts may be gripped: grasp frames by class, from a YAML file beside the model."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import ConfigError
from object_pose.core.geometry import se3
from object_pose.io.files import load_yaml

SUFFIX = ".grasps.yaml"
_FIELDS = ("position", "rpy_deg", "quat_wxyz", "width")


@dataclass(frozen=True)
class Grasp:
    """How a gripper stands on an object: ``T_object_grasp`` (4, 4), and how far it opens, in metres.

    The gripper approaches along the grasp frame's z axis and closes along its y axis, as in MoveIt.
    """

    T_object_grasp: Array
    width_m: float


def grasps_file(model: Path) -> Path:
    """Return where the grasps of a model's objects lie: ``parts.grasps.yaml`` beside ``parts.onnx``."""
    return model.with_name(model.stem + SUFFIX)


def read_grasps(path: str | Path) -> dict[str, tuple[Grasp, ...]]:
    """Read the grasps of each class; raises ``ConfigError`` naming class and field of what cannot be used.

    A class has a list of grasps, each with ``position`` (metres), ``rpy_deg`` or ``quat_wxyz``, and ``width`` (metres).
    """
    file = Path(path)
    try:
        document = load_yaml(file, ConfigError)
    except OSError as error:
        raise ConfigError(f"grasp file {file} cannot be read: {error.strerror}") from error
    if not isinstance(document, dict) or not all(isinstance(items, list) for items in document.values()):
        raise ConfigError(f"grasp file {file} must map class names to lists of grasps")
    return {
        str(name): tuple(_grasp(item, f"grasp file {file}: {name}[{index}]") for index, item in enumerate(items))
        for name, items in document.items()
    }


def _grasp(item: Any, where: str) -> Grasp:
    if not isinstance(item, dict):
        raise ConfigError(f"{where} must have the fields {', '.join(_FIELDS)}")
    unknown = set(item) - set(_FIELDS)
    if unknown:
        raise ConfigError(f"{where} has an unknown field '{sorted(unknown)[0]}'", f"known: {', '.join(_FIELDS)}")
    if ("rpy_deg" in item) == ("quat_wxyz" in item):
        raise ConfigError(f"{where} needs one of rpy_deg and quat_wxyz")
    width_m = _numbers(item, "width", 1, where)[0]
    if not width_m > 0.0:
        raise ConfigError(f"{where}: width must be positive, got {width_m:g}")
    if "quat_wxyz" in item:
        quaternion = _numbers(item, "quat_wxyz", 4, where)
        if not math.isclose(float(np.linalg.norm(quaternion)), 1.0, abs_tol=1e-2):
            raise ConfigError(f"{where}: quat_wxyz must have the length 1")
        rotation = se3.rotation_from_quat_wxyz(quaternion)
    else:
        rotation = se3.rotation_from_rpy(*np.radians(_numbers(item, "rpy_deg", 3, where)))
    return Grasp(se3.make_transform(rotation, _numbers(item, "position", 3, where)), width_m)


def _numbers(item: Mapping[str, Any], name: str, count: int, where: str) -> Array:
    if name not in item:
        raise ConfigError(f"{where} has no {name}")
    values = item[name] if isinstance(item[name], list) else [item[name]]
    are_numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if len(values) == count and are_numbers and all(abs(value) <= sys.float_info.max for value in values):
        return np.array(values, dtype=np.float64)
    raise ConfigError(f"{where}: {name} must be {count} finite number(s), got {item[name]!r}")
