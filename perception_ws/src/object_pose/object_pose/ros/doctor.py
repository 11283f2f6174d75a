"""What the camera's topics lack, seen live: publishers, QoS, rates, stamps, frames, units, transforms, node health."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from object_pose.core.errors import CalibrationError, DataError, ObjectPoseError
from object_pose.core.frame import NS_PER_S
from object_pose.core.geometry.transform_tree import TransformTree
from object_pose.io.camera_info import info_from_message
from object_pose.io.messages import depth_from_message, extrinsics_from_message, image_from_message, stamp_ns
from object_pose.ros.nodes.spinning import executor_of
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.backlog import subscribe_to_all
from object_pose.ros.transport.frame_inputs import CAMERA_INFO, COLOR, DEPTH, FrameInputsConfig, stream_source
from object_pose.ros.transport.inputs import WatchedInput
from object_pose.ros.transport.transform_listener import TRANSFORM_INPUTS
from object_pose.runtime.card import ModelCard
from object_pose.workflows.doctor import (
    Finding,
    check_camera,
    check_depth,
    check_model_for_camera,
    error,
    ok,
    warning,
)

_STREAMS = (COLOR, DEPTH, CAMERA_INFO)
_SLOW_HZ = 5.0
_LATE_S = 0.5
_OTHER_CLOCK_S = 60.0


@dataclass
class _Stream:
    """What came on one topic: stamps, arrival times on this machine's clock, and the last message."""

    watched: WatchedInput
    stamps_ns: list[int] = field(default_factory=list)
    arrivals_ns: list[int] = field(default_factory=list)
    frame_ids: set[str] = field(default_factory=set)
    last: Any = None


