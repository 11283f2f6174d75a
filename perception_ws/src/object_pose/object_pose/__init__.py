"""6-DoF object poses from RGB-D on a CPU.

    from object_pose import Frame, PoseEstimator, read_camera, read_depth, read_image

    frame = Frame(read_image("image.png"), read_camera("camera.yaml"), read_depth("depth.png"))
    estimate = PoseEstimator("parts.onnx", profile="single_image").register(frame)

Names are imported when they are first used, so that ``import object_pose`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from object_pose.core.errors import ObjectPoseError as ObjectPoseError
    from object_pose.core.frame import Frame as Frame
    from object_pose.core.geometry.camera import Camera as Camera
    from object_pose.io.camera_info import read_camera as read_camera
    from object_pose.io.images import read_depth as read_depth
    from object_pose.io.images import read_image as read_image
    from object_pose.runtime.pose_estimator import PoseEstimator as PoseEstimator
    from object_pose.runtime.predictor import Predictor as Predictor

__version__ = "0.1.0"

_MODULES = {
    "Camera": "core.geometry.camera",
    "Frame": "core.frame",
    "ObjectPoseError": "core.errors",
    "PoseEstimator": "runtime.pose_estimator",
    "Predictor": "runtime.predictor",
    "read_camera": "io.camera_info",
    "read_depth": "io.images",
    "read_image": "io.images",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module 'object_pose' has no attribute '{name}'")
    return getattr(importlib.import_module(f"object_pose.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
