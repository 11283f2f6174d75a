"""A camera of the test's own for the nodes under test, and what they say about it."""

from __future__ import annotations

import time

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.parameter import Parameter as RosParameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from object_pose.core.frame import Frame
from object_pose.ros.messages.images import camera_to_message, depth_to_message, make_header, rgb_to_message
from object_pose.ros.transport import qos, topics

FRAME_ID = "test_optical_frame"


def start(ros, node_class, arguments=(), **parameters):
    """Make a node with arguments for ROS, such as remappings, and parameters, and bring it up."""
    overrides = [RosParameter(name, value=value) for name, value in parameters.items()]
    cli_args = ["--ros-args", *arguments] if arguments else None
    node = ros.add(node_class(parameter_overrides=overrides, cli_args=cli_args))
    node.bring_up()
    return node


class FakeDriver:
    """Publishes single frames as a driver would, each field open to damage."""

    def __init__(self, ros, profile=qos.DRIVER_OUTPUT, with_info=True, compressed=False):
        self._ros = ros
        self._with_info = with_info
        self._compressed = compressed
        kind, end, depth_end = (CompressedImage, "/compressed", "/compressedDepth") if compressed else (Image, "", "")
        self._color = ros.node.create_publisher(kind, topics.COLOR + end, profile)
        self._info = ros.node.create_publisher(CameraInfo, topics.CAMERA_INFO, profile)
        self._depth = ros.node.create_publisher(kind, topics.DEPTH + depth_end, profile)
        self._count = 0

    def wait_until_heard(self, depth=True):
        needed = [self._color, self._info] + [self._depth] * depth
        self._ros.wait_for(lambda: all(p.get_subscription_count() for p in needed), "subscription of the camera")

    def publish(
        self, frame: Frame, change_info=None, change_depth=None, depth_delay_ms=0, stamp_ns=None, frame_id=FRAME_ID
    ):
        self._count += 1
        stamp_ns = stamp_ns or 1_000_000_000 + self._count * 50_000_000
        header = make_header(stamp_ns, frame_id)
        info = camera_to_message(frame.camera, header)
        if change_info:
            change_info(info)
        if frame.depth_m is not None:
            depth = depth_to_message(frame.depth_m, make_header(stamp_ns + depth_delay_ms * 1_000_000, frame_id))
            if change_depth:
                change_depth(depth)
            self._depth.publish(self._packed(depth))
        if self._with_info:
            self._info.publish(info)
        self._color.publish(self._packed(rgb_to_message(frame.rgb, header)))
        return header

    def _packed(self, message):
        """Compress an image as image_transport's plugins do."""
        if not self._compressed:
            return message
        is_depth = message.encoding == "16UC1"
        pixels = np.frombuffer(message.data, np.uint16 if is_depth else np.uint8)
        pixels = pixels.reshape(message.height, message.width, -1)[:, :, ::-1]
        form = "16UC1; compressedDepth png" if is_depth else "rgb8; png compressed bgr8"
        data = bytes(12 if is_depth else 0) + cv2.imencode(".png", pixels)[1].tobytes()
        return CompressedImage(header=message.header, format=form, data=data)


def publish_until(ros, driver, condition, what, limit_s=10.0, **publication):
    """Publish frames, five a second, until the condition holds: the first ones may precede discovery."""
    due = [time.monotonic()]

    def attempt():
        if time.monotonic() >= due[-1]:
            driver.publish(**publication)
            due.append(time.monotonic() + 0.2)
        return condition()

    ros.wait_for(attempt, what, limit_s)


def problems(diagnostics, node_name):
    """All problem texts of a node so far."""
    return [
        status.message
        for message in diagnostics
        for status in message.status
        if status.name.endswith(node_name) and status.level != DiagnosticStatus.OK
    ]


def damage_size(info):
    info.width, info.height = 640, 480


def depth_of_another_size(depth):
    depth.width, depth.height, depth.step = 160, 120, 320
    depth.data = depth.data[: 160 * 120 * 2]
