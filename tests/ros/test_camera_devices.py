"""A RealSense as our camera node: the SDK's frames on the topics, and a camera that is pulled out and given back."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from driver import problems
from object_pose.core.errors import ConfigError, DataError
from object_pose.io.messages import depth_from_message, image_from_message, stamp_ns
from object_pose.ros.nodes.camera_node import CameraNode
from object_pose.ros.transport import qos, topics
from software_realsense import SoftwareRealSense, require_sdk

MODE = {"width": 128, "height": 96, "depth_width": 64, "depth_height": 48}


@pytest.fixture
def plugged():
    return []


@pytest.fixture
def make_device(plugged):
    sdk = require_sdk()

    made = []

    def make():
        made.append(SoftwareRealSense(sdk))
        plugged.append(made[-1].device)
        made[-1].start()
        return made[-1]

    yield make
    for device in made:
        device.stop()


@pytest.fixture
def start_node(ros, plugged):
    def run(**parameters):
        values = {"source": "realsense", **{f"realsense.{name}": value for name, value in MODE.items()}} | parameters
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = ros.add(CameraNode(lambda: list(plugged), parameter_overrides=overrides))
        node.bring_up()
        return node

    return run


def test_frames_of_the_sdk_come_out_of_the_node(ros, make_device, start_node):
    device = make_device()
    received = {
        topic: ros.collect(kind, topic, qos.SENSOR_INPUT)
        for topic, kind in ((topics.COLOR, Image), (topics.DEPTH, Image), (topics.CAMERA_INFO, CameraInfo))
    }
    start_node()
    ros.wait_for(lambda: all(len(messages) >= 3 for messages in received.values()), "three frames")
    color, depth, info = (received[topic][-1] for topic in (topics.COLOR, topics.DEPTH, topics.CAMERA_INFO))
    assert image_from_message(color).shape == (96, 128, 3)
    depth_m = depth_from_message(depth)
    assert depth_m.shape == (96, 128)
    np.testing.assert_allclose(depth_m[depth_m > 0], 0.6, atol=1e-3)
    assert list(info.k) == [120.0, 0.0, 63.5, 0.0, 120.0, 47.5, 0.0, 0.0, 1.0]
    sent_ns = np.array(device.sent_ms) * 1e6
    for message in (color, depth, info):
        assert np.abs(sent_ns - stamp_ns(message)).min() < 1e6
    assert color.header.frame_id == depth.header.frame_id == "camera_color_optical_frame"


def test_a_camera_that_was_pulled_out_recovers_without_a_restart(ros, make_device, start_node, plugged):
    colors = ros.collect(Image, topics.COLOR, qos.SENSOR_INPUT)
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    first = make_device()
    start_node(**{"realsense.timeout_s": 0.2})
    ros.wait_for(lambda: colors, "a frame")
    first.stop()
    plugged.clear()
    ros.wait_for(
        lambda: any("is gone" in text for text in problems(diagnostics, "camera_node")), "the loss in /diagnostics"
    )
    count = len(colors)
    make_device()
    ros.wait_for(lambda: len(colors) > count + 3, "frames of the camera that is back")


def test_a_camera_that_is_not_there_stops_the_node_with_the_reason(start_node, make_device):
    with pytest.raises(DataError, match="no RealSense camera is there"):
        start_node()


def test_a_device_that_is_not_there_is_named(start_node, tmp_path):
    with pytest.raises(DataError, match="/dev/video_none does not exist"):
        start_node(source="/dev/video_none")


def test_parameters_are_checked(start_node):
    with pytest.raises(ConfigError, match=r"realsense\.emitter"):
        start_node(**{"realsense.emitter": "dim"})
