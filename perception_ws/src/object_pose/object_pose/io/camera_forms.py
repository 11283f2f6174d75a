"""Camera files of other tools, as the fields of camera_info.

OpenCV's FileStorage (XML, YAML, JSON), ROS's ``ost.ini``, Kalibr's camchain, VINS, COLMAP's ``cameras.txt``, and the
names that RealSense, Open3D, ORB-SLAM, nerfstudio and BOP give to focal lengths and principal point.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.distortion import EQUIDISTANT, NONE, PLUMB_BOB, RATIONAL
from object_pose.io.files import YamlLoader, parse_xml, parse_yaml

logger = logging.getLogger(__name__)

# Field of a pinhole camera -> its names.
_PINHOLE = {
    "width": ("width", "w", "image_width", "Camera.width"),
    "height": ("height", "h", "image_height", "Camera.height"),
    "fx": ("fx", "fl_x", "Camera.fx", "Camera1.fx", "mu"),
    "fy": ("fy", "fl_y", "Camera.fy", "Camera1.fy", "mv"),
    "cx": ("cx", "ppx", "Camera.cx", "Camera1.cx", "u0"),
    "cy": ("cy", "ppy", "Camera.cy", "Camera1.cy", "v0"),
}
_COEFFICIENTS = {
    PLUMB_BOB: ("k1", "k2", "p1", "p2", "k3"),
    RATIONAL: ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    EQUIDISTANT: ("k1", "k2", "k3", "k4"),
}
# Distortion models under other names; what is not here is refused by its own name.
_MODELS = {
    "PINHOLE": PLUMB_BOB,
    "SIMPLE_PINHOLE": PLUMB_BOB,
    "SIMPLE_RADIAL": PLUMB_BOB,
    "RADIAL": PLUMB_BOB,
    "OPENCV": PLUMB_BOB,
    "FULL_OPENCV": RATIONAL,
    "OPENCV_FISHEYE": EQUIDISTANT,
    "KANNALA_BRANDT": EQUIDISTANT,
    "radtan": PLUMB_BOB,
    "brown_conrady": PLUMB_BOB,
    "modified_brown_conrady": PLUMB_BOB,
    "inverse_brown_conrady": PLUMB_BOB,
    "PinHole": PLUMB_BOB,
    "equi": EQUIDISTANT,
    "kannala_brandt4": EQUIDISTANT,
    "KannalaBrandt8": EQUIDISTANT,
}
# COLMAP's models: the names of their parameters.
_COLMAP = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
    "FULL_OPENCV": "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6",
    "OPENCV_FISHEYE": "fx fy cx cy k1 k2 k3 k4",
}
_HALF_PIXEL = 0.5  # COLMAP and its followers count from the first pixel's corner, others from its centre
_INI_SECTIONS = {
    "camera matrix": ("camera_matrix", 9),
    "distortion": ("distortion_coefficients", 0),
    "rectification": ("rectification_matrix", 9),
    "projection": ("projection_matrix", 12),
}


def camera_fields(text: str) -> Mapping[str, Any]:
    """Return the fields of a camera file's text under names of camera_info, and ``depth_scale`` beside them.

    Pixel centres are integers, and ``depth_scale`` is millimetres in one count, whatever the form counts from and in.
    Raises ``CalibrationError`` where it holds no camera, several, or one that is no pinhole; ``ValueError`` where the
    text is neither YAML, JSON, XML nor INI.
    """
    if text.lstrip().startswith("<"):
        values = _from_xml(text)
    elif cameras := re.findall(r"^\d+ +([A-Z_]+) +(\d+) +(\d+)((?: +[-+.\deE]+)+) *$", text, re.MULTILINE):
        values = _from_colmap(cameras)
    elif re.search(r"^\[image\]\s*$", text, re.MULTILINE):
        values = _from_ini(text)
    else:
        values = parse_yaml(_plain_yaml(text), _Loader)
    if not isinstance(values, dict):
        raise CalibrationError("it holds no fields", "expected camera_info YAML, or OpenCV's, Kalibr's or BOP's file")
    camera = _only_camera(values)
    return {**_in_fields(camera), "depth_scale": _depth_scale(camera)}


def known_model(name: str, coefficients: Sequence[float]) -> str:
    """Return our name of a distortion model that other tools name otherwise; what is not known comes back as it is."""
    if name == "inverse_brown_conrady" and any(coefficients):
        logger.warning("distortion model '%s' is read as plumb_bob, as realsense-ros publishes it", name)
    return _MODELS.get(name, name)


def number(value: Any, name: str) -> float:
    """Return a field's number, which may be text; raises ``CalibrationError`` naming it where it is none."""
    if value is None:
        raise CalibrationError(f"{name} is missing")
    try:
        if not isinstance(value, bool):
            return float(value)  # of text, too: YAML reads 1e3 as such
    except (TypeError, ValueError, OverflowError):
        pass
    raise CalibrationError(f"{name} must be a number, got {value!r}")


