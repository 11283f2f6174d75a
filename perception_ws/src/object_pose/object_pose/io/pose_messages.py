"""Poses and truths in ROS messages to values, by their fields alone: it serves rclpy's and rosbags' classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose, ObjectTruth


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
