"""ROS messages to values, by their fields alone: images to arrays, poses and truths. It serves rclpy and rosbags."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Image
from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose, ObjectTruth
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


def depth_from_message(message: Any, unit_m: float = 1e-3) -> DepthImage:
    """Return a depth ``sensor_msgs/Image`` (16UC1 in ``unit_m``, 32FC1 in metres) as (H, W) metres, 0 where none is."""
    dtype = _DEPTH_TYPES.get(message.encoding)
    if dtype is None:
        raise DataError(
            f"a depth image has encoding '{message.encoding}'", f"expected one of {', '.join(_DEPTH_TYPES)}"
        )
    return depth_in_metres(_pixels(message, dtype, 1), unit_m)


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


def pose_from_message(pose: Any) -> Array:
    """Return the (4, 4) transform of a ``geometry_msgs/Pose``."""
    q, p = pose.orientation, pose.position
    return se3.make_transform(se3.rotation_from_quat_wxyz((q.w, q.x, q.y, q.z)), (p.x, p.y, p.z))


def transform_from_message(transform: Any) -> Array:
    """Return the (4, 4) transform of a ``geometry_msgs/Transform``."""
    q, t = transform.rotation, transform.translation
    return se3.make_transform(se3.rotation_from_quat_wxyz((q.w, q.x, q.y, q.z)), (t.x, t.y, t.z))


def truths_from_message(message: Any) -> tuple[ObjectTruth, ...]:
    """Return the true objects of an ``object_pose_msgs/ObjectTruthArray``."""
    return tuple(
        ObjectTruth(
            int(item.class_id),
            item.class_name,
            pose_from_message(item.pose),
            float(item.visibility),
            np.array(item.box_xyxy, dtype=np.float64),
        )
        for item in message.objects
    )


def poses_from_message(message: Any) -> tuple[ObjectPose, ...]:
    """Return the poses of an ``object_pose_msgs/ObjectPoseArray``."""
    return tuple(_object_pose(item) for item in message.poses)


def _object_pose(item: Any) -> ObjectPose:
    T_camera_object = pose_from_message(item.pose.pose)
    T_object_box = se3.inverse(T_camera_object) @ pose_from_message(item.box.center)
    size = item.box.size
    return ObjectPose(
        class_id=int(item.class_id),
        class_name=item.class_name,
        score=float(item.score),
        T_camera_object=T_camera_object,
        covariance=np.array(item.pose.covariance, dtype=np.float64).reshape(6, 6),
        box_center=T_object_box[:3, 3],
        box_size=np.array([size.x, size.y, size.z]),
        box_xyxy=np.array(item.box_xyxy, dtype=np.float64),
        reprojection_rms_px=float(item.reprojection_rms_px),
        depth_rms_m=float(item.depth_rms_m),
        visibility=float(item.visibility),
        depth_used=bool(item.depth_used),
        track_id=int(item.track_id),
        track_age=int(item.track_age),
    )