class _Loader(YamlLoader):
    """Safe YAML that knows OpenCV's matrices."""


_Loader.add_constructor(
    "tag:yaml.org,2002:opencv-matrix", lambda loader, node: loader.construct_mapping(node, deep=True)
)


def _plain_yaml(text: str) -> str:
    """Return the first document: without OpenCV's version line, what ROS says before it, and what follows ``---``."""
    text = re.sub(r"\A%YAML:1\.0\s*", "", text)
    text = re.sub(r"\A(?:A message was lost!!!.*\n(?:\s.*\n)*)+", "---\n", text)
    documents = [part for part in re.split(r"^---\s*$", text, flags=re.MULTILINE) if part.strip()]
    return documents[0] if documents else ""


def _from_xml(text: str) -> dict[str, Any]:
    """Return the values of OpenCV's XML; matrices are the numbers in them."""
    root = parse_xml(text)
    return {item.tag: (item.findtext("data") or item.text or "").split() if len(item) else item.text for item in root}


def _from_colmap(cameras: Sequence[tuple[str, str, str, str]]) -> dict[str, Any]:
    """Return the values of the one line 'id MODEL width height parameters'."""
    if len(cameras) > 1:
        raise CalibrationError(f"it holds {len(cameras)} cameras", "write one of them into a file of its own")
    ((model, width, height, numbers),) = cameras
    names = _COLMAP.get(model, "").split()
    if len(names) != len(numbers.split()):
        problem = f"camera model {model} with {len(numbers.split())} parameters"
        raise CalibrationError(problem, f"expected one of {', '.join(_COLMAP)}")
    values: dict[str, Any] = {"w": width, "h": height, "model": model, **dict(zip(names, map(float, numbers.split())))}
    if "f" in values:
        values |= {"fx": values["f"], "fy": values["f"]}
    return values | {name: values[name] - _HALF_PIXEL for name in ("cx", "cy")}


def _from_ini(text: str) -> dict[str, Any]:
    """Return the values of ``ost.ini``: a title above its numbers."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("[")]
    values: dict[str, Any] = {}
    for index, line in enumerate(lines):
        if line in ("width", "height"):
            values[f"image_{line}"] = lines[index + 1] if index + 1 < len(lines) else None
        elif line in _INI_SECTIONS:
            name, count = _INI_SECTIONS[line]
            numbers = [word for row in lines[index + 1 : index + 4] for word in row.split()]
            values[name] = numbers[:count] if count else lines[index + 1].split() if index + 1 < len(lines) else []
    return values


def _only_camera(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values, or the one camera that is nested in them, as deep as it may be."""
    nested = {name: item for name, item in values.items() if isinstance(item, dict) and "data" not in item}
    cameras = {name: item for name, item in nested.items() if item.keys() & _MARKS}
    if values.keys() & _MARKS:
        return values
    if not cameras:
        return _only_camera(next(iter(nested.values()))) if len(nested) == 1 else values
    if len(cameras) > 1:
        names = ", ".join(map(str, list(cameras)[:5]))
        raise CalibrationError(f"it holds {len(cameras)} cameras: {names}", "write one of them into a file of its own")
    shared = {name: values[name] for name in ("depth_scale",) if name in values}
    return {**shared, **next(iter(cameras.values()))}


