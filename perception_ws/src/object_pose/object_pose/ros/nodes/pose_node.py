"""Keypoint detections, camera_info and depth, or colour where there is no depth, in; poses out."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from pathlib import Path

from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray
from object_pose_msgs.srv import EstimatePoses

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera
from object_pose.core.params import parameter
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import PoseResults
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.ros.messages import conversions
from object_pose.ros.messages.overlay import Overlay
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.pose_inputs import PoseHead
from object_pose.ros.nodes.pose_outputs import PoseOutputs
from object_pose.ros.nodes.spinning import spin_node
from object_pose.ros.transport import qos
from object_pose.ros.transport.blocking_service import BlockingService
from object_pose.ros.transport.frame_inputs import (
    CAMERA_INFO,
    COLOR,
    DEPTH,
    DETECTIONS,
    FrameInputs,
    FrameInputsConfig,
    read_camera,
    read_color,
    read_depth,
)
from object_pose.ros.transport.pairing import FramePairer, PairedSet
from object_pose.ros.transport.transform_listener import TransformListener
from object_pose.ros.transport.worker import NewestWorker
from object_pose.runtime.resources import find_model
from object_pose.runtime.timing import StageClock

_DEFAULT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class PoseNodeConfig(FrameInputsConfig):
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


@dataclass(frozen=True)
class _View:
    """What the camera saw beside the detections; None where that is not read or of no use."""

    camera: Camera
    depth_m: DepthImage | None
    rgb: Image | None


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
        self._worker = NewestWorker("pose", self._solve, self.frame_failed)
        pairer = FramePairer(DETECTIONS, [], [DEPTH, COLOR], config.pair_tolerance_ns)
        self._inputs = FrameInputs(self, config, pairer, self._worker.offer, needs_camera=True)
        self._overlay = Overlay(self, qos.input_profile(config.input_reliability, qos.SENSOR_INPUT))
        self._transforms = TransformListener(self) if config.track and config.fixed_frame else None
        if config.continuous:
            self._inputs.watch(DETECTIONS)
        self._inputs.watch(CAMERA_INFO)
        solver = self.config(PoseSolverConfig)
        if solver.use_depth:
            self._inputs.watch(DEPTH)
        elif solver.max_contours:
            self._inputs.watch(COLOR)
        self._service = BlockingService(self, EstimatePoses, "estimate_poses", self._estimate)

    def deactivate(self) -> None:
        """Finish the frame in hand."""
        self._service.close()
        self._worker.stop()
        self._overlay.close()

    def _solve(self, paired: PairedSet) -> None:
        clock = StageClock()
        with clock.stage("total"):
            message: KeypointDetectionArray = paired.messages[DETECTIONS]
            head = self._head_for(Path(message.model))
            image_wh, config = (message.image_width, message.image_height), self.config(PoseNodeConfig)
            camera = read_camera(paired.messages[CAMERA_INFO], image_wh, config.rectified)
            view = _View(camera, self._depth(paired, camera), self._color(paired, camera))
            detections = head.read_detections(message)
            results = self._track(head, detections, view, paired.stamp_ns, message.header.frame_id)
            dropped = message.dropped_frames + self._worker.dropped + self._inputs.lost
            self._outputs.publish(results, message.header, dropped, config.publish_tf)
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
        view: _View,
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
        results = head.solver.solve(detections, view.camera, view.depth_m, expected, view.rgb)
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
        with self.diagnostics.reporting("depth"):
            return read_depth(paired, camera, self.config(PoseNodeConfig).depth_scale)
        return None

    def _color(self, paired: PairedSet, camera: Camera) -> Image | None:
        """Return the colour image, or None where it is not read, missing or of no use."""
        with self.diagnostics.reporting("color"):
            return read_color(paired, camera)
        return None

    def check_topics(self) -> None:
        """Report, besides silent inputs, streams that come but whose stamps never meet."""
        super().check_topics()
        self._inputs.report_mismatches()

    def _estimate(self, request: EstimatePoses.Request, response: EstimatePoses.Response) -> EstimatePoses.Response:
        answer: queue.SimpleQueue[ObjectPoseArray] = queue.SimpleQueue()
        self._requests.append(answer)
        on_demand = None if self.config(PoseNodeConfig).continuous else self._inputs.watch(DETECTIONS)
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
