"""Camera intrinsics on disk: the YAML that ROS camera calibration writes, and BOP's ``camera.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.io.files import replacing

_MODELS = ("plumb_bob", "rational_polynomial", "")
_NOMINAL_FOV_DEG = 60.0


def read_camera(path: str | Path) -> Camera:
    """Read a camera from YAML (image_width, image_height, camera_matrix, ...) or BOP JSON (width, height, fx, ...).

    Raises ``CalibrationError`` naming the file and the field that is missing or impossible.
    """
    file = Path(path)
    try:
        values = yaml.safe_load(file.read_text())  # JSON is YAML too
    except FileNotFoundError as error:
        raise CalibrationError(f"camera file {file} does not exist") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CalibrationError(f"camera file {file} cannot be read as YAML or JSON", str(error)) from error
    try:
        if not isinstance(values, dict):
            raise CalibrationError("it holds no fields")
        return _from_bop(values) if "fx" in values else _from_camera_info(values)
    except CalibrationError as error:
        raise CalibrationError(f"camera file {file}: {error.message}", error.hint) from error


def write_camera(path: str | Path, camera: Camera, name: str = "camera") -> None:
    """Write a camera as the YAML that ROS drivers load."""
    distortion = list(camera.distortion) or [0.0] * 5
    projection = np.hstack([camera.matrix, np.zeros((3, 1))])
    document = {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": name,
        "camera_matrix": _matrix(camera.matrix),
        "distortion_model": "rational_polynomial" if len(distortion) == 8 else "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": len(distortion), "data": distortion},
        "rectification_matrix": _matrix(np.eye(3)),
        "projection_matrix": _matrix(projection),
    }
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(document, sort_keys=False, default_flow_style=None))


def nominal_camera(width: int, height: int) -> Camera:
    """Return a centred camera of 60 degrees field of view, for work on images that needs no metric geometry."""
    focal = 0.5 * width / math.tan(math.radians(0.5 * _NOMINAL_FOV_DEG))
    return Camera(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1))


def _from_bop(values: Mapping[str, Any]) -> Camera:
    width, height, fx, fy, cx, cy = (_number(values, name) for name in ("width", "height", "fx", "fy", "cx", "cy"))
    return Camera(int(width), int(height), fx, fy, cx, cy)


def _from_camera_info(values: Mapping[str, Any]) -> Camera:
    model = values.get("distortion_model", "")
    if model not in _MODELS:
        raise CalibrationError(f"distortion_model '{model}' is not known", f"expected one of {', '.join(_MODELS[:2])}")
    matrix = _numbers(values, "camera_matrix")
    if len(matrix) != 9:
        raise CalibrationError(f"camera_matrix has {len(matrix)} numbers, expected 9")
    distortion = _numbers(values, "distortion_coefficients") if "distortion_coefficients" in values else []
    width, height = int(_number(values, "image_width")), int(_number(values, "image_height"))
    return Camera(width, height, matrix[0], matrix[4], matrix[2], matrix[5], tuple(distortion))


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CalibrationError(f"{name} is missing" if value is None else f"{name} must be a number, got {value!r}")
    return float(value)


def _numbers(values: Mapping[str, Any], name: str) -> list[float]:
    """Return a field's numbers, be they under ``data``, a flat list or nested rows."""
    field = values.get(name)
    data = field.get("data") if isinstance(field, dict) else field
    if data is None:
        raise CalibrationError(f"{name} is missing")
    try:
        return [float(number) for number in np.asarray(data, dtype=np.float64).ravel()]
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"{name} must hold numbers, got {data!r}") from error


def _matrix(matrix: Any) -> dict[str, Any]:
    return {"rows": matrix.shape[0], "cols": matrix.shape[1], "data": [float(value) for value in matrix.ravel()]}