_CAMODOCAL = ("projection_parameters", "distortion_parameters")
_MARKS = {
    *_CAMODOCAL,
    "camera_matrix",
    "K",
    "k",
    "cam_K",
    "intrinsics",
    "mtx",
    "cameraMatrix",
    "Camera_Matrix",
    *_PINHOLE["fx"],
}


def _in_fields(values: dict[str, Any]) -> Mapping[str, Any]:
    """Return values of other tools under the names of camera_info; those that have them stay as they are."""
    given = {_RENAMED.get(name, name): value for name, value in values.items()}
    size = given.get("resolution") or given.get("image_size")
    if isinstance(size, (list, tuple)) and len(size) == 2:
        # MegaPose and HappyPose, who give K, mean height and width.
        width, height = reversed(size) if "resolution" in given and "K" in given else size
        given = {"width": width, "height": height, **given}
    if "camera_model" in given and "intrinsics" in given:
        return _kalibr(given)
    if isinstance(given.get(_CAMODOCAL[0]), dict):
        given = _camodocal(given)
    columns = given.get("intrinsic_matrix")  # Open3D writes them one after the other
    if isinstance(columns, list) and len(columns) == 9:
        given["K"] = [columns[3 * column + row] for row in range(3) for column in range(3)]
    if any(name in given for name in _PINHOLE["fx"]):
        return _pinhole(given)
    if "k1" in given:
        given["D"], given["distortion_model"] = _distortion(given)
    elif given.get("distortion_model"):
        given["distortion_model"] = _model({"distortion_model": given["distortion_model"], "D": given.get("D")})
    elif _is_set(given.get("fisheye_model")):  # a flag of OpenCV's calibration sample
        given["distortion_model"] = EQUIDISTANT
    return given


_RENAMED = {"cam_K": "K", "mtx": "K", "dist": "D", "dist_coeff": "D", "dist_coefs": "D", "distortion_coeffs": "D"}


def _kalibr(given: Mapping[str, Any]) -> dict[str, Any]:
    model, numbers = given["camera_model"], given.get("intrinsics")
    if model != "pinhole" or not isinstance(numbers, list) or len(numbers) != 4:
        raise CalibrationError(f"camera_model '{model}' with intrinsics {numbers!r}", "expected pinhole with four")
    fx, fy, cx, cy = numbers
    return dict(given) | {"K": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0], "distortion_model": _model(given)}


