"""Colour images in, keypoint detections out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from object_pose_msgs.msg import KeypointDetectionArray
from object_pose_msgs.srv import SetModel
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, VisionInfo

from object_pose.core.errors import ObjectPoseError
from object_pose.core.params import parameter
from object_pose.io.messages import image_from_message
from object_pose.ros import conversions, names, qos
from object_pose.ros.image_conversions import make_header
from object_pose.ros.pipeline_node import PipelineNode
from object_pose.ros.spinning import spin_node
from object_pose.ros.worker import NewestWorker
from object_pose.runtime.predictor import Detector, DetectorConfig
from object_pose.runtime.resources import find_model
from object_pose.runtime.timing import StageClock


@dataclass(frozen=True)
class DetectionNodeConfig:
    """What the detection node adds to the detector's parameters."""

    model: str = parameter("parts.onnx", "model file, or the name of a shipped model", read_only=True)
    input_reliability: str = parameter(
        "best_effort", "QoS of the image subscription", choices=("best_effort", "reliable"), read_only=True
    )


class DetectionNode(PipelineNode):
    """Runs the network on the newest colour image while anybody listens."""

    def __init__(self, **node_options: object) -> None:
        super().__init__("detection_node", DetectionNodeConfig, DetectorConfig, **node_options)
        self._keypoints = self.announce(KeypointDetectionArray, names.KEYPOINTS, qos.RESULT)
        self._boxes = self.announce(Detection2DArray, names.DETECTIONS_2D, qos.RESULT)
        self._info = self.announce(VisionInfo, names.VISION_INFO, qos.LATCHED)
        self.create_service(SetModel, "~/set_model", self._set_model)

    def configure(self) -> None:
        """Load the model."""
        self._model = find_model(self.config(DetectionNodeConfig).model)
        self._detector = Detector(self._model, self.config(DetectorConfig))

    def activate(self) -> None:
        """Announce the model and listen to the camera."""
        self._worker = NewestWorker("detection", self._detect, self.frame_failed)
        self._announce()
        profile = qos.input_profile(self.config(DetectionNodeConfig).input_reliability, qos.SENSOR_INPUT)
        self.watch(Image, names.COLOR, self._worker.offer, profile)

    def deactivate(self) -> None:
        """Finish the image in hand."""
        self._worker.stop()

    def parameters_changed(self) -> None:
        """Use new thresholds from the next image on; the network itself stays."""
        self._detector = self._detector.with_config(self.config(DetectorConfig))

    def _detect(self, message: Image) -> None:
        if not (self._keypoints.get_subscription_count() or self._boxes.get_subscription_count()):
            return
        detector, model, clock = self._detector, self._model, StageClock()
        with clock.stage("total"):
            detections = detector.detect(image_from_message(message), clock)
        labels = detector.card.labels
        result = conversions.keypoints_to_message(detections, labels, message.header, (message.width, message.height))
        # Both networks: the detector and, where the model has one, its crop-level head.
        inference_ms = clock.timings_ms["inference"] + clock.timings_ms.get("crops", 0.0)
        result.model, result.inference_ms = str(model), inference_ms
        result.dropped_frames = self._worker.dropped
        self._keypoints.publish(result)
        if self._boxes.get_subscription_count():
            self._boxes.publish(conversions.detections_2d_to_message(detections, labels, message.header))
        self.diagnostics.gauge("dropped_frames", self._worker.dropped)
        self.diagnostics.processed(inference_ms=inference_ms, total_ms=clock.timings_ms["total"])

    def _announce(self) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        info = conversions.vision_info(self._detector.card, str(self._model), make_header(stamp_ns, ""))
        self._info.publish(info)
        self.diagnostics.gauge("model", self._model)

    def _set_model(self, request: SetModel.Request, response: SetModel.Response) -> SetModel.Response:
        try:
            model: Path = find_model(request.model)
            self._detector, self._model = Detector(model, self.config(DetectorConfig)), model
        except ObjectPoseError as error:
            response.message = str(error)
            return response
        self._announce()
        response.success, response.class_names = True, list(self._detector.card.labels)
        return response


def main() -> int:
    """Run the node alone."""
    return spin_node(DetectionNode)


if __name__ == "__main__":
    raise SystemExit(main())
