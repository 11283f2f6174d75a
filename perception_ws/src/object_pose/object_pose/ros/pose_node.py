"""Keypoint detections, camera_info and depth in; poses out."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray
from object_pose_msgs.srv import EstimatePoses
from sensor_msgs.msg import CameraInfo, Image

from object_pose.core.camera import Camera
from object_pose.core.errors import DataError
from object_pose.core.params import parameter
from object_pose.core.pose_solver import PoseSolverConfig
from object_pose.core.tracking import TrackerConfig
from object_pose.core.types import DepthImage, Detections, PoseResults
from object_pose.io.messages import stamp_ns
from object_pose.ros import conversions, names, qos
from object_pose.ros.blocking_service import BlockingService
from object_pose.ros.inputs import WatchedInput
from object_pose.ros.overlay import Overlay
from object_pose.ros.pairing import FramePairer, PairedSet
from object_pose.ros.pipeline_node import PipelineNode
from object_pose.ros.pose_inputs import PoseHead, read_camera, read_depth
from object_pose.ros.pose_outputs import PoseOutputs
from object_pose.ros.spinning import spin_node
from object_pose.ros.transform_listener import TransformListener
from object_pose.ros.worker import NewestWorker
from object_pose.runtime.resources import find_model
from object_pose.runtime.timing import StageClock

_DETECTIONS, _CAMERA_INFO, _DEPTH = "detections", "camera_info", "depth"
_DEFAULT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class PoseNodeConfig:
    """What the pose node adds to the parameters of solver and tracker."""

    model: str = parameter(
        "parts.onnx", "model whose objects are prepared at the start; the detections then name theirs", read_only=True
    )
    track: bool = parameter(True, "give objects stable ids and bridge short drop-outs", read_only=True)
    publish_tf: bool = parameter(False, "also publish tracked objects on /tf")
    fixed_frame: str = parameter(
        "",
        "frame of /tf in which the parts lie still while the camera moves; '' tracks in the camera's frame",
        read_only=True,
    )
    transform_timeout_s: float = parameter(
        0.1, "how long a frame waits for the camera's transform", minimum=0.0, maximum=10.0
    )
    continuous: bool = parameter(
        True, "estimate every frame; otherwise only when ~/estimate_poses asks, and idle until then", read_only=True
    )
    pair_tolerance_ms: float = parameter(
        2.0, "stamps of one frame may differ by this much", minimum=0.0, maximum=100.0, read_only=True
    )
    input_reliability: str = parameter(
        "best_effort", "QoS of the subscriptions", choices=("best_effort", "reliable"), read_only=True
    )


class PoseNode(PipelineNode):
    """Estimates the poses of the newest frame; follows the detection node's model."""

    def __init__(self, **node_options: object) -> None:
        super().__init__("pose_node", PoseNodeConfig, PoseSolverConfig, TrackerConfig, **node_options)
        self._outputs = PoseOutputs(self)
        self._requests: list[queue.SimpleQueue[ObjectPoseArray]] = []

    def configure(self) -> None:
        """Prepare the objects of the model."""
        self._head = PoseHead(*self._head_settings(find_model(self.config(PoseNodeConfig).model)))

    def activate(self) -> None:
        """Listen to the detections and the camera."""
        config = self.config(PoseNodeConfig)
        streams = [_DEPTH] if self.config(PoseSolverConfig).use_depth else []
        self._pairer = FramePairer(_DETECTIONS, [_CAMERA_INFO], streams, int(config.pair_tolerance_ms * 1e6))
        self._worker = NewestWorker("pose", self._solve, self.frame_failed)
        image_profile = qos.input_profile(config.input_reliability, qos.SENSOR_INPUT)
        self._overlay = Overlay(self, image_profile)
        self._transforms = TransformListener(self) if config.track and config.fixed_frame else None
        if config.continuous:
            self._watch_detections()
        info_profile = qos.input_profile(config.input_reliability, qos.SMALL_INPUT)
        self.watch(CameraInfo, names.CAMERA_INFO, self._receiver(_CAMERA_INFO), info_profile)
        if streams:
            self.watch(Image, names.DEPTH, self._receiver(_DEPTH), image_profile)
        self._service = BlockingService(self, EstimatePoses, "estimate_poses", self._estimate)

    def deactivate(self) -> None:
        """Finish the frame in hand."""
        self._service.close()
        self._worker.stop()
        self._overlay.close()

    def _watch_detections(self) -> WatchedInput:
        profile = qos.input_profile(self.config(PoseNodeConfig).input_reliability, qos.SMALL_INPUT)
        return self.watch(KeypointDetectionArray, names.KEYPOINTS, self._receiver(_DETECTIONS), profile)

    def _receiver(self, stream: str) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            for paired in self._pairer.add(stream, stamp_ns(message), message):
                self._worker.offer(paired)

        return receive

    def _solve(self, paired: PairedSet) -> None:
        clock = StageClock()
        with clock.stage("total"):
            message: KeypointDetectionArray = paired.messages[_DETECTIONS]
            head = self._head_for(Path(message.model))
            camera = read_camera(paired.messages[_CAMERA_INFO], message)
            detections, depth_m = head.read_detections(message), self._depth(paired, camera)
            results = self._track(head, detections, camera, depth_m, paired.stamp_ns, message.header.frame_id)
            dropped = message.dropped_frames + self._worker.dropped + self._pairer.lost
            self._outputs.publish(results, message.header, dropped, self.config(PoseNodeConfig).publish_tf)
        for _ in range(len(self._requests)):
            self._requests.pop().put(conversions.results_to_message(results, message.header, dropped))
        self._overlay.publish(results, camera, message.header)
        self.diagnostics.count("rejections", len(results.rejections))
        self.diagnostics.gauge("dropped_frames", dropped)
        self.diagnostics.processed(total_ms=clock.timings_ms["total"])

    def _track(
        self,
        head: PoseHead,
        detections: Detections,
        camera: Camera,
        depth_m: DepthImage | None,
        stamp: int,
        camera_frame_id: str,
    ) -> PoseResults:
        """Solve and track one frame; without ids where the camera's place in the fixed frame is not known."""
        tracker, T_fixed_camera = head.tracker, None
        if tracker and self._transforms:
            config = self.config(PoseNodeConfig)
            try:
                T_fixed_camera = self._transforms.look_up(
                    config.fixed_frame, camera_frame_id, stamp, config.transform_timeout_s
                )
            except DataError as error:
                self.diagnostics.problem("transform", str(error))
                tracker = None
        expected = tracker.expected(T_fixed_camera) if tracker else ()
        results = head.solver.solve(detections, camera, depth_m, expected)
        return tracker.update(results, stamp, T_fixed_camera) if tracker else results

    def _head_for(self, model: Path) -> PoseHead:
        """Return the pose head of the detections' model with the current parameters."""
        if self._head.settings != self._head_settings(model):
            self._head = PoseHead(*self._head_settings(model))
        return self._head

    def _head_settings(self, model: Path) -> tuple[Path, PoseSolverConfig, TrackerConfig | None]:
        tracker_config = self.config(TrackerConfig) if self.config(PoseNodeConfig).track else None
        return model, self.config(PoseSolverConfig), tracker_config

    def _depth(self, paired: PairedSet, camera: Camera) -> DepthImage | None:
        """Return depth, or None where it is missing or of no use: the poses then say that it was not used."""
        if _DEPTH not in paired.messages:
            return None
        try:
            return read_depth(paired.messages[_DEPTH], camera)
        except DataError as error:
            self.diagnostics.problem("depth", str(error))
            return None

    def check_topics(self) -> None:
        """Report, besides silent inputs, streams that come but whose stamps never meet."""
        super().check_topics()
        for stream in self._pairer.partners:
            if reason := self._pairer.explain(stream):
                self.diagnostics.problem("pairing", reason)

    def _estimate(self, request: EstimatePoses.Request, response: EstimatePoses.Response) -> EstimatePoses.Response:
        answer: queue.SimpleQueue[ObjectPoseArray] = queue.SimpleQueue()
        self._requests.append(answer)
        on_demand = None if self.config(PoseNodeConfig).continuous else self._watch_detections()
        try:
            response.result = answer.get(timeout=request.timeout_s or _DEFAULT_TIMEOUT_S)
            response.success = True
        except queue.Empty:
            response.message = "no frame came in time: /diagnostics says what is missing"
        finally:
            if on_demand:
                self.unwatch(on_demand)
        return response


def main() -> int:
    """Run the node alone."""
    return spin_node(PoseNode)


if __name__ == "__main__":
    raise SystemExit(main())
