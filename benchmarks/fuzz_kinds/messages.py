"""ROS messages as fuzz inputs: JSON of their fields, with bytes as base64."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.fuzz_kinds.kind import CAMERA, Kind, depth_picture, encoded, picture, read_each, use_camera
from benchmarks.fuzz_mutation import Files, dump_json, mutated_bytes
from object_pose.core.geometry.distortion import MODEL_COEFFICIENTS
from object_pose.io.camera_info import info_from_message
from object_pose.io.messages import depth_from_message, image_from_message

_BYTES_KEY = "base64"


def _message(rng: random.Random, seeds: Sequence[Files]) -> Files:
    fields = json.loads(rng.choice(seeds)["message.json"])
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(sorted(fields))
        fields[name] = _spoilt_field(rng, fields[name])
    if "encoding" in fields and rng.random() < 0.5:
        fields["encoding"] = rng.choice(_ENCODINGS)
    return {"message.json": dump_json(fields)}


_ENCODINGS = (
    "rgb8", "bgra16", "mono8", "mono16", "8UC3", "16UC1", "32FC1", "yuv422", "yuv422_yuy2", "nv12", "nv21",
    "bayer_rggb8", "bayer_gbrg16", "64FC3", "", "rgb8; jpeg compressed bgr8",
)  # fmt: skip
_FORMATS = (
    "jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png", "16UC1; compressedDepth rvl",
    "32FC1; compressedDepth png", "32FC1; compressedDepth rvl", "; compressedDepth", "", "16UC1;",
)  # fmt: skip
_UNSIGNED = (0, 1, 2, 3, 7, 24, 31, 65535, 65536, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e308, -1e308, 1e19, float("nan"), float("inf"), float("-inf"), 30.0)


def _spoilt_field(rng: random.Random, value: Any) -> Any:
    """Return another value of the same type, as the type of a ROS message's field allows it."""
    if isinstance(value, dict) and _BYTES_KEY in value:
        content = mutated_bytes(rng, base64.b64decode(value[_BYTES_KEY]))
        return {_BYTES_KEY: base64.b64encode(content).decode()}
    if isinstance(value, dict):
        return value | {rng.choice(sorted(value)): rng.choice(_UNSIGNED)}
    if isinstance(value, str):
        return rng.choice((*_FORMATS, *MODEL_COEFFICIENTS, "fisheye", "x" * 3000, "\0", "²"))
    if isinstance(value, list):
        numbers = [rng.choice(_FLOATS) if rng.random() < 0.3 else number for number in value]
        return numbers if len(value) in (9, 12) else [*numbers, *rng.choices(_FLOATS, k=rng.randint(0, 9))]
    return rng.choice(_UNSIGNED)


def _message_seeds() -> list[Files]:
    def packed(content: bytes) -> dict[str, str]:
        return {_BYTES_KEY: base64.b64encode(content).decode()}

    size = {"width": 32, "height": 24, "is_bigendian": 0}
    rvl = struct.pack("<iffiiII", 0, 100.0, 0.1, 4, 2, 0x08122222, 0x22200000)
    raw = [("rgb8", 3, picture()), ("16UC1", 2, depth_picture()), ("32FC1", 4, depth_picture().astype(np.float32))]
    messages: list[dict[str, Any]] = [
        {**size, "encoding": encoding, "step": 32 * width, "data": packed(pixels.tobytes())}
        for encoding, width, pixels in raw
    ]
    messages += [
        {"format": "jpeg", "data": packed(encoded(".jpg", picture()))},
        {"format": "png", "data": packed(encoded(".png", depth_picture()))},
        {"format": "16UC1; compressedDepth png", "data": packed(b"\0" * 12 + encoded(".png", depth_picture()))},
        {"format": "32FC1; compressedDepth rvl", "data": packed(rvl)},
    ]
    for model, coefficients in (("plumb_bob", 5), ("equidistant", 4), ("rational_polynomial", 8)):
        info: dict[str, Any] = {"width": 32, "height": 24, "binning_x": 0, "binning_y": 0, "distortion_model": model}
        info |= {"d": [0.01] * coefficients, "k": CAMERA.matrix.ravel().tolist(), "r": np.eye(3).ravel().tolist()}
        info |= {"p": np.hstack([CAMERA.matrix, np.zeros((3, 1))]).ravel().tolist()}
        messages.append(info | {"roi": dict.fromkeys(("x_offset", "y_offset", "height", "width"), 0)})
    return [{"message.json": dump_json(message)} for message in messages]


def _read_message(folder: Path) -> None:
    fields = json.loads((folder / "message.json").read_bytes())
    if "k" in fields:
        message = SimpleNamespace(**{name: _field(value) for name, value in fields.items()})
        info = info_from_message(message)
        read_each(lambda: use_camera(info.camera()), lambda: use_camera(info.camera(rectified=True)))
        return
    message = SimpleNamespace(**fields | {"data": base64.b64decode(fields["data"][_BYTES_KEY])})
    read_each(lambda: image_from_message(message), lambda: depth_from_message(message))


def _field(value: Any) -> Any:
    return SimpleNamespace(**value) if isinstance(value, dict) else value


KINDS = {"message": Kind(300, _message_seeds, _read_message, _message)}
