"""Depth of its own camera, with its own camera_info and a static transform, is registered to colour by the nodes."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import ObjectPoseArray
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from cube import CAMERA, T_CAMERA_CUBE, cube_frame
from driver import FRAME_ID, FakeDriver, problems, publish_until, start
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.vision.depth_registration import register_depth
from object_pose.io.messages import pose_from_message
from object_pose.ros.messages.conversions import camera_transform
from object_pose.ros.messages.images import camera_to_message, depth_to_message, make_header
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics

DEPTH_CAMERA = Camera(424, 240, 210.0, 210.0, 211.5, 119.5)
T_COLOR_DEPTH = se3.make_transform(se3.exp_so3((0.0, 0.01, 0.02)), (0.05, 0.002, -0.003))
DEPTH_FRAME = "test_depth_optical_frame"


@pytest.fixture
def unaligned():
    """The cube's scene as a depth camera 5 cm beside the colour camera measures it."""
    frame = cube_frame()
    depth_m = register_depth(frame.depth_m, CAMERA, DEPTH_CAMERA, se3.inverse(T_COLOR_DEPTH))
    return frame, depth_m


class TwoCameras(FakeDriver):
    """Depth in a frame and of a size of its own."""

    def __init__(self, ros, depth_m, with_info=True, with_transform=True):
        super().__init__(ros)
        self._depth_m, self._with_depth_info = depth_m, with_info
        self._depth_info = ros.node.create_publisher(CameraInfo, topics.DEPTH_CAMERA_INFO, qos.DRIVER_OUTPUT)
        self._static = ros.node.create_publisher(TFMessage, topics.TF_STATIC, qos.FIXED_TRANSFORMS)
        if with_transform:
            self._static.publish(camera_transform(T_COLOR_DEPTH, make_header(0, FRAME_ID), DEPTH_FRAME))

    def replace(self, depth):
        """Change the aligned depth message into that of the depth camera."""
        header = make_header(depth.header.stamp.sec * 1_000_000_000 + depth.header.stamp.nanosec, DEPTH_FRAME)
        own = depth_to_message(self._depth_m, header)
        for name in ("header", "width", "height", "step", "data"):
            setattr(depth, name, getattr(own, name))
        if self._with_depth_info:
            self._depth_info.publish(camera_to_message(DEPTH_CAMERA, header))


@pytest.fixture
def run(ros, cube_model, unaligned):
    def start_nodes(register_depth=True, **driver):
        frame, depth_m = unaligned
        for node in (PoseNode, DetectionNode):
            start(ros, node, model=str(cube_model), register_depth=register_depth)
        camera = TwoCameras(ros, depth_m, **driver)
        camera.wait_until_heard()
        return lambda condition, what: publish_until(
            ros, camera, condition, what, frame=frame, change_depth=camera.replace
        )

    return start_nodes


def test_the_object_is_found_with_registered_depth(ros, run):
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)

    def found():
        return [pose for message in poses for pose in message.poses if pose.depth_used]

    run()(found, "a pose that used depth")
    pose = found()[-1]
    np.testing.assert_allclose(pose_from_message(pose.pose.pose)[:3, 3], T_CAMERA_CUBE[:3, 3], atol=3e-3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"with_info": False}, "nothing comes on"),
        ({"with_transform": False}, "not connected"),
        ({"register_depth": False}, "set register_depth"),
    ],
)
def test_what_is_missing_is_named_and_depth_is_not_guessed(ros, run, options, text):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    run(**options)(lambda: any(text in problem for problem in problems(diagnostics, "pose_node")), text)
    assert not any(pose.depth_used for message in poses for pose in message.poses)
