"""Colour images in, with depth where the model reads it; keypoint detections out."""

from __future__ import annotations

if __name__ == "__main__":  # before anything else is imported: see there
    from object_pose.ros.nodes.programs import run

    raise SystemExit(run("detection_node"))

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray
from object_pose_msgs.srv import SetModel
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray, VisionInfo

from object_pose.core.arrays import Image as RgbImage
from object_pose.core.errors import ModelError
from object_pose.core.frame import AlignedDepth
from object_pose.core.params import parameter
from object_pose.core.results.detections import Detections
from object_pose.io.messages import image_from_message, stamp_ns
from object_pose.mlops.monitor import DriftMonitor, MonitorConfig
from object_pose.ros.messages import conversions
from object_pose.ros.messages.images import make_header
from object_pose.ros.nodes.monitoring import Monitoring
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.spinning import spin_node
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.blocking_service import BlockingService, call_service
from object_pose.ros.transport.frame_contents import read_aligned_depth
from object_pose.ros.transport.frame_inputs import CAMERA_INFO, COLOR, DEPTH, FrameInputs, FrameInputsConfig
from object_pose.ros.transport.pairing import PairedSet
from object_pose.runtime.engine_choice import with_fastest_engine
from object_pose.runtime.model_cache import ModelCache
from object_pose.runtime.model_trial import ModelTrial, ModelTrialConfig, TrialState
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.priority import yield_cores
from object_pose.runtime.resources import find_model
from object_pose.runtime.roi_head import KnownBoxes
from object_pose.runtime.timing import StageClock

_DEPTH_STREAMS = (DEPTH, CAMERA_INFO)
_NICE = 5
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
    trial: ModelTrialConfig = ModelTrialConfig()
    monitor: MonitorConfig = MonitorConfig()
    min_sure_score: float = parameter(
        0.5,
        "an image is labelled by its boxes, in a retraining request, where all have this score",
        minimum=0.0,
        maximum=1.0,
        read_only=True,
    )


@dataclass
class _Trial:
    """A newly set model, the one before, and how the new one does; ``poses`` shows whether it gives any."""

    policy: ModelTrial
    before: Predictor
    now: Predictor
    poses: Subscription


@dataclass(frozen=True)
class _Answer:
    """What a model found in an image, and how long its stages took."""

    detector: Predictor
    detections: Detections
    clock: StageClock
    rgb: RgbImage