def _camodocal(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested parameters beside the others; the fisheye model counts its coefficients from k2."""
    parts = [given[name] for name in _CAMODOCAL if isinstance(given.get(name), dict)]
    flat = {name: value for part in parts for name, value in part.items()}
    if given.get("model_type") not in ("PINHOLE", "KANNALA_BRANDT"):
        raise CalibrationError(f"model_type '{given.get('model_type')}'", "expected PINHOLE or KANNALA_BRANDT")
    if given["model_type"] == "KANNALA_BRANDT":
        flat |= {f"k{index}": flat.get(f"k{index + 1}", 0.0) for index in (1, 2, 3, 4)} | {"k5": 0.0}
    return {**given, **flat}


def _pinhole(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return focal lengths and principal point as K, coefficients that stand one by one as D."""
    found = {field: next((given[name] for name in names if name in given), None) for field, names in _PINHOLE.items()}
    fx, fy, cx, cy = (number(found[field], field) for field in ("fx", "fy", "cx", "cy"))
    offset = _HALF_PIXEL if "fl_x" in given else 0.0  # nerfstudio and instant-ngp
    fields: dict[str, Any] = {"width": number(found["width"], "width"), "height": number(found["height"], "height")}
    fields["K"] = [fx, 0.0, cx - offset, 0.0, fy, cy - offset, 0.0, 0.0, 1.0]
    fields["D"], fields["distortion_model"] = _distortion(given)
    return fields


def _distortion(given: Mapping[str, Any]) -> tuple[Any, str]:
    model = _model(given)
    if _is_set(given.get("is_fisheye")):  # instant-ngp
        if model not in ("", EQUIDISTANT):
            raise CalibrationError(f"is_fisheye is set, but the camera model is '{model}'", "remove one of them")
        model = EQUIDISTANT
    if "coeffs" in given or "D" in given:
        values = given.get("coeffs", given.get("D"))
        return (values, model) if not isinstance(values, list) or any(values) or model == EQUIDISTANT else ([], NONE)
    prefixes = ("", "Camera.", "Camera1.")
    stated = {
        name: number(given[prefix + name], name)
        for name in _COEFFICIENTS[RATIONAL]
        for prefix in prefixes
        if given.get(prefix + name) is not None
    }
    if model in ("", PLUMB_BOB):
        model = RATIONAL if any(stated.get(name) for name in ("k4", "k5", "k6")) else PLUMB_BOB
        if model == RATIONAL and not {"k5", "k6"} <= stated.keys():
            raise CalibrationError(
                "k4 is given without k5 and k6, which fits several distortion models",
                "name the model in 'distortion_model': equidistant for a fisheye, else rational_polynomial",
            )
    names = _COEFFICIENTS.get(model, _COEFFICIENTS[PLUMB_BOB])
    lost = [name for name, value in stated.items() if value and name not in names]
    if lost:
        raise CalibrationError(f"distortion model '{model}' has no {', '.join(lost)}", "name the model that has them")
    values = [stated.get(name, 0.0) for name in names]
    return (values, model) if any(values) or model == EQUIDISTANT else ([], NONE)


def _model(given: Mapping[str, Any]) -> str:
    places = ("distortion_model", "model", "Camera.type", "camera_model", "model_type")
    named = str(next((given[name] for name in places if name in given), ""))
    coefficients = given.get("coeffs", given.get("D"))
    return known_model(named.rpartition(".")[2], coefficients if isinstance(coefficients, list) else ())


def _depth_scale(given: Mapping[str, Any]) -> float | None:
    """Return millimetres in one count of depth, whatever the form counts in; None where nothing is said.

    ORB-SLAM and Open3D give counts a metre, the RealSense SDK metres a count, BOP millimetres a count.
    """
    name = next((name for name in (*_DEPTH_FACTORS, "depth_scale") if given.get(name) is not None), "")
    if not name:
        return None
    stated = number(given[name], name)
    if name in _DEPTH_FACTORS and 0.0 <= stated <= 1.0:  # depth is in metres already, as floating-point numbers
        return None
    if name in _DEPTH_FACTORS or "intrinsic_matrix" in given:
        unit, scale = "counts a metre", 1000.0 / stated if stated else 0.0
    elif "ppx" in given:
        unit, scale = "metres a count", 1000.0 * stated
    else:
        unit, scale = "millimetres a count", stated
    low, high = _PLAUSIBLE_DEPTH_SCALES
    if not low <= scale <= high:
        raise CalibrationError(
            f"{name} {stated:g} means {unit} in such a file, so one count of depth would be {scale:g} mm",
            f"expected {low:g} to {high:g} mm: 1 mm is written as {_ONE_MILLIMETRE[unit]}",
        )
    return scale


_DEPTH_FACTORS = ("DepthMapFactor", "RGBD.DepthMapFactor")
_PLAUSIBLE_DEPTH_SCALES = 0.01, 10.0  # millimetres a count
_ONE_MILLIMETRE = {"counts a metre": "1000", "metres a count": "0.001", "millimetres a count": "1"}


def _is_set(flag: Any) -> bool:
    """Whether a flag of a file is set, which may be a number or, in XML, text."""
    return str(flag).strip().lower() not in ("", "none", "0", "0.0", "false", "no")
