"""ROS messages to values, by their fields alone: images to arrays, poses and truths. It serves rclpy and rosbags."""

from __future__ import annotations

from typing import Any

import numpy as np

from object_pose.core.arrays import Array, DepthImage, Image
from object_pose.core.errors import DataError
from object_pose.core.frame import NS_PER_S
from object_pose.core.geometry import se3
from object_pose.core.geometry.extrinsics import Extrinsics
from object_pose.core.results.pose import ObjectPose, ObjectTruth, PoseRejection, RejectionReason
from object_pose.io.image_encodings import (
    RawImage,
    depth_from_compressed,
    depth_from_raw,
    rgb_from_compressed,
    rgb_from_raw,
)

_QUATERNION_TOLERANCE = 1e-2  # of its length, as in tf2


def stamp_ns(message: Any) -> int:
    """Return the header stamp of a message in nanoseconds."""
    return int(message.header.stamp.sec) * NS_PER_S + int(message.header.stamp.nanosec)


def image_from_message(message: Any) -> Image:
    """Return a ``sensor_msgs/Image`` or ``CompressedImage`` as (H, W, 3) RGB.

    Raises ``DataError`` for an encoding of something else, and for data that does not fit.
    """
    if hasattr(message, "format"):
        return rgb_from_compressed(message.format, message.data)
    return rgb_from_raw(_raw(message))


def depth_from_message(message: Any, unit_m: float = 1e-3) -> DepthImage:
    """Return a depth ``sensor_msgs/Image`` or ``CompressedImage`` as (H, W) metres, 0 where there is none.

    16 bits count ``unit_m``, 32 bits are metres. Raises ``DataError`` as ``image_from_message`` does.
    """
    if hasattr(message, "format"):
        return depth_from_compressed(message.format, message.data, unit_m)
    return depth_from_raw(_raw(message), unit_m)


def _raw(message: Any) -> RawImage:
    return RawImage(
        message.encoding, message.width, message.height, message.step, bool(message.is_bigendian), message.data
    )


def pose_from_message(pose: Any) -> Array:
    """Return the (4, 4) transform of a ``geometry_msgs/Pose``; raises ``DataError`` where it is none."""
    return _transform(pose.orientation, pose.position)


def transform_from_message(transform: Any) -> Array:
    """Return the (4, 4) transform of a ``geometry_msgs/Transform``; raises ``DataError`` where it is none."""
    return _transform(transform.rotation, transform.translation)


def _transform(rotation: Any, translation: Any) -> Array:
    quat = np.array([rotation.w, rotation.x, rotation.y, rotation.z], dtype=np.float64)
    place = np.array([translation.x, translation.y, translation.z], dtype=np.float64)
    if not np.isfinite([*quat, *place]).all() or not abs(np.linalg.norm(quat) - 1.0) <= _QUATERNION_TOLERANCE:
        w, x, y, z = quat
        raise DataError(
            f"a pose at {place.tolist()} with the quaternion ({x:g}, {y:g}, {z:g}, {w:g}) is no rigid transform",
            "positions are finite, and quaternions have the length 1",
        )
    return se3.make_transform(se3.rotation_from_quat_wxyz(quat), place)


def extrinsics_from_message(stamped: Any) -> Extrinsics:
    """Return where the child frame of a ``geometry_msgs/TransformStamped`` stands in its parent.

    Raises ``DataError`` or ``CalibrationError``, which name the frames, where it is no rigid transform between two.
    """
    parent, child = stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/")
    try:
        return Extrinsics(parent, child, transform_from_message(stamped.transform))
    except DataError as error:
        raise DataError(f"the transform from '{child}' to '{parent}': {error.message}", error.hint) from error


def truths_from_message(message: Any) -> tuple[ObjectTruth, ...]:
    """Return the true objects of an ``object_pose_msgs/ObjectTruthArray``; raises ``DataError`` for a pose of none."""
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
    """Return the poses of an ``object_pose_msgs/ObjectPoseArray``; raises ``DataError`` for an impossible one."""
    try:
        return tuple(_object_pose(item) for item in message.poses)
    except ValueError as error:
        raise DataError(f"a recorded pose is impossible: {error}") from error


def rejections_from_message(message: Any) -> tuple[PoseRejection, ...]:
    """Return the rejections of an ``object_pose_msgs/ObjectPoseArray``."""
    return tuple(
        PoseRejection(
            int(item.class_id),
            item.class_name,
            float(item.score),
            np.array(item.box_xyxy, dtype=np.float64),
            RejectionReason(item.reason),
            item.detail,
        )
        for item in message.rejections
    )


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
