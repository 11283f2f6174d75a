"""Records what goes into the pipeline and what comes out, as serialized messages into an mcap bag."""

from __future__ import annotations

import importlib
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray, ObjectTruthArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import NotInitializedException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray, VisionInfo

from object_pose.core.errors import DataError
from object_pose.core.frame import NS_PER_S
from object_pose.io.bags import BagWriter, make_typestore, write_bag
from object_pose.ros.nodes.spinning import executor_of, prepare_process, sigint_left_to_ros
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.backlog import subscribe_to_all

# Writes one message, serialized.
Write = Callable[[bytes], None]
_IMAGES = {topics.COLOR: Image, topics.CAMERA_INFO: CameraInfo, topics.DEPTH: Image}
_RESULTS: dict[str, tuple[type, QoSProfile]] = {
    topics.GROUND_TRUTH: (ObjectTruthArray, qos.RESULT),
    topics.KEYPOINTS: (KeypointDetectionArray, qos.RESULT),
    topics.DETECTIONS_3D: (Detection3DArray, qos.RESULT),
    topics.OBJECT_POSES: (ObjectPoseArray, qos.RESULT),
    topics.TF: (TFMessage, qos.TRANSFORMS),
    topics.TF_STATIC: (TFMessage, qos.FIXED_TRANSFORMS),
    topics.DIAGNOSTICS: (DiagnosticArray, qos.RESULT),
    topics.VISION_INFO: (VisionInfo, qos.LATCHED),
}
_QUEUED_IMAGES = 30
_FOUND_WITHIN_S = 10.0
_LATCHED_PERIOD_S = 0.5
_COMPARED = 100


@dataclass(frozen=True)
class RecordingOptions:
    """What is recorded: ``image_rate_hz`` camera frames a second (0: all), for ``seconds`` (0: until SIGINT).

    ``topics`` are recorded beside the pipeline's own, whatever their type; with ``compress`` by zstd.
    """

    image_rate_hz: float = 0.0
    seconds: float = 0.0
    topics: tuple[str, ...] = ()
    compress: bool = False


