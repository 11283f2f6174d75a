"""What the pose node has of one model file: the objects' geometry, and with it the reading of its detections."""

from __future__ import annotations

from pathlib import Path

from object_pose_msgs.msg import KeypointDetectionArray

from object_pose.core.errors import DataError, ModelError
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.tracking.tracker import Tracker, TrackerConfig
from object_pose.ros.messages.conversions import keypoints_from_message
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
