"""Frames straight from an Intel RealSense camera, or from an SDK recording, without ROS."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.distortion import EQUIDISTANT, NONE, PLUMB_BOB
from object_pose.io.image_encodings import RawImage, rgb_from_raw
from object_pose.io.images import depth_in_metres

_TIMEOUT_MS = 5000
_ENCODINGS = {"y8": "mono8", "y16": "mono16"}  # ROS has the SDK's other names: rgb8, bgr8, rgba8, bgra8, yuyv, uyvy


def realsense_frames(
    width: int = 640, height: int = 480, rate_hz: int = 30, serial: str = "", recording: str | Path | None = None
) -> Iterator[Frame]:
    """Yield colour frames with depth aligned to them, from the camera ``serial`` (any when empty) or a recording.

    Raises ``DataError`` when the SDK, the camera or its stream is not there, or frames stop for five seconds.
    """
    sdk = _import_sdk()
    config = sdk.config()
    if recording is not None:
        config.enable_device_from_file(str(recording), repeat_playback=False)
    else:
        if serial:
            config.enable_device(serial)
        config.enable_stream(sdk.stream.color, width, height, sdk.format.rgb8, rate_hz)
        config.enable_stream(sdk.stream.depth, width, height, sdk.format.z16, rate_hz)
    pipeline = sdk.pipeline()
    try:
        profile = pipeline.start(config)
    except RuntimeError as error:
        raise DataError(f"the RealSense camera does not start: {error}", "is it plugged in and not in use?") from error
    try:
        unit_m = float(profile.get_device().first_depth_sensor().get_depth_scale())
        camera = _camera(profile.get_stream(sdk.stream.color).as_video_stream_profile().get_intrinsics())
        align = sdk.align(sdk.stream.color)
        while True:
            arrived, frames = pipeline.try_wait_for_frames(_TIMEOUT_MS)
            if not arrived:
                break
            aligned = align.process(frames)
            color, depth = aligned.get_color_frame(), aligned.get_depth_frame()
            if color and depth:
                yield _frame(color, depth, camera, unit_m)
    finally:
        pipeline.stop()
    if recording is None:
        raise DataError(f"the RealSense camera sent no frame for {_TIMEOUT_MS / 1000:.0f} s", "check its USB cable")


def _import_sdk() -> Any:
    try:
        return importlib.import_module("pyrealsense2")
    except ImportError as error:
        raise DataError(f"the RealSense SDK cannot be imported: {error}", "pip install pyrealsense2") from error


def _camera(intrinsics: Any) -> Camera:
    """Convert the SDK's intrinsics; as in OpenCV, pixel centres are integers.

    Coefficients are (k1, k2, p1, p2, k3), of a Kannala-Brandt lens (k1, k2, k3, k4). Raises ``CalibrationError`` for
    another model that distorts.
    """
    coefficients, name = tuple(float(value) for value in intrinsics.coeffs), str(intrinsics.model).split(".")[-1]
    if name == "kannala_brandt4":
        coefficients, model = coefficients[:4], EQUIDISTANT
    elif not any(coefficients):
        coefficients, model = (), NONE
    elif name in ("brown_conrady", "modified_brown_conrady"):
        model = PLUMB_BOB
    else:
        raise CalibrationError(f"the RealSense camera has the distortion model '{name}', which is not known")
    return Camera(
        intrinsics.width,
        intrinsics.height,
        intrinsics.fx,
        intrinsics.fy,
        intrinsics.ppx,
        intrinsics.ppy,
        coefficients,
        model,
    )


def _frame(color: Any, depth: Any, camera: Camera, unit_m: float) -> Frame:
    """Copy a pair out of the SDK's buffers, which it uses again."""
    name = str(color.get_profile().format()).split(".")[-1]
    pixels = np.ascontiguousarray(color.get_data())
    step = pixels.nbytes // camera.height
    rgb = rgb_from_raw(RawImage(_ENCODINGS.get(name, name), *camera.wh, step, False, pixels.tobytes()))
    depth_m = depth_in_metres(np.asanyarray(depth.get_data()), unit_m)
    return Frame(rgb, camera, depth_m, round(color.get_timestamp() * 1e6))
