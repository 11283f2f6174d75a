"""Records what goes into the pipeline and what comes out, in a process of its own; images only now and then."""

from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray, ObjectTruthArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection3DArray, VisionInfo

from object_pose.io.bags import BagWriter, make_typestore, write_bag
from object_pose.ros.nodes.spinning import prepare_process
from object_pose.ros.transport import qos, topics

_IMAGES = {topics.COLOR: Image, topics.CAMERA_INFO: CameraInfo, topics.DEPTH: Image}
_RESULTS: dict[str, tuple[type, QoSProfile]] = {
    topics.GROUND_TRUTH: (ObjectTruthArray, qos.RESULT),
    topics.KEYPOINTS: (KeypointDetectionArray, qos.RESULT),
    topics.DETECTIONS_3D: (Detection3DArray, qos.RESULT),
    topics.OBJECT_POSES: (ObjectPoseArray, qos.RESULT),
    topics.DIAGNOSTICS: (DiagnosticArray, qos.RESULT),
    topics.VISION_INFO: (VisionInfo, qos.LATCHED),
}
_NS_PER_S = 1_000_000_000


class Recorder(Node):
    """Writes serialized messages as they come; of the camera's only the first frame in every ``image_period_ns``."""

    def __init__(self, bag: BagWriter, image_period_ns: int) -> None:
        super().__init__("recorder")
        self._bag = bag
        self._image_period_ns = image_period_ns
        for topic, (message_type, profile) in _RESULTS.items():
            write = self._writer(topic, message_type)
            self.create_subscription(message_type, topic, write, profile, raw=True)
        for topic, message_type in _IMAGES.items():
            write = self._sampled(self._writer(topic, message_type))
            self.create_subscription(message_type, topic, write, qos.SENSOR_INPUT, raw=True)

    def _writer(self, topic: str, message_type: type) -> Callable[[bytes], None]:
        name = self.resolve_topic_name(topic)
        type_name = f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"

        def write(data: bytes) -> None:
            self._bag.write(name, type_name, time.time_ns(), data)

        return write

    def _sampled(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Pass on the first message of every period by its stamp, so that all streams keep the same frames."""
        last_period = -1

        def write_sampled(data: bytes) -> None:
            nonlocal last_period
            period = _header_stamp_ns(data) // self._image_period_ns
            if period != last_period:
                last_period = period
                write(data)

        return write_sampled


def record(output: Path, image_rate_hz: float) -> None:
    """Record into a new mcap bag until SIGINT."""
    prepare_process()
    rclpy.init()
    with write_bag(output, make_typestore()) as bag:
        executor = SingleThreadedExecutor()
        executor.add_node(Recorder(bag, round(_NS_PER_S / image_rate_hz)))
        with suppress(KeyboardInterrupt, ExternalShutdownException):
            executor.spin()


def _header_stamp_ns(data: bytes) -> int:
    """Read the stamp of a serialized message that begins with a header, after CDR's four bytes."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * _NS_PER_S + int(nanoseconds)


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="bag to write")
    parser.add_argument("--image-rate", type=float, default=2.0, help="camera frames a second that are kept")
    options = parser.parse_args()
    record(options.output, options.image_rate)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