class DetectionNode(PipelineNode):
    """Runs the network on the newest image while anybody listens; reads depth only while the model does.

    A newly set model is on trial (``runtime/model_trial.py``): where it fails, the one before answers, and stays.
    """

    def __init__(self, **node_options: object) -> None:
        super().__init__("detection_node", DetectionNodeConfig, PredictorConfig, **node_options)
        self._keypoints = self.announce(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
        self._boxes = self.announce(Detection2DArray, topics.DETECTIONS_2D, qos.RESULT)
        self._info = self.announce(VisionInfo, topics.VISION_INFO, qos.LATCHED)
        self._models = ModelCache(self._open)
        self._trial: _Trial | None = None
        self._trial_lock = threading.Lock()  # of who sets a model and who tries it

    def configure(self) -> None:
        """Load the model."""
        config = self.config(DetectionNodeConfig)
        self._detector = self._models.refresh(find_model(config.model))
        self._monitoring = Monitoring(self, config.monitor, config.min_sure_score)
        if _is_watched(self._detector):
            self._monitoring.prepare(self._detector.path, self._detector.card.labels)

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
        self._monitoring.start()
        self._service = BlockingService(self, SetModel, "~/set_model", self._set_model)

    def deactivate(self) -> None:
        """Finish the image and the request in hand."""
        self._service.close()
        self._inputs.stop()
        self._monitoring.close()
        self._end_trial()
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
        with self._trial_lock:
            trial, detector = self._trial, self._detector
        answer = self._run(detector, paired, known) if trial is None else self._try(trial, paired, known)
        message: Image | CompressedImage = paired.messages[COLOR]
        labels, clock = answer.detector.card.labels, answer.clock
        height, width = answer.rgb.shape[:2]
        result = conversions.keypoints_to_message(answer.detections, labels, message.header, (width, height))
        # Both networks: the detector and, where the model has one, its RoI head.
        inference_ms = clock.timings_ms["inference"] + clock.timings_ms.get("crops", 0.0)
        result.model, result.inference_ms = str(answer.detector.path), inference_ms
        result.dropped_frames = self._inputs.dropped
        self._keypoints.publish(result)
        if self._boxes.get_subscription_count():
            self._boxes.publish(conversions.detections_2d_to_message(answer.detections, labels, message.header))
        self.diagnostics.gauge("dropped_frames", result.dropped_frames)
        self.diagnostics.processed(inference_ms=inference_ms, total_ms=clock.timings_ms["total"])
        if _is_watched(answer.detector):
            usual_score = answer.detector.task.options.score_threshold
            observe = partial(
                DriftMonitor.observe_image, rgb=answer.rgb, boxes=answer.detections, usual_score=usual_score
            )
            self._monitoring.offer(answer.detector.path, labels, observe)

    def _run(self, detector: Predictor, paired: PairedSet, known: KnownBoxes | None) -> _Answer:
        """Return what a model finds in an image."""
        clock = StageClock()
        detector = detector.with_decoding(self.config(PredictorConfig).decoding or detector.task.options)
        with clock.stage("total"):
            rgb = image_from_message(paired.messages[COLOR])
            image_wh = rgb.shape[1], rgb.shape[0]
            depth = self._depth(paired, image_wh) if self._wants_depth(detector) else None
            detections = detector.predict(rgb, clock, depth, known)
        return _Answer(detector, detections, clock, rgb)

    def _try(self, trial: _Trial, paired: PairedSet, known: KnownBoxes) -> _Answer:
        """Return the answer of the new model where it has earned that, otherwise the one of the model before."""
        policy, before = trial.policy, None
        if policy.state is TrialState.SHADOW:
            before = self._run(trial.before, paired, None)
        try:
            answer = self._run(trial.now, paired, known if before is None else None)
        except Exception as error:  # whatever it does, the model before is at hand
            policy.failed(f"{type(error).__name__}: {error}")
            answer = before or self._run(trial.before, paired, None)
        else:
            if before is None:
                policy.answered(answer.clock.timings_ms["total"])
            else:
                times = (item.clock.timings_ms["total"] for item in (before, answer))
                policy.shadowed(before.detections, answer.detections, *times)
                answer = before
        self._follow_trial(trial)
        return answer

    def _follow_trial(self, trial: _Trial) -> None:
        """Let answer who is to, and say how the trial goes."""
        policy = trial.policy
        is_new = policy.state in (TrialState.LIVE, TrialState.PASSED)
        with self._trial_lock:
            if self._trial is not trial:  # another model was set meanwhile
                return
            detector = trial.now if is_new else trial.before
            is_changed, self._detector = detector is not self._detector, detector
        self.diagnostics.gauge("model_trial", f"{trial.now.path}: {policy}")
        if is_changed:
            self._announce()
        if not policy.is_running:
            self._end_trial()
            if policy.state is TrialState.FAILED:
                self.diagnostics.problem(
                    "model_trial", f"{trial.now.path} failed, {trial.before.path} answers: {policy.reason}"
                )
        self._follow_streams()

    def _end_trial(self) -> None:
        with self._trial_lock:
            trial, self._trial = self._trial, None
        if trial is not None:
            self.destroy_subscription(trial.poses)

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
        """Open a model; beside one of objects with poses these are tracked in every frame, on a core of their own."""
        config = self.config(PredictorConfig)
        beside = config.leaving_a_core()
        detector = self._opened(model, beside)
        if not detector.card.objects and beside.thread_count < config.thread_count:
            detector = self._opened(model, config)
        self.diagnostics.gauge("engine", detector.engine)
        return detector

    def _opened(self, model: Path, config: PredictorConfig) -> Predictor:
        return Predictor(model, with_fastest_engine(model, config), tasks=("detect", "pose"))

    def _follow_streams(self) -> None:
        """Listen to depth and its camera if the model reads them, and to colour alone otherwise."""
        if not self.is_active:
            return
        with self._trial_lock:
            detectors = [self._detector, *([self._trial.now] if self._trial else ())]
        self._inputs.follow(COLOR, *(_DEPTH_STREAMS if any(map(self._wants_depth, detectors)) else ()))

    def _announce(self) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        model = str(self._detector.path)
        self._info.publish(conversions.vision_info(self._detector.card, model, make_header(stamp_ns, "")))
        self.diagnostics.gauge("model", model)

    def _set_model(self, request: SetModel.Request, response: SetModel.Response) -> SetModel.Response:
        """Try another model once detections and, where a pose node listens, poses of it can come."""
        detector = self._models.refresh(find_model(request.model))
        width, height = detector.card.input_wh
        detector.predict(np.zeros((height, width, 3), np.uint8))  # an engine's first image takes longer than others
        self._prepare_poses(detector.path)
        self._end_trial()
        labels, before = detector.card.labels, self._detector
        response.success, response.class_names = True, list(labels)
        if detector is before:
            self._announce()
            return response
        policy = ModelTrial(self.config(DetectionNodeConfig).trial, before.card.labels, labels)
        poses = self.create_subscription(
            ObjectPoseArray,
            topics.OBJECT_POSES,
            lambda message: policy.posed({pose.class_name for pose in message.poses}, labels),
            qos.RESULT,
            **qos.subscription_events(),
        )
        trial = _Trial(policy, before, detector, poses)
        with self._trial_lock:
            self._trial = trial
        self._follow_trial(trial)
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


def _is_watched(detector: Predictor) -> bool:
    """Return whether drift is looked for here: models of poses are watched by the pose node, which sees more."""
    return detector.task.name == "detect"


def main() -> int:
    """Run the node alone; tracking, which every frame waits for, goes before detections, which may be late."""
    yield_cores(_NICE, keep_real_time=True)
    return spin_node(DetectionNode)
