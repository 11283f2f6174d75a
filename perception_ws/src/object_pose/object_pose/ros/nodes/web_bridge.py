"""The pipeline as a web server shows it: frames with their results, the nodes' states, and what operators ask for.

Images and results are read only while somebody watches. It publishes nothing but its own diagnostics.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from object_pose_msgs.msg import ObjectPoseArray
from object_pose_msgs.srv import SetModel
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError, ObjectPoseError
from object_pose.core.params import parameter
from object_pose.core.results.pose import PoseResults
from object_pose.io.messages import poses_from_message, rejections_from_message
from object_pose.io.messages import stamp_ns as stamp_ns_of
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.frame_contents import PairedFrame, raw_image_wh, read_camera
from object_pose.ros.transport.frame_inputs import CAMERA_INFO, COLOR, DEPTH, FrameInputs, FrameInputsConfig
from object_pose.ros.transport.inputs import WatchedInput
from object_pose.ros.transport.pairing import PairedSet, StampedBuffer
from object_pose.ros.transport.transform_listener import TransformListener
from object_pose.runtime.live import LiveFrame, LiveSink, NodeState

_DEMAND_PERIOD_S = 0.2
# Frames wait so long for their results, and are shown without once the pipeline has been silent for longer.
_KEPT_NS = 1_000_000_000
_SILENT_AFTER_NS = 500_000_000
_LEVELS = {DiagnosticStatus.OK: "ok", DiagnosticStatus.WARN: "warning"}
_STATUS_PREFIX = "object_pose: "
_ANSWERED_WITHIN_S = 5.0
_MODEL_WITHIN_S = 300.0  # an engine is measured for some models
_STARTED_WITHIN_S, _POLL_S = 30.0, 0.05
_CAMERA, _DETECTION = "camera_node", "detection_node"


@dataclass(frozen=True)
class WebBridgeConfig(FrameInputsConfig):
    """How the bridge reads the pipeline's streams, which is as the pose node does."""

    base_frame: str = parameter(
        "", "frame of /tf in which the scene is shown, such as the robot's base; '' is the camera's", read_only=True
    )


