"""Camera intrinsics as messages and files carry them: ROS's camera_info, its YAML forms, OpenCV's and BOP's.

One value, ``CameraInfo``, holds what is written there; ``CameraInfo.camera`` is the camera that took the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.distortion import (
    EQUIDISTANT,
    MODEL_COEFFICIENTS,
    NONE,
    PLUMB_BOB,
    model_of,
    reconcile_model,
)
from object_pose.io.camera_forms import camera_fields, number
from object_pose.io.files import decode_text, replacing

_MODELS = {name: name for name in MODEL_COEFFICIENTS} | {"fisheye": EQUIDISTANT}
_NOMINAL_FOV_DEG = 60.0
_LARGEST_FILE = 1 << 20
_LARGEST_SIDE = 1 << 16
# Field -> its names in camera_info YAML and OpenCV's samples, in messages of ROS 2 and ROS 1, in OpenCV's other tools.
_NAMES = {
    "width": ("image_width", "width", "image_Width"),
    "height": ("image_height", "height", "image_Height"),
    "distortion_model": ("distortion_model",),
    "d": ("distortion_coefficients", "d", "D", "Distortion_Coefficients", "dist_coeffs", "distCoeffs"),
    "k": ("camera_matrix", "k", "K", "Camera_Matrix", "cameraMatrix"),
    "r": ("rectification_matrix", "r", "R"),
    "p": ("projection_matrix", "p", "P"),
    "binning_x": ("binning_x",),
    "binning_y": ("binning_y",),
    "roi": ("roi",),
}


@dataclass(frozen=True)
class Roi:
    """A region of the full image, in its pixels; a size of 0 is the whole image."""

    x_offset: int = 0
    y_offset: int = 0
    height: int = 0
    width: int = 0


@dataclass(frozen=True)
class CameraInfo:
    """What a ``sensor_msgs/CameraInfo`` says, of the full image of ``width`` x ``height`` before ``roi`` and binning.

    ``k`` (3 x 3, by rows) and ``d`` belong to the raw image, ``r`` (3 x 3) and ``p`` (3 x 4) to the rectified one;
    ``p`` is zero where nothing was said. ``depth_scale`` is millimetres in one count of 16-bit depth, as in BOP's
    camera.json, None where nothing was said.
    """

    width: int
    height: int
    k: tuple[float, ...]
    distortion_model: str = ""
    d: tuple[float, ...] = ()
    r: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    p: tuple[float, ...] = (0.0,) * 12
    binning_x: int = 0
    binning_y: int = 0
    roi: Roi = Roi()
    depth_scale: float | None = None

    def camera(self, rectified: bool = False) -> Camera:
        """Return the camera of the image as it is sent: region cut out, then binned.

        A ``rectified`` image belongs to P and has no distortion. Raises ``CalibrationError`` where what is written is
        impossible or nothing is.
        """
        size = self.width, self.height
        if rectified:
            if not self.p[0] > 0.0:
                raise CalibrationError("a rectified image needs projection_matrix (p), which is zero or missing")
            full = Camera.from_matrix(*size, np.reshape(self.p, (3, 4))[:, :3])
        else:
            model, coefficients = self._distortion()
            full = Camera.from_matrix(*size, np.reshape(self.k, (3, 3)), coefficients, model)
        roi = self.roi
        if roi.width and roi.height:
            full = full.cropped(roi.x_offset, roi.y_offset, roi.width, roi.height)
        return full.binned(max(1, self.binning_x), max(1, self.binning_y))

    def _distortion(self) -> tuple[str, tuple[float, ...]]:
        model = _MODELS.get(self.distortion_model) if self.distortion_model else ""
        if model is None:
            raise CalibrationError(
                f"distortion_model '{self.distortion_model}' is not known", f"expected one of {', '.join(_MODELS)}"
            )
        if model != EQUIDISTANT and not any(self.d):
            return NONE, ()
        return reconcile_model(model or model_of(self.d), self.d)

    def rectification_problem(self, topic: str) -> str:
        """Say that a topic named as rectified is read with K and D though P differs; empty where all agrees."""
        projection = (*self.p[0:3], *self.p[4:7], *self.p[8:11])
        agrees = np.allclose(projection, self.k, rtol=1e-4, atol=1e-2) and not any(self.d)
        if "_rect" not in topic or not self.p[0] > 0.0 or agrees:
            return ""
        return (
            f"{topic} looks rectified, but is read with the raw image's K and D, which differ from P: "
            "set 'rectified' (--rectified) if it is"
        )


_ROI_FIELDS = ("x_offset", "y_offset", "height", "width")


def info_of_camera(camera: Camera) -> CameraInfo:
    """Return the camera_info of a camera; without distortion it is 'plumb_bob' with zeros, as ROS writes it."""
    matrix = tuple(float(value) for value in camera.matrix.ravel())
    projection = (*matrix[0:3], 0.0, *matrix[3:6], 0.0, *matrix[6:9], 0.0)
    model, distortion = camera.distortion_model, camera.distortion
    if model == NONE:
        model, distortion = PLUMB_BOB, (0.0,) * 5
    return CameraInfo(camera.width, camera.height, matrix, model, distortion, p=projection)


def info_from_message(message: Any) -> CameraInfo:
    """Return what a ``sensor_msgs/CameraInfo`` says, of ROS 2 (k, d) or ROS 1 (K, D), of rclpy or rosbags."""
    names = (name for options in _NAMES.values() for name in options)
    values = {name: getattr(message, name) for name in names if hasattr(message, name)}
    return _from_fields(values | {"roi": {name: getattr(message.roi, name) for name in _ROI_FIELDS}})


def message_fields(info: CameraInfo, make_roi: Callable[..., Any]) -> dict[str, Any]:
    """Return the fields of a ``sensor_msgs/CameraInfo`` without its header; ``make_roi`` is the class of its region."""
    roi = info.roi
    return {
        "height": info.height,
        "width": info.width,
        "distortion_model": info.distortion_model,
        "d": np.asarray(info.d, dtype=np.float64),
        "k": np.asarray(info.k, dtype=np.float64),
        "r": np.asarray(info.r, dtype=np.float64),
        "p": np.asarray(info.p, dtype=np.float64),
        "binning_x": info.binning_x,
        "binning_y": info.binning_y,
        "roi": make_roi(
            x_offset=roi.x_offset, y_offset=roi.y_offset, height=roi.height, width=roi.width, do_rectify=False
        ),
    }


def read_camera_info(path: str | Path) -> CameraInfo:
    """Read camera_info YAML, the output of ``ros2 topic echo``, BOP's ``camera.json``, or a file of ``camera_forms``.

    Raises ``CalibrationError`` naming the file and the field that is missing or impossible.
    """
    file = Path(path)
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise CalibrationError(f"camera file {file} is larger than a camera file can be")
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise CalibrationError(f"camera file {file} does not exist") from error
    except OSError as error:
        raise CalibrationError(f"camera file {file} cannot be read", str(error)) from error
    return parse_camera_info(content, f"camera file {file}")


def parse_camera_info(content: bytes, name: str) -> CameraInfo:
    """Return what a camera file says, given its bytes and what to call it in errors; see ``read_camera_info``."""
    if len(content) > _LARGEST_FILE:
        raise CalibrationError(f"{name} is larger than a camera file can be")
    try:
        return _from_fields(camera_fields(decode_text(content)))
    except UnicodeDecodeError as error:
        raise CalibrationError(f"{name} cannot be read", str(error)) from error
    except ValueError as error:
        raise CalibrationError(f"{name} is neither YAML, JSON, XML nor INI", str(error)) from error
    except CalibrationError as error:
        raise CalibrationError(f"{name}: {error.message}", error.hint) from error


def read_camera(path: str | Path, rectified: bool = False) -> Camera:
    """Read the camera of a file, see ``read_camera_info``; ``rectified`` images belong to its projection matrix."""
    return read_depth_camera(path, rectified)[0]


def read_depth_camera(path: str | Path, rectified: bool = False) -> tuple[Camera, float | None]:
    """Read the camera of a file, and the depth scale where it has one; see ``read_camera``."""
    try:
        info = read_camera_info(path)
        return info.camera(rectified), info.depth_scale
    except CalibrationError as error:
        named = str(path) in error.message
        raise error if named else CalibrationError(f"camera file {path}: {error.message}", error.hint) from error


def write_camera_info(path: str | Path, info: CameraInfo, name: str = "camera") -> None:
    """Write the YAML that ROS drivers load; fields that it does not know are written where they are set."""
    document: dict[str, Any] = {
        "image_width": info.width,
        "image_height": info.height,
        "camera_name": name,
        "camera_matrix": _matrix(info.k, 3),
        "distortion_model": info.distortion_model,
        "distortion_coefficients": _matrix(info.d, 1),
        "rectification_matrix": _matrix(info.r, 3),
        "projection_matrix": _matrix(info.p, 3),
    }
    if info.binning_x or info.binning_y:
        document |= {"binning_x": info.binning_x, "binning_y": info.binning_y}
    if info.roi != Roi():
        document["roi"] = vars(info.roi)
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(document, sort_keys=False, default_flow_style=None))


def write_camera(path: str | Path, camera: Camera, name: str = "camera") -> None:
    """Write a camera as the YAML that ROS drivers load."""
    write_camera_info(path, info_of_camera(camera), name)


def nominal_camera(width: int, height: int) -> Camera:
    """Return a centred camera of 60 degrees field of view, for work on images that needs no metric geometry."""
    focal = 0.5 * width / math.tan(math.radians(0.5 * _NOMINAL_FOV_DEG))
    return Camera(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1))


def _from_fields(given: Mapping[str, Any]) -> CameraInfo:
    """Return the camera_info of fields under whichever of their names."""
    fields = _Fields(given)
    roi = given.get("roi") or {}
    if not isinstance(roi, Mapping):
        raise CalibrationError(f"roi must hold x_offset, y_offset, height and width, got {roi!r}")
    values: dict[str, Any] = {
        "width": fields.count("width"),
        "height": fields.count("height"),
        "distortion_model": str(fields.value("distortion_model") or ""),
        "k": fields.numbers("k", 9),
        "roi": Roi(**{name: _count(roi.get(name, 0), f"roi.{name}") for name in _ROI_FIELDS}),
    }
    for field, count in (("d", None), ("r", 9), ("p", 12)):
        if fields.has(field):
            values[field] = fields.numbers(field, count)
    for field in ("binning_x", "binning_y"):
        if fields.has(field):
            values[field] = fields.count(field)
    return CameraInfo(**values, depth_scale=given.get("depth_scale"))


class _Fields:
    """Fields under the names that ``_NAMES`` lists, with errors that say the name that is there or expected."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def name(self, field: str) -> str:
        return next((name for name in _NAMES[field] if self._given.get(name) is not None), _NAMES[field][0])

    def value(self, field: str) -> Any:
        return self._given.get(self.name(field))

    def has(self, field: str) -> bool:
        return self.value(field) is not None

    def count(self, field: str) -> int:
        return _count(self.value(field), self.name(field))

    def numbers(self, field: str, count: int | None = None) -> tuple[float, ...]:
        """Return a field's numbers, be they under ``data``, a flat list or nested rows."""
        name, value = self.name(field), self.value(field)
        data = value.get("data") if isinstance(value, Mapping) else value
        if data is None:
            raise CalibrationError(f"{name} is missing")
        try:
            numbers = tuple(float(value) for value in np.asarray(data, dtype=np.float64).ravel())
        except (TypeError, ValueError, OverflowError) as error:
            raise CalibrationError(f"{name} must hold numbers, got {data!r}") from error
        if count is not None and len(numbers) != count:
            raise CalibrationError(f"{name} has {len(numbers)} numbers, expected {count}")
        return numbers


def _count(value: Any, name: str) -> int:
    count = number(value, name)
    if not 0 <= count <= _LARGEST_SIDE:
        raise CalibrationError(f"{name} must be between 0 and {_LARGEST_SIDE}, got {value!r}")
    return int(count)


def _matrix(values: tuple[float, ...], rows: int) -> dict[str, Any]:
    return {"rows": rows, "cols": len(values) // rows, "data": list(values)}
