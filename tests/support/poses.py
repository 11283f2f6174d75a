"""Poses as the solver would report them."""

from __future__ import annotations

from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose


def pose_of(model: ObjectModel, class_id: int, T_camera_object: Array, **told: Any) -> ObjectPose:
    """A sure pose of an object that depth confirms; ``told`` is what the test says otherwise."""
    usual = {
        "score": 0.9,
        "covariance": np.eye(6) * 1e-6,
        "box_xyxy": np.zeros(4),
        "reprojection_rms_px": 1.0,
        "depth_rms_m": 0.001,
        "visibility": 0.9,
        "depth_used": True,
    }
    return ObjectPose(
        class_id=class_id,
        class_name=model.name,
        T_camera_object=T_camera_object,
        box_center=model.box_center,
        box_size=model.box_size,
        **(usual | told),
    )
