"""Pipelines in namespaces do not meet; without one the topics have the names that README lists."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import ObjectPoseArray
from object_pose_msgs.srv import SetModel
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from driver import FRAME_ID
from object_pose.ros.nodes.camera_node import CameraNode
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.nodes.spinning import for_any_namespace
from object_pose.ros.transport import qos
from object_pose.runtime.resources import find

SHARED = ("/tf", "/diagnostics", "/rosout", "/parameter_events")
DEFAULTS = {
    "/camera/camera/color/image_raw",
    "/camera/camera/color/camera_info",
    "/camera/camera/aligned_depth_to_color/image_raw",
    "/ground_truth",
    "/keypoint_detections",
    "/detections_2d",
    "/tracked_2d",
    "/vision_info",
    "/detections_3d",
    "/object_poses",
    "/detections_image",
    "/object_markers",
}


def start_cell(ros, namespace, cube_model, recording, **pose_parameters):
    """A whole pipeline; returns its pose node."""
    arguments = {
        PoseNode: {"model": str(cube_model), "publish_tf": True} | pose_parameters,
        DetectionNode: {"model": str(cube_model)},
        CameraNode: {"frame_id": FRAME_ID + namespace} | recording,
    }
    nodes = []
    for node_class, parameters in arguments.items():
        overrides = [RosParameter(name, value=value) for name, value in parameters.items()]
        words = ["--ros-args", "-r", f"__ns:={namespace}"] if namespace else []
        nodes.append(ros.add(node_class(parameter_overrides=overrides, cli_args=words)))
        nodes[-1].bring_up()
    return nodes[0]


def published(ros):
    """Topics that have a publisher, but for those that all of ROS shares."""
    names = [name for name, _ in ros.node.get_topic_names_and_types()]
    return {
        name
        for name in names
        if name not in SHARED and not name.endswith("/transition_event") and ros.node.count_publishers(name)
    }


def test_the_default_names_are_those_of_the_drivers_and_the_readme(ros, cube_model, recording):
    start_cell(ros, "", cube_model, recording)
    ros.wait_for(lambda: published(ros) == DEFAULTS, "all topics")


def test_two_pipelines_in_two_namespaces_do_not_see_each_other(ros, cube_model, recording):
    cells = ("/left", "/right")
    poses = {cell: ros.collect(ObjectPoseArray, f"{cell}/object_poses", qos.RESULT) for cell in cells}
    outside = ros.collect(ObjectPoseArray, "/object_poses", qos.RESULT)
    transforms = ros.collect(TFMessage, "/tf", qos.TRANSFORMS)
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics", qos.RESULT)
    for cell in cells:
        start_cell(ros, cell, cube_model, recording)
    ros.wait_for(lambda: all(any(m.poses for m in poses[cell]) for cell in cells), "poses of both")
    for cell in cells:
        assert {message.header.frame_id for message in poses[cell]} == {FRAME_ID + cell}
    assert outside == []
    assert published(ros) == {cell + name for cell in cells for name in DEFAULTS}
    children = lambda: {item.child_frame_id for message in transforms for item in message.transforms}  # noqa: E731
    ros.wait_for(lambda: {"left/cube_0", "right/cube_0"} <= children(), "both objects on the common /tf")
    statuses = lambda: {status.name for message in diagnostics for status in message.status}  # noqa: E731
    wanted = {f"object_pose: {cell[1:]}/{node}_node" for cell in cells for node in ("pose", "detection", "camera")}
    ros.wait_for(lambda: statuses() == wanted, "the status of every node")
    answer = ros.call(SetModel, "/left/detection_node/set_model", SetModel.Request(model=str(cube_model)))
    assert answer.success, answer.message


def test_a_topic_is_remapped_by_its_full_name(ros, cube_model):
    words = ["--ros-args", "-r", "/camera/camera/color/image_raw:=/my/image"]
    overrides = [RosParameter("model", value=str(cube_model))]
    ros.add(DetectionNode(parameter_overrides=overrides, cli_args=words)).bring_up()
    images = ros.node.create_publisher(Image, "/my/image", QoSProfile(depth=1))
    ros.wait_for(images.get_subscription_count, "subscription")


@pytest.mark.parametrize("namespace", ["/", "/cell", "/hall/cell"])
def test_the_parameter_file_reaches_the_nodes_of_any_namespace(ros, tmp_path, namespace):
    text = find("config", "nodes.yaml").read_text()
    (tmp_path / "nodes.yaml").write_text(text.replace("max_detections: 100", "max_detections: 7"))
    words = ["--ros-args", "--params-file", str(tmp_path / "nodes.yaml"), "-r", f"__ns:={namespace}"]
    words += ["-p", "detection_node:decoding.score_threshold:=0.25", "-p", "detection_node:labels:='a: b'"]
    node = ros.add(DetectionNode(cli_args=for_any_namespace(words, tmp_path)))
    assert node.get_parameter("decoding.max_detections").value == 7
    assert node.get_parameter("decoding.score_threshold").value == 0.25
    assert node.get_parameter("labels").value == "a: b"
