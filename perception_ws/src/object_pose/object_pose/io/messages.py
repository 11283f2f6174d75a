"""ROS image and camera messages to arrays and back, by their fields alone: it serves rclpy's and rosbags' classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera
from object_pose.core.vision.image import to_rgb
from object_pose.io.images import depth_in_metres

_COLOUR_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3}
_DEPTH_TYPES: dict[str, np.dtype[Any]] = {
    "16UC1": np.dtype(np.uint16),
    "mono16": np.dtype(np.uint16),
    "32FC1": np.dtype(np.float32),
}


def stamp_ns(message: Any) -> int:
    """Return the header stamp of a message in nanoseconds."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def image_from_message(message: Any) -> Image:
    """Return a ``sensor_msgs/Image`` as (H, W, 3) RGB; raises ``DataError`` for an encoding of something else."""
    channels = _COLOUR_CHANNELS.get(message.encoding)
    if channels is None:
        raise DataError(
            f"a colour image has encoding '{message.encoding}'", f"expected one of {', '.join(_COLOUR_CHANNELS)}"
        )
    pixels = _pixels(message, np.dtype(np.uint8), channels).reshape(message.height, message.width, channels)
    return to_rgb(pixels[:, :, [2, 1, 0]] if message.encoding.startswith("bgr") else pixels)


def depth_from_message(message: Any) -> DepthImage:
    """Return a depth ``sensor_msgs/Image`` (16UC1 mm, 32FC1 m) as (H, W) metres, 0 where there is none."""
    dtype = _DEPTH_TYPES.get(message.encoding)
    if dtype is None:
        raise DataError(
            f"a depth image has encoding '{message.encoding}'", f"expected one of {', '.join(_DEPTH_TYPES)}"
        )
    return depth_in_metres(_pixels(message, dtype, 1))


def camera_from_message(message: Any) -> Camera:
    """Return the camera of a ``sensor_msgs/CameraInfo``; raises ``CalibrationError`` when it is not calibrated."""
    matrix = np.asarray(message.k, dtype=np.float64).reshape(3, 3)
    distortion = tuple(float(value) for value in message.d) if np.any(message.d) else ()
    return Camera(
        int(message.width), int(message.height), matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], distortion
    )


def _pixels(message: Any, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """Return (H, W * channels) pixels without the padding of the rows; a view where nothing has to change."""
    row_bytes = message.width * channels * dtype.itemsize
    data = np.frombuffer(message.data, dtype=np.uint8)
    empty = message.width <= 0 or message.height <= 0
    if empty or message.step < row_bytes or data.size < message.height * message.step:
        raise DataError(
            f"an image message of {message.width}x{message.height} '{message.encoding}' has {data.size} bytes "
            f"in rows of {message.step}, expected rows of {row_bytes}"
        )
    rows = data[: message.height * message.step].reshape(message.height, message.step)[:, :row_bytes]
    stored = dtype.newbyteorder(">" if message.is_bigendian else "<")
    return np.ascontiguousarray(rows).view(stored).astype(dtype, copy=False)
