"""What the pose node reads, checked: camera, depth, and the objects' geometry that the model file holds."""

from __future__ import annotations

from pathlib import Path

from object_pose_msgs.msg import KeypointDetectionArray
from sensor_msgs.msg import CameraInfo, Image

from object_pose.core.camera import Camera
from object_pose.core.errors import CalibrationError, DataError, ModelError
from object_pose.core.pose_solver import PoseSolver, PoseSolverConfig
from object_pose.core.tracking import Tracker, TrackerConfig
from object_pose.core.types import DepthImage, Detections
from object_pose.io.messages import camera_from_message, depth_from_message
from object_pose.ros.conversions import keypoints_from_message
from object_pose.runtime.predictor import load_card


class PoseHead:
    """Solver and tracker for the objects of one model file; raises ``ModelError`` where it holds no geometry."""

    def __init__(self, model: Path, solver_config: PoseSolverConfig, tracker_config: TrackerConfig | None) -> None:
        card = load_card(model)
        if not card.objects:
            raise ModelError(
                f"model file {model} carries no object geometry, so it detects but cannot estimate poses",
                "train and export it for the task 'pose'",
            )
        self.settings = (model, solver_config, tracker_config)
        self.class_names = card.labels
        self.solver = PoseSolver(card.objects, solver_config)
        self.tracker = Tracker(card.objects, tracker_config) if tracker_config else None
        self._keypoint_count = card.keypoint_count

    def read_detections(self, message: KeypointDetectionArray) -> Detections:
        """Return the detections; raises ``DataError`` where their classes or keypoints are not this model's."""
        for item in message.detections:
            known = 0 <= item.class_id < len(self.class_names)
            if not known or item.class_name != self.class_names[item.class_id]:
                raise DataError(
                    f"class {item.class_id} '{item.class_name}' is detected, the model has {list(self.class_names)}",
                    "detection and pose node must use the same model file",
                )
        try:
            return keypoints_from_message(message, self._keypoint_count)
        except ValueError as error:
            raise DataError(str(error), "detection and pose node must use the same model file") from error


def read_camera(message: CameraInfo, detections: KeypointDetectionArray) -> Camera:
    """Return the camera; raises ``CalibrationError`` where it is impossible or not the image's."""
    camera = camera_from_message(message)
    image_wh = (detections.image_width, detections.image_height)
    if camera.wh != image_wh:
        raise CalibrationError(
            f"camera_info is for {camera.width}x{camera.height}, the image has {image_wh[0]}x{image_wh[1]}",
            "publish the intrinsics of this resolution",
        )
    return camera


def read_depth(message: Image, camera: Camera) -> DepthImage:
    """Return depth in metres; raises ``DataError`` for an encoding, a size or a content that is of no use."""
    depth_m = depth_from_message(message)
    if depth_m.shape != (camera.height, camera.width):
        raise DataError(
            f"depth is {message.width}x{message.height}, the colour image {camera.width}x{camera.height}",
            "publish depth aligned to colour (realsense-ros: align_depth.enable:=true)",
        )
    if not depth_m.any():
        raise DataError("depth has no valid pixel", "is the object nearer than the sensor's minimum, the emitter off?")
    return depth_m
