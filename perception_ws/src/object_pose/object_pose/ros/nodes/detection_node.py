"""Colour images in, with depth where the model reads it; keypoint detections out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from object_pose_msgs.msg import KeypointDetectionArray
from object_pose_msgs.srv import SetModel
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray, VisionInfo

from object_pose.core.errors import ModelError
from object_pose.core.frame import AlignedDepth
from object_pose.core.params import parameter
from object_pose.io.messages import image_from_message, stamp_ns
from object_pose.ros.messages import conversions
from object_pose.ros.messages.images import make_header
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.spinning import spin_node
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.blocking_service import BlockingService, call_service
from object_pose.ros.transport.frame_inputs import (
    CAMERA_INFO,
    COLOR,
    DEPTH,
    FrameInputs,
    FrameInputsConfig,
    read_aligned_depth,
)
from object_pose.ros.transport.pairing import PairedSet
from object_pose.runtime.engine_choice import with_fastest_engine
from object_pose.runtime.model_cache import ModelCache
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.runtime.roi_head import KnownBoxes
from object_pose.runtime.timing import StageClock

_DEPTH_STREAMS = (DEPTH, CAMERA_INFO)
_TRACKED_FOR_NS = 300_000_000
_PREPARED_WITHIN_S = 300.0  # seconds on an idle machine, a minute on a busy one


@dataclass(frozen=True)
class DetectionNodeConfig(FrameInputsConfig):
    """What the detection node adds to the predictor's parameters."""

    model: str = parameter("parts.onnx", "model file, or the name of a shipped model", read_only=True)
    use_tracks: bool = parameter(
        True, "leave tracked objects, once in a while verified, out of the RoI head: they only need to be confirmed"
    )
    tracked_rate_hz: float = parameter(
        10.0, "while objects are tracked at most so many images a second are searched", minimum=0.1, maximum=1000.0
    )
    use_depth: bool = parameter(True, "give aligned depth to a model that reads it beside colour")