class TopicExaminer(Node):
    """Listens to the streams of a camera, to transforms and to the health of nodes."""

    def __init__(self, config: FrameInputsConfig) -> None:
        super().__init__("object_pose_doctor")
        self.config = config
        self.tree = TransformTree()
        self.refused_transforms: dict[str, str] = {}
        self.health: dict[str, DiagnosticStatus] = {}
        self.streams: dict[str, _Stream] = {}
        for stream in _STREAMS:
            message_type, topic, profile = stream_source(stream, config)
            watched = WatchedInput(
                self, message_type, topic, self._receiver(stream), profile, is_state=stream == CAMERA_INFO
            )
            self.streams[stream] = _Stream(watched)
        for topic, fixed, profile in TRANSFORM_INPUTS:
            subscribe_to_all(self, TFMessage, topic, self._on_transforms(fixed), profile)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.RESULT)

    def listen(self, seconds: float) -> None:
        """Collect for a while, in which latched messages of publishers that are found late come as well."""
        deadline = time.monotonic() + seconds
        with executor_of(self) as executor:
            while time.monotonic() < deadline:
                executor.spin_once(timeout_sec=0.1)
                self.streams[CAMERA_INFO].watched.explain_silence()

    def findings(self, card: ModelCard | None = None, fixed_frame: str = "") -> Iterator[Finding]:
        """Yield what was found; ``card`` is the model that the camera is for."""
        for name, stream in self.streams.items():
            yield from self._check_arrival(name, stream)
        yield from self._check_images(card)
        yield from self._check_frames(fixed_frame)
        for name, status in sorted(self.health.items()):
            if status.level == DiagnosticStatus.OK:
                yield ok("nodes", f"{name}: {status.message}")
            elif status.level == DiagnosticStatus.WARN:
                yield warning("nodes", f"{name}: {status.message}", "see its values on /diagnostics")
            else:
                yield error("nodes", f"{name}: {status.message}", "see its values on /diagnostics")

    def _receiver(self, name: str) -> Any:
        def receive(message: Any) -> None:
            stream = self.streams[name]
            stream.stamps_ns.append(stamp_ns(message))
            stream.arrivals_ns.append(self.get_clock().now().nanoseconds)
            stream.frame_ids.add(message.header.frame_id)
            stream.last = message

        return receive

    def _on_transforms(self, fixed: bool) -> Any:
        def receive(messages: Sequence[TFMessage]) -> None:
            for item in itertools.chain.from_iterable(message.transforms for message in messages):
                try:
                    self.tree.add(extrinsics_from_message(item), stamp_ns(item), fixed)
                except (CalibrationError, DataError) as error:
                    self.refused_transforms.setdefault(item.child_frame_id, error.message)

        return receive

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.health[status.name] = status

    def _check_arrival(self, name: str, stream: _Stream) -> Iterator[Finding]:
        """Yield whether a topic's messages come, at what rate, and with what stamps."""
        topic = stream.watched.topic_name
        if not stream.stamps_ns:
            _, _, profile = stream_source(name, self.config)
            reason = qos.explain_silence(self, topic, profile)
            if name == DEPTH:
                yield warning(name, reason, "without depth distances are of the contours alone: publish aligned depth")
            else:
                yield error(name, reason, "start the driver, or remap: --ros-args -r TOPIC:=YOURS")
            return
        stamps = stream.stamps_ns
        lateness_s = median(arrival - stamp for arrival, stamp in zip(stream.arrivals_ns, stamps)) / NS_PER_S
        if name != CAMERA_INFO:
            if min(stamps) == 0:
                yield error(name, f"{topic} has stamps of zero", "frames cannot be paired: fill header.stamp")
            elif len(stamps) > 2 and len(set(stamps)) == 1:
                yield error(name, f"the stamps of {topic} stand still", "does the driver fill them, does /clock run?")
            elif any(after < before for before, after in itertools.pairwise(stamps)):
                yield error(name, f"the stamps of {topic} run backwards", "two publishers, two clocks, or a loop")
            elif abs(lateness_s) > _OTHER_CLOCK_S:
                text = f"the stamps of {topic} are {lateness_s:.0f} s from this machine's clock"
                yield error(name, text, "a recording (use_sim_time), or clocks that differ: chrony, ptp")
            elif lateness_s > _LATE_S or lateness_s < -0.01:
                text = f"{topic} comes {1e3 * lateness_s:.0f} ms after its stamps"
                yield warning(name, text, "a slow network, a queue before us, or clocks that differ")
            span_s = (stream.arrivals_ns[-1] - stream.arrivals_ns[0]) / NS_PER_S
            rate_hz = (len(stamps) - 1) / span_s if span_s > 0 else 0.0
            if rate_hz < _SLOW_HZ:
                text = f"{topic} comes at {rate_hz:.1f} Hz"
                yield warning(name, text, "USB 2, exposure, or a network that is too slow for images")
            else:
                yield ok(name, f"{topic} at {rate_hz:.1f} Hz, {1e3 * lateness_s:.0f} ms after its stamps")
        for frame_id in sorted(stream.frame_ids):
            if not frame_id or frame_id.startswith("/"):
                problem = "empty" if not frame_id else "with a leading slash"
                yield warning(name, f"the frame_id of {topic} is {problem}: '{frame_id}'", "name the optical frame")

    def _check_images(self, card: ModelCard | None) -> Iterator[Finding]:
        """Yield whether colour, camera_info and depth can be read and fit each other and the model."""
        color, depth, info = (self.streams[name].last for name in _STREAMS)
        image_wh = None
        if color is not None:
            try:
                height, width = image_from_message(color).shape[:2]
                image_wh = width, height
            except DataError as problem:
                yield error(COLOR, problem.message, problem.hint or "publish a known encoding")
        if info is not None:
            topic = self.streams[COLOR].watched.topic_name
            try:
                yield from check_camera(info_from_message(info), topic, image_wh, self.config.rectified)
            except ObjectPoseError as problem:
                yield error(CAMERA_INFO, problem.message, problem.hint or "calibrate the camera")
        if depth is not None:
            try:
                yield from check_depth(depth_from_message(depth, self.config.depth_scale * 1e-3), image_wh)
            except DataError as problem:
                yield error(DEPTH, problem.message, problem.hint or "publish 16UC1 or 32FC1")
        if color is not None and depth is not None:
            yield from self._check_pairing()
        if card is not None and image_wh:
            yield from check_model_for_camera(card, image_wh, depth is not None)

    def _check_pairing(self) -> Iterator[Finding]:
        """Yield whether colour and depth of one moment have the same stamp, and the same frame."""
        color, depth = self.streams[COLOR], self.streams[DEPTH]
        gaps = [min(abs(stamp - other) for other in depth.stamps_ns) for stamp in color.stamps_ns[1:-1]]
        if gaps and median(gaps) > self.config.pair_tolerance_ns:
            text = f"stamps of colour and depth differ by {median(gaps) * 1e-6:.1f} ms"
            yield error("pairing", text, f"raise pair_tolerance_ms ({self.config.pair_tolerance_ms:g}), or synchronise")
        elif gaps:
            yield ok("pairing", f"stamps of colour and depth differ by {median(gaps) * 1e-6:.1f} ms")
        if color.frame_ids and depth.frame_ids and color.frame_ids != depth.frame_ids:
            text = f"depth is in {sorted(depth.frame_ids)}, colour in {sorted(color.frame_ids)}"
            yield warning("pairing", text, "is depth aligned to colour? (align_depth.enable:=true)")

    def _check_frames(self, fixed_frame: str) -> Iterator[Finding]:
        """Yield transforms that are none, and whether the camera's frame is connected with the one that is wanted."""
        for problem in self.refused_transforms.values():
            yield warning("transforms", problem, "they are ignored: find who publishes them (ros2 topic info -v /tf)")
        stream = self.streams[COLOR]
        if not fixed_frame or stream.last is None:
            return
        camera_frame = stream.last.header.frame_id
        try:
            self.tree.look_up(fixed_frame, camera_frame.lstrip("/"), stream.stamps_ns[-1])
        except DataError as missing:
            # The newest transform may be on its way: an earlier frame decides.
            try:
                self.tree.look_up(fixed_frame, camera_frame.lstrip("/"), stream.stamps_ns[len(stream.stamps_ns) // 2])
            except DataError:
                yield error("transforms", missing.message, missing.hint or "publish the camera's place: hand-eye")
                return
        yield ok("transforms", f"{camera_frame} is known in {fixed_frame}")