class Recorder(Node):
    """Writes serialized messages as they come, and counts them by topic."""

    def __init__(self, bag: BagWriter, options: RecordingOptions) -> None:
        super().__init__("recorder", start_parameter_services=False)
        self.counts: Counter[str] = Counter()
        self._bag = bag
        for topic, (message_type, profile) in _RESULTS.items():
            write = self._writer(topic, message_type, profile)
            if topic == topics.TF_STATIC:  # of publishers that do not latch, too
                write, unlatched = _written_once(write)
                self._subscribe(topic, message_type, qos.TRANSFORMS, unlatched)
            self._subscribe(topic, message_type, profile, write)
        for topic, message_type in _IMAGES.items():
            profile = qos.input_profile("best_effort", qos.SENSOR_INPUT)
            profile.depth = _QUEUED_IMAGES
            write = self._writer(topic, message_type, profile)
            if options.image_rate_hz > 0.0:
                write = _sampled(write, round(NS_PER_S / options.image_rate_hz))
            if topic == topics.CAMERA_INFO:
                write, self._write_latched_info = _written_once(write)
            self._subscribe(topic, message_type, profile, write)
        self._latched_timer = self.create_timer(
            _LATCHED_PERIOD_S, self._ask_for_latched_info, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def add(self, topic: str, within_s: float = _FOUND_WITHIN_S) -> None:
        """Record a topic of any type that is published; raises ``DataError`` where it is not, or of no known type."""
        name = self.resolve_topic_name(topic)
        deadline = time.monotonic() + within_s
        while not (publishers := self.get_publishers_info_by_topic(name)):
            if time.monotonic() > deadline:
                raise DataError(f"nobody publishes {name}", "is its node running, is it in a namespace?")
            rclpy.spin_once(self, timeout_sec=0.1)
        package, _, kind = publishers[0].topic_type.partition("/msg/")
        try:
            message_type: type = getattr(importlib.import_module(f"{package}.msg"), kind)
        except (ImportError, AttributeError) as error:
            problem = f"{name} has the type {publishers[0].topic_type}, which is not installed"
            raise DataError(problem, f"source the workspace with {package}") from error
        if publishers[0].topic_type not in self._bag.store.types:
            raise DataError(f"{name} has the type {publishers[0].topic_type}, which bags of ours do not know")
        offered = [item.qos_profile for item in publishers]
        profile = QoSProfile(
            depth=100,
            reliability=_common(ReliabilityPolicy.RELIABLE, [item.reliability for item in offered]),
            durability=_common(DurabilityPolicy.TRANSIENT_LOCAL, [item.durability for item in offered]),
        )
        self._subscribe(topic, message_type, profile, self._writer(topic, message_type, profile))

    def _ask_for_latched_info(self) -> None:
        """Subscribe to camera_info as latched, too, once a publisher latches it: no other would match."""
        if qos.is_latched(self, self.resolve_topic_name(topics.CAMERA_INFO)):
            self._latched_timer.cancel()
            self._subscribe(topics.CAMERA_INFO, CameraInfo, qos.LATCHED, self._write_latched_info)

    def _subscribe(self, topic: str, message_type: type, profile: QoSProfile, write: Write) -> None:
        def write_all(messages: Sequence[bytes]) -> None:
            for data in messages:
                write(data)

        subscribe_to_all(self, message_type, topic, write_all, profile, raw=True)

    def _writer(self, topic: str, message_type: type, profile: QoSProfile) -> Write:
        """Return what records a topic, latched where it is read so or a publisher latches it."""
        name = self.resolve_topic_name(topic)
        type_name = f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"
        latched = profile.depth if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL else 0

        def write(data: bytes) -> None:
            is_first = not self.counts[name]
            depth = latched or int(is_first and qos.is_latched(self, name))
            self._bag.write(name, type_name, time.time_ns(), data, depth)
            self.counts[name] += 1

        return write


def record(output: Path, options: RecordingOptions, ros_arguments: Sequence[str] | None = None) -> dict[str, int]:
    """Record into a new mcap bag until SIGINT or the end of the time; return the number of messages by topic.

    Raises ``DataError`` where ``output`` is something else than a bag, a topic cannot be recorded, or nothing came:
    then there is no bag.
    """
    prepare_process()
    with sigint_left_to_ros() as interrupted, write_bag(output, make_typestore(), options.compress) as bag:
        rclpy.init(args=None if ros_arguments is None else list(ros_arguments))
        if interrupted.is_set():
            rclpy.try_shutdown()
        counts = _recorded(bag, options, interrupted)
        if not counts:
            raise DataError("nothing came on the topics of the pipeline", "object-pose doctor --topics says why")
        return counts


def _recorded(bag: BagWriter, options: RecordingOptions, interrupted: threading.Event) -> dict[str, int]:
    """Write into a bag until ROS ends, which SIGINT may make it do at any time, or the time is over."""
    counts: Counter[str] = Counter()
    recorder: Recorder | None = None
    try:
        recorder = Recorder(bag, options)
        counts = recorder.counts
        for topic in options.topics:
            recorder.add(topic)
        _spin(recorder, options.seconds, interrupted)
    except (RuntimeError, NotInitializedException, ExternalShutdownException):
        if rclpy.ok():
            raise
    finally:
        if recorder:
            recorder.destroy_node()
        rclpy.try_shutdown()
    return dict(counts)


def _spin(recorder: Recorder, seconds: float, interrupted: threading.Event) -> None:
    """Record until the time is over or SIGINT came; rclpy takes no notice of one while it sets up its handler."""
    end = time.monotonic() + seconds if seconds > 0.0 else float("inf")
    with executor_of(recorder) as executor:
        while time.monotonic() < end and not interrupted.is_set():
            executor.spin_once(timeout_sec=min(1.0, max(end - time.monotonic(), 0.0)))


def _written_once(write: Write) -> tuple[Write, Write]:
    """Return two callbacks for two subscriptions of one topic: what both bring is written once."""
    alone: tuple[deque[bytes], deque[bytes]] = deque(maxlen=_COMPARED), deque(maxlen=_COMPARED)

    def from_one(own: deque[bytes], other: deque[bytes]) -> Write:
        def write_once(data: bytes) -> None:
            if data in other:
                other.remove(data)
            else:
                own.append(data)
                write(data)

        return write_once

    return from_one(*alone), from_one(*reversed(alone))


def _sampled(write: Write, period_ns: int) -> Write:
    """Pass on the first message of every period by its stamp, so that all streams keep the same frames."""
    last_period = -1

    def write_sampled(data: bytes) -> None:
        nonlocal last_period
        period = _header_stamp_ns(data) // period_ns
        if period != last_period:
            last_period = period
            write(data)

    return write_sampled


def _common(strict: ReliabilityPolicy | DurabilityPolicy, offered: Sequence[object]) -> object:
    """Return the strict policy where every publisher offers it, else the other one."""
    loose = {
        ReliabilityPolicy.RELIABLE: ReliabilityPolicy.BEST_EFFORT,
        DurabilityPolicy.TRANSIENT_LOCAL: DurabilityPolicy.VOLATILE,
    }
    return strict if all(item == strict for item in offered) else loose[strict]


def _header_stamp_ns(data: bytes) -> int:
    """Read the stamp of a serialized message that begins with a header, after CDR's four bytes."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * NS_PER_S + int(nanoseconds)