class DetectionNode(PipelineNode):
    """Runs the network on the newest image while anybody listens; reads depth only while the model does."""

    def __init__(self, **node_options: object) -> None:
        super().__init__("detection_node", DetectionNodeConfig, PredictorConfig, **node_options)
        self._keypoints = self.announce(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
        self._boxes = self.announce(Detection2DArray, topics.DETECTIONS_2D, qos.RESULT)
        self._info = self.announce(VisionInfo, topics.VISION_INFO, qos.LATCHED)
        self._models = ModelCache(self._open)

    def configure(self) -> None:
        """Load the model."""
        self._detector = self._models.refresh(find_model(self.config(DetectionNodeConfig).model))

    def activate(self) -> None:
        """Announce the model and listen to the camera."""
        config = self.config(DetectionNodeConfig)
        self._inputs = FrameInputs(self, config, COLOR, [DEPTH], self._detect, needs_camera=False)
        self._tracked = Detection2DArray()
        self._due_ns = 0
        # Nobody need publish it, so it is not watched as an input is.
        self._tracks = self.create_subscription(
            Detection2DArray, topics.TRACKED_2D, self._keep_tracked, qos.RESULT, **qos.subscription_events()
        )
        self._announce()
        self._follow_streams()
        self._service = BlockingService(self, SetModel, "~/set_model", self._set_model)

    def deactivate(self) -> None:
        """Finish the image and the request in hand."""
        self._service.close()
        self._inputs.stop()
        self.destroy_subscription(self._tracks)

    def parameters_changed(self) -> None:
        """Use new thresholds and streams from the next image on; the network itself stays."""
        self._follow_streams()

    def _detect(self, paired: PairedSet) -> None:
        if not (self._keypoints.get_subscription_count() or self._boxes.get_subscription_count()):
            return
        known = self._known_boxes(paired.stamp_ns)
        if len(known) and not self._is_due(paired.stamp_ns):
            return
        message: Image | CompressedImage = paired.messages[COLOR]
        detector, clock = self._detector, StageClock()
        detector = detector.with_decoding(self.config(PredictorConfig).decoding or detector.task.options)
        with clock.stage("total"):
            rgb = image_from_message(message)
            image_wh = rgb.shape[1], rgb.shape[0]
            depth = self._depth(paired, image_wh) if self._wants_depth(detector) else None
            detections = detector.predict(rgb, clock, depth, known)
        labels = detector.card.labels
        result = conversions.keypoints_to_message(detections, labels, message.header, image_wh)
        # Both networks: the detector and, where the model has one, its RoI head.
        inference_ms = clock.timings_ms["inference"] + clock.timings_ms.get("crops", 0.0)
        result.model, result.inference_ms = str(detector.path), inference_ms
        result.dropped_frames = self._inputs.dropped
        self._keypoints.publish(result)
        if self._boxes.get_subscription_count():
            self._boxes.publish(conversions.detections_2d_to_message(detections, labels, message.header))
        self.diagnostics.gauge("dropped_frames", result.dropped_frames)
        self.diagnostics.processed(inference_ms=inference_ms, total_ms=clock.timings_ms["total"])

    def _keep_tracked(self, message: Detection2DArray) -> None:
        self._tracked = message

    def _known_boxes(self, stamp: int) -> KnownBoxes:
        """Return where objects are tracked about the time of an image."""
        is_recent = abs(stamp - stamp_ns(self._tracked)) < _TRACKED_FOR_NS
        is_used = is_recent and self.config(DetectionNodeConfig).use_tracks
        message = self._tracked if is_used else Detection2DArray()
        return conversions.boxes_from_message(message, self._detector.card.labels)

    def _is_due(self, stamp: int) -> bool:
        """Return whether an image is to be searched though objects are tracked."""
        period_ns = int(1e9 / self.config(DetectionNodeConfig).tracked_rate_hz)
        if 0 < self._due_ns - stamp <= period_ns:
            return False
        is_in_step = 0 <= stamp - self._due_ns < period_ns
        self._due_ns = (self._due_ns if is_in_step else stamp) + period_ns
        return True

    def _depth(self, paired: PairedSet, image_wh: tuple[int, int]) -> AlignedDepth | None:
        """Return the image's depth, or None where it is missing or of no use: colour alone has to do then."""
        with self.diagnostics.reporting("depth"):
            return read_aligned_depth(paired, image_wh, self.config(DetectionNodeConfig))
        return None

    def _wants_depth(self, detector: Predictor) -> bool:
        return detector.reads_depth and self.config(DetectionNodeConfig).use_depth

    def _open(self, model: Path) -> Predictor:
        config = with_fastest_engine(model, self.config(PredictorConfig))
        detector = Predictor(model, config, tasks=("detect", "pose"))
        self.diagnostics.gauge("engine", detector.engine)
        return detector

    def _follow_streams(self) -> None:
        """Listen to depth and its camera if the model reads them, and to colour alone otherwise."""
        if not self.is_active:
            return
        self._inputs.follow(COLOR, *(_DEPTH_STREAMS if self._wants_depth(self._detector) else ()))

    def _announce(self) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        model = str(self._detector.path)
        self._info.publish(conversions.vision_info(self._detector.card, model, make_header(stamp_ns, "")))
        self.diagnostics.gauge("model", model)

    def _set_model(self, request: SetModel.Request, response: SetModel.Response) -> SetModel.Response:
        """Switch the model once detections and, where a pose node listens, poses of it can come."""
        detector = self._models.refresh(find_model(request.model))
        width, height = detector.card.input_wh
        detector.predict(np.zeros((height, width, 3), np.uint8))  # an engine's first image takes longer than others
        self._prepare_poses(detector.path)
        self._detector = detector
        self._announce()
        self._follow_streams()
        response.success, response.class_names = True, list(detector.card.labels)
        return response

    def _prepare_poses(self, model: Path) -> None:
        """Let the pose node prepare a model; raises ``ModelError`` where it cannot use it."""
        service = f"{self.resolve_topic_name(topics.KEYPOINTS)}/{topics.PREPARE_MODEL}"
        if not self.count_services(service):
            return
        request = SetModel.Request(model=str(model))
        answer = call_service(self, SetModel, service, request, _PREPARED_WITHIN_S, lambda: self.is_active)
        if not answer.success:
            raise ModelError(f"the pose node cannot use this model: {answer.message}")


def main() -> int:
    """Run the node alone."""
    return spin_node(DetectionNode)


if __name__ == "__main__":
    raise SystemExit(main())