class WebBridge(PipelineNode):
    """Hands frames with their results to a sink while it is watched; calls the pipeline's services from any thread."""

    def __init__(self, sink: LiveSink, **node_options: object) -> None:
        super().__init__("web_bridge", WebBridgeConfig, **node_options)
        self._sink = sink
        self._pause = self.create_client(SetParameters, f"{_CAMERA}/set_parameters")
        self._step = self.create_client(Trigger, f"{_CAMERA}/step")
        self._set_model = self.create_client(SetModel, f"{_DETECTION}/set_model")
        self._lock = threading.Lock()

    def activate(self) -> None:
        """Listen to the nodes' states, and to frames as soon as they are wanted."""
        config = self.config(WebBridgeConfig)
        self._frames = StampedBuffer(_KEPT_NS)
        self._early: ObjectPoseArray | None = None
        self._answered_ns = 0
        self._poses: WatchedInput | None = None
        self._listener: TransformListener | None = None
        self._inputs = FrameInputs(self, config, COLOR, [DEPTH], self._show, needs_camera=True, keep=self._keep)
        # Not watched: where no pipeline runs, that is a state to show and no problem.
        self._states = self.create_subscription(
            DiagnosticArray, topics.DIAGNOSTICS, self._report, qos.RESULT, **qos.subscription_events()
        )
        self._timer = self.create_timer(
            _DEMAND_PERIOD_S, self._follow_demand, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def deactivate(self) -> None:
        """Listen no more."""
        self.destroy_timer(self._timer)
        self.destroy_subscription(self._states)
        self._inputs.stop()
        self._close_listener()

    def pause(self, paused: bool) -> bool:
        """Stop or start the camera; False where there is no camera node."""
        if not self._pause.service_is_ready():
            return False
        value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=paused)
        request = SetParameters.Request(parameters=[Parameter(name="paused", value=value)])
        (result,) = self._call(self._pause, request, _ANSWERED_WITHIN_S).results
        if not result.successful:
            raise ObjectPoseError(f"the camera node does not pause: {result.reason}")
        return True

    def step(self) -> None:
        """Let the paused camera take one frame, if it is ours."""
        if self._step.service_is_ready():
            _demand(self._call(self._step, Trigger.Request(), _ANSWERED_WITHIN_S))

    def set_model(self, model: Path) -> Sequence[str]:
        """Switch the model of detections and poses; return its classes."""
        request = SetModel.Request(model=str(model))
        return list(_demand(self._call(self._set_model, request, _MODEL_WITHIN_S)).class_names)

    def wait_for_node(self, name: str, is_wanted: Callable[[], bool]) -> None:
        """Wait until a node of some process is there; raises ``ObjectPoseError`` where none comes, or is not wanted."""
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while name not in self.get_node_names():
            if time.monotonic() > deadline or not is_wanted():
                raise ObjectPoseError(f"the node {name} did not start", "the server's log says why")
            time.sleep(_POLL_S)

    def _call(self, client: Client, request: Any, timeout_s: float) -> Any:
        """Wait in a thread that is not the executor's for a service's answer."""
        if not client.service_is_ready():
            raise ObjectPoseError(f"there is no service {client.srv_name}", "is the pipeline running?")
        is_done, future = threading.Event(), client.call_async(request)
        future.add_done_callback(lambda _: is_done.set())
        if not is_done.wait(timeout_s):
            client.remove_pending_request(future)
            raise ObjectPoseError(f"{client.srv_name} did not answer", "is its node still running?")
        return future.result()

    def _report(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(_STATUS_PREFIX):
                name = status.name.removeprefix(_STATUS_PREFIX).rpartition("/")[2]
                values = {item.key: item.value for item in status.values}
                self._sink.report(name, NodeState(_LEVELS.get(status.level, "error"), status.message, values))

    def _follow_demand(self) -> None:
        """Listen to frames and results while they are wanted, and not otherwise."""
        wanted, is_on = self._sink.is_watched, self._poses is not None
        if wanted and not is_on:
            self._inputs.follow(COLOR, DEPTH, CAMERA_INFO)
            self._poses = self.watch(ObjectPoseArray, topics.OBJECT_POSES, self._answer, qos.SENSOR_INPUT)
            self._listener = TransformListener(self) if self.config(WebBridgeConfig).base_frame else None
        elif is_on and not wanted:
            self._inputs.follow()
            assert self._poses is not None
            self.unwatch(self._poses)
            self._poses = None
            self._close_listener()
            with self._lock:
                self._frames.clear()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _keep(self, paired: PairedSet) -> None:
        """Keep a frame for its results, which may have come before it."""
        with self._lock:
            self._frames.add(paired.stamp_ns, paired)
            early, self._early = self._early, None
        if early is not None and stamp_ns_of(early) == paired.stamp_ns:
            self._publish(paired, early)

    def _answer(self, message: ObjectPoseArray) -> None:
        """Show the frame that results belong to."""
        with self._lock:
            paired = self._frames.nearest(stamp_ns_of(message), self.config(WebBridgeConfig).pair_tolerance_ns)
            if paired is None:
                self._early = message
                return
            self._frames.drop_before(paired.stamp_ns)
        self._publish(paired, message)

    def _show(self, paired: PairedSet) -> None:
        """Show a frame though it has no results where none have come for a while."""
        if abs(paired.stamp_ns - self._answered_ns) > _SILENT_AFTER_NS:
            self._publish(paired, None)

    def _publish(self, paired: PairedSet, message: ObjectPoseArray | None) -> None:
        try:
            self._sink.publish(self._live_frame(paired, message))
        except Exception as error:  # a camera that does not fit, or ROS that ends: the next frame is worth trying
            self.frame_failed(error)
        else:
            self.diagnostics.processed()

    def _live_frame(self, paired: PairedSet, message: ObjectPoseArray | None) -> LiveFrame:
        header, config = paired.messages[COLOR].header, self.config(WebBridgeConfig)
        camera = read_camera(paired.messages[CAMERA_INFO], raw_image_wh(paired.messages[COLOR]), config.rectified)
        frame = PairedFrame(paired, camera, config.depth_scale, self.diagnostics)
        results, latency_ms = None, None
        if message is not None:
            self._answered_ns = paired.stamp_ns
            results = PoseResults(poses_from_message(message), rejections_from_message(message))
            latency_ms = (self.get_clock().now().nanoseconds - paired.stamp_ns) * 1e-6
        T_base_camera = self._look_up_base(header.frame_id, paired.stamp_ns)
        return LiveFrame(frame, header.frame_id, results, T_base_camera, latency_ms)

    def _look_up_base(self, camera_frame_id: str, stamp_ns: int) -> Array | None:
        listener, base_frame = self._listener, self.config(WebBridgeConfig).base_frame
        if listener is None:
            return None
        try:
            return listener.look_up(base_frame, camera_frame_id, stamp_ns, 0.0)
        except DataError:  # not known at this stamp: the scene is shown from the camera
            return None


def _demand(response: Any) -> Any:
    """Return a response of success; raises with the reason of another."""
    if not response.success:
        raise ObjectPoseError(response.message)
    return response
