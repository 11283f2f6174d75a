"""ROS messages as fuzz inputs: JSON of their fields, with bytes as base64."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.fuzz_kinds.kind import CAMERA, Kind, depth_picture, encoded, picture, read_each, use_camera
from benchmarks.fuzz_mutation import Files, dump_json, mutated_bytes
from object_pose.core.geometry.distortion import MODEL_COEFFICIENTS
from object_pose.core.geometry.transform_tree import TransformTree
from object_pose.io.camera_info import info_from_message
from object_pose.io.messages import (
    depth_from_message,
    extrinsics_from_message,
    image_from_message,
    poses_from_message,
    truths_from_message,
)

_BYTES_KEY = "base64"


def _message(rng: random.Random, seeds: Sequence[Files]) -> Files:
    fields = json.loads(rng.choice(seeds)["message.json"])
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(sorted(fields))
        fields[name] = _spoilt_field(rng, name, fields[name])
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


def _spoilt_field(rng: random.Random, name: str, value: Any) -> Any:
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
        return [*numbers, *rng.choices(_FLOATS, k=rng.randint(0, 9))] if name == "d" else numbers
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
    pose = {"position": [0.1, -0.2, 0.9], "orientation": [0.0, 0.6, 0.0, 0.8]}
    messages.append({"parent": "base", "child": "camera", **pose})
    box = {"class_id": 1, "class_name": "cube", "visibility": 0.9, "box_xyxy": [3.0, 4.0, 15.0, 17.0]}
    messages.append({**box, **pose, "score": 0.9, "covariance": np.diag([1e-6] * 6).ravel().tolist()})
    return [{"message.json": dump_json(message)} for message in messages]


def _read_message(folder: Path) -> None:
    fields = json.loads((folder / "message.json").read_bytes())
    if "k" in fields:
        message = SimpleNamespace(**{name: _field(value) for name, value in fields.items()})
        info = info_from_message(message)
        read_each(lambda: use_camera(info.camera()), lambda: use_camera(info.camera(rectified=True)))
        return
    if "orientation" in fields:
        _read_poses(fields)
        return
    message = SimpleNamespace(**fields | {"data": base64.b64decode(fields["data"][_BYTES_KEY])})
    read_each(lambda: image_from_message(message), lambda: depth_from_message(message))


def _read_poses(fields: Mapping[str, Any]) -> None:
    """Read a pose as a transform of /tf, as a true object and as an estimated one."""
    place, turn = (SimpleNamespace(**dict(zip("xyzw", fields[name]))) for name in ("position", "orientation"))
    if "child" in fields:
        transform = SimpleNamespace(translation=place, rotation=turn)
        header = SimpleNamespace(frame_id=fields["parent"])
        stamped = SimpleNamespace(header=header, child_frame_id=fields["child"], transform=transform)
        tree = TransformTree()
        tree.add(extrinsics_from_message(stamped), 0, fixed=True)
        tree.look_up("base", "camera", 5)
        return
    pose = SimpleNamespace(position=place, orientation=turn)
    truth = SimpleNamespace(**fields, pose=pose)
    size = SimpleNamespace(x=0.1, y=0.1, z=0.1)
    more = {"reprojection_rms_px": 0.5, "depth_rms_m": 0.001, "depth_used": True, "track_id": 3, "track_age": 9}
    estimate = SimpleNamespace(
        **{**fields, **more},
        pose=SimpleNamespace(pose=pose, covariance=fields["covariance"]),
        box=SimpleNamespace(center=pose, size=size),
    )
    read_each(
        lambda: truths_from_message(SimpleNamespace(objects=[truth])),
        lambda: poses_from_message(SimpleNamespace(poses=[estimate])),
    )


def _field(value: Any) -> Any:
    return SimpleNamespace(**value) if isinstance(value, dict) else value


KINDS = {"message": Kind(300, _message_seeds, _read_message, _message)}
