"""The streams of a frame as a node reads them: watched, and paired by stamp; ``frame_contents`` has what they carry."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from object_pose_msgs.msg import KeypointDetectionArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo as CameraInfoMessage
from sensor_msgs.msg import CompressedImage, Image

from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.params import parameter
from object_pose.core.vision.depth_registration import DepthSource
from object_pose.io.camera_info import CameraInfo, info_from_message
from object_pose.io.messages import stamp_ns
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.frame_flow import FrameFlow
from object_pose.ros.transport.inputs import WatchedInput
from object_pose.ros.transport.pairing import FramePairer, PairedSet
from object_pose.ros.transport.transform_listener import TransformListener
from object_pose.ros.transport.worker import NewestWorker

COLOR, DEPTH, CAMERA_INFO, DETECTIONS = "color", "depth", "camera_info", "detections"
# Of depth that is not aligned: its ``DepthSource``, or the error that says why there is none.
DEPTH_SOURCE = "depth_source"
_STREAMS = {
    COLOR: (Image, topics.COLOR),
    DEPTH: (Image, topics.DEPTH),
    CAMERA_INFO: (CameraInfoMessage, topics.CAMERA_INFO),
    DETECTIONS: (KeypointDetectionArray, topics.KEYPOINTS),
}
RAW = "raw"
_INFOS_KEPT = 8


@dataclass(frozen=True)
class FrameInputsConfig:
    """How a node listens to the streams of a frame."""

    pair_tolerance_ms: float = parameter(
        2.0, "stamps of one frame may differ by this much", minimum=0.0, maximum=100.0, read_only=True
    )
    input_reliability: str = parameter(
        "best_effort", "QoS of the subscriptions", choices=("best_effort", "reliable"), read_only=True
    )
    rectified: bool = parameter(
        False, "the images are rectified: camera_info's P is theirs, not K and D", read_only=True
    )
    depth_scale: float = parameter(
        1.0, "millimetres in one count of 16-bit depth", minimum=1e-3, maximum=1000.0, read_only=True
    )
    register_depth: bool = parameter(
        False,
        "depth is not aligned with colour: it is registered by its own camera_info and /tf",
        read_only=True,
    )
    color_transport: str = parameter(
        RAW,
        "'compressed' reads JPEG or PNG from the topic of that name below the colour topic",
        choices=(RAW, "compressed"),
        read_only=True,
    )
    depth_transport: str = parameter(
        RAW,
        "'compressedDepth' reads PNG or RVL from the topic of that name below the depth topic",
        choices=(RAW, "compressedDepth"),
        read_only=True,
    )

    @property
    def pair_tolerance_ns(self) -> int:
        """The tolerance as stamps are."""
        return int(self.pair_tolerance_ms * 1e6)


def stream_source(stream: str, config: FrameInputsConfig) -> tuple[type, str, QoSProfile]:
    """Return the message type, the topic and the QoS with which a stream is read."""
    message_type, topic = _STREAMS[stream]
    transport = {COLOR: config.color_transport, DEPTH: config.depth_transport}.get(stream, RAW)
    if transport != RAW:
        message_type, topic = CompressedImage, f"{topic}/{transport}"
    return message_type, topic, qos.input_profile(config.input_reliability, qos.SENSOR_INPUT)


@dataclass(frozen=True)
class NewestImage:
    """The newest message of a stream when something was asked for: how many had come, and its stamp."""

    stream: str
    count: int
    stamp_ns: int


class FrameInputs:
    """Watches streams for a node, and calls ``handle`` in its own thread with the newest sets that belong together.

    The ``anchor`` begins a set, ``partners`` are waited for while they come. However far the executor is behind, what
    has come of all others is taken before an anchor is, so that no set lacks what is there. camera_info is no such
    stream: it holds until the next one, and is handed over as the ``CameraInfo`` that is valid. While ``handle`` works
    the newest ``waiting`` sets wait. ``keep`` gets every set, also of those that are dropped for newer ones, in the
    thread of the executor.
    """

    def __init__(
        self,
        node: PipelineNode,
        config: FrameInputsConfig,
        anchor: str,
        partners: Sequence[str],
        handle: Callable[[PairedSet], None],
        needs_camera: bool,
        keep: Callable[[PairedSet], None] = lambda paired: None,
        waiting: int = 1,
    ) -> None:
        self._node = node
        self._config = config
        self._pairer = FramePairer(anchor, partners, config.pair_tolerance_ns)
        self._handle = handle
        self._flow = FrameFlow()
        self._worker = NewestWorker(node.get_name(), self._handle_and_time, node.frame_failed, waiting)
        node.add_check(self._report_mismatches)
        self._needs_camera = needs_camera
        self._keep = keep
        self._infos: deque[tuple[int, CameraInfo]] = deque(maxlen=_INFOS_KEPT)
        self._registration = DepthRegistration(node, config.rectified) if config.register_depth else None
        self._without_camera = 0
        self._frame_ids: dict[str, str] = {}
        self._watched: dict[str, WatchedInput] = {}
        self._newest: dict[str, NewestImage] = {}

    @property
    def newest(self) -> NewestImage | None:
        """The newest image, or detections where no images are read; None where nothing has come yet."""
        return next((self._newest[name] for name in (COLOR, DEPTH, DETECTIONS) if name in self._newest), None)

    def came_after(self, before: NewestImage | None, stamp_ns: int) -> bool:
        """Return whether the frame of a stamp came after what was ``newest``; stamps may stand still and run back."""
        if before is None or stamp_ns > before.stamp_ns + self._config.pair_tolerance_ns:
            return True
        now = self._newest.get(before.stream, before)
        return now.count != before.count and now.stamp_ns <= before.stamp_ns

    @property
    def dropped(self) -> int:
        """Frames so far that a newer one replaced, or that came before any camera_info that they need."""
        return self._worker.dropped + self._without_camera

    def stop(self) -> None:
        """Finish the frame in hand."""
        self._worker.stop()
        if self._registration:
            self._registration.close()

    def follow(self, *streams: str) -> None:
        """Subscribe to these streams and to no others, until the node is deactivated."""
        for stream in set(self._watched) - set(streams):
            self._node.unwatch(self._watched.pop(stream))
            self._newest.pop(stream, None)
            if stream == CAMERA_INFO:
                self._infos.clear()
            elif stream in self._pairer.partners:
                self._offer_all(self._pairer.forget(stream))
        for stream in streams:
            if stream not in self._watched:
                self._watched[stream] = self._watch(stream)

    def _report_mismatches(self) -> None:
        """Report what does not fit: stamps, drops, rectified images read with the raw lens, and depth not aligned."""
        for stream in self._pairer.partners:
            if reason := self._pairer.explain(stream):
                self._node.diagnostics.problem("pairing", reason)
        if self._infos and not self._config.rectified:
            topic = self._node.resolve_topic_name(topics.COLOR)
            if problem := self._infos[-1][1].rectification_problem(topic):
                self._node.diagnostics.problem("rectified", problem)
        depth_frame, others = self._frame_ids.get(DEPTH), set(self._frame_ids.values())
        if depth_frame and len(others) > 1 and self._registration is None:
            color_frame = ", ".join(sorted(others - {depth_frame}))
            text = f"depth is in the frame '{depth_frame}', colour in '{color_frame}': is depth aligned to colour?"
            self._node.diagnostics.problem("depth_frame", f"{text} If not, set register_depth")
        for kind, text in self._flow.problems(self.dropped):
            self._node.diagnostics.problem(kind, text)

    def _handle_and_time(self, paired: PairedSet) -> None:
        self._handle(paired)
        latency_s = (self._node.get_clock().now().nanoseconds - paired.stamp_ns) * 1e-9
        self._node.diagnostics.gauge("latency_ms", f"{latency_s * 1e3:.1f}")
        self._flow.handled(latency_s)

    def _keep_info(self, message: Any) -> None:
        try:
            info = info_from_message(message)
        except CalibrationError as error:
            self._node.frame_failed(error)
            return
        if not self._infos or info != self._infos[-1][1]:
            self._infos.append((stamp_ns(message), info))

    def _info_at(self, stamp: int) -> CameraInfo | None:
        """Return the camera_info that is valid at a stamp: the last one of before, or else the first."""
        before = [info for info_ns, info in self._infos if info_ns <= stamp + self._config.pair_tolerance_ns]
        if before:
            return before[-1]
        return self._infos[0][1] if self._infos else None

    def _watch(self, stream: str) -> WatchedInput:
        message_type, topic, profile = stream_source(stream, self._config)
        if stream == CAMERA_INFO:
            return self._node.watch(message_type, topic, self._keep_info, profile, is_state=True)

        def receive(message: Any) -> None:
            if stream == self._pairer.anchor:
                self._take_others(stream)
            self._frame_ids[stream] = message.header.frame_id
            count = self._newest[stream].count + 1 if stream in self._newest else 1
            self._newest[stream] = NewestImage(stream, count, stamp_ns(message))
            self._flow.received(stream, stamp_ns(message), message.header.frame_id)
            self._offer_all(self._pairer.add(stream, stamp_ns(message), message))

        return self._node.watch(message_type, topic, receive, profile)

    def _take_others(self, anchor: str) -> None:
        for stream, watched in tuple(self._watched.items()):  # a request in another thread may add to them
            if stream != anchor:
                watched.take_waiting()

    def _offer_all(self, sets: list[PairedSet]) -> None:
        for paired in sets:
            info = self._info_at(paired.stamp_ns)
            if info is not None:
                paired = dataclasses.replace(paired, messages={**paired.messages, CAMERA_INFO: info})
            elif self._needs_camera:
                self._without_camera += 1
                continue
            if self._registration and DEPTH in paired.messages:
                source = self._registration.source(paired.messages[DEPTH], self._frame_ids)
                paired = dataclasses.replace(paired, messages={**paired.messages, DEPTH_SOURCE: source})
            self._keep(paired)
            self._worker.offer(paired)


class DepthRegistration:
    """What registers depth of its own camera: that camera's camera_info, and /tf between the two frames."""

    def __init__(self, node: PipelineNode, rectified: bool) -> None:
        self._node = node
        self._rectified = rectified
        self._info: CameraInfo | None = None
        self._topic = node.resolve_topic_name(topics.DEPTH_CAMERA_INFO)
        node.watch(CameraInfoMessage, topics.DEPTH_CAMERA_INFO, self._keep_info, qos.SENSOR_INPUT, is_state=True)
        self._transforms = TransformListener(node)

    def source(self, depth: Any, frame_ids: Mapping[str, str]) -> DepthSource | DataError:
        """Return where depth comes from; the error that says what is missing is for who needs the depth."""
        if self._info is None:
            return DataError(f"depth cannot be registered: nothing comes on {self._topic}", "remap it")
        color_frame = frame_ids.get(COLOR) or frame_ids.get(DETECTIONS, "")
        depth_frame = depth.header.frame_id
        if depth_frame == color_frame:
            return DataError(f"depth is said to be in colour's frame '{color_frame}'", "leave register_depth out")
        try:
            transform = self._transforms.look_up(color_frame, depth_frame, stamp_ns(depth), 0.0)
            return DepthSource(self._info.camera(self._rectified), transform)
        except (CalibrationError, DataError) as error:
            return DataError(f"depth cannot be registered: {error.message}", error.hint)

    def close(self) -> None:
        """Stop listening."""
        self._transforms.close()

    def _keep_info(self, message: Any) -> None:
        try:
            self._info = info_from_message(message)
        except CalibrationError as error:
            self._node.frame_failed(error)
