"""Poses for a robot: in its base frame by /tf at the image's stamp, and a planner that picks by them alone."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from cube import T_CAMERA_CUBE
from driver import FRAME_ID, FakeDriver, problems, publish_until, start
from object_pose.core.geometry import se3
from object_pose.io.messages import pose_from_message
from object_pose.ros.messages.conversions import camera_transform
from object_pose.ros.messages.images import make_header
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pick_nearest.py"
LIMIT_S = 60.0
# The camera looks straight down from 1.2 m above the base's ground.
T_BASE_CAMERA = se3.make_transform(np.diag((1.0, -1.0, -1.0)), (0.4, 0.1, 1.2))


@pytest.fixture
def nodes(ros, cube_model):
    start(ros, PoseNode, model=str(cube_model), target_frame="base_link", transform_timeout_s=0.02)
    start(ros, DetectionNode, model=str(cube_model))


def publish_transform(ros):
    publisher = ros.node.create_publisher(TFMessage, topics.TF_STATIC, qos.FIXED_TRANSFORMS)
    publisher.publish(camera_transform(T_BASE_CAMERA, make_header(0, "base_link"), FRAME_ID))
    return publisher


def test_detections_are_in_the_base_and_before_its_transform_is_known_there_are_none(ros, nodes, frame):
    detections = ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    missing = "'base_link' and 'test_optical_frame'"
    publish_until(ros, driver, lambda: missing in str(problems(diagnostics, "pose_node")), "the reason", frame=frame)
    assert not detections
    publish_transform(ros)
    publish_until(ros, driver, lambda: [m for m in detections if m.detections], "a detection", frame=frame)
    message = next(m for m in detections if m.detections)
    (detection,) = message.detections
    assert message.header.frame_id == detection.header.frame_id == "base_link"
    found = pose_from_message(detection.results[0].pose.pose)
    np.testing.assert_allclose(found[:3, 3], (T_BASE_CAMERA @ T_CAMERA_CUBE)[:3, 3], atol=2e-3)
    covariance = np.array(detection.results[0].pose.covariance).reshape(6, 6)
    assert np.all(np.linalg.eigvalsh(covariance) > 0)


@pytest.fixture
def planner(domain_id, tmp_path):
    started = []

    def run(*arguments):
        variables = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(tmp_path / "log")}
        command = [sys.executable, EXAMPLE, *map(str, arguments)]
        with (tmp_path / "planner.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        started.append(process)
        return process

    yield run
    for process in started:
        process.send_signal(signal.SIGINT)
        process.wait(LIMIT_S)


def test_the_planner_names_the_right_part_where_it_is(ros, nodes, planner, frame, tmp_path):
    turns = [(0, 0, 0), (180, 0, 0), (0, 90, 0), (0, -90, 0), (90, 0, 0), (-90, 0, 0)]
    lines = [f"  - {{position: [0, 0, 0], rpy_deg: {list(turn)}, width: 0.06}}" for turn in turns]
    (tmp_path / "grasps.yaml").write_text("\n".join(["cube:", *lines]))
    keep = publish_transform(ros)
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    planner("--grasps", tmp_path / "grasps.yaml")
    ros.wait_for(lambda: ros.node.count_subscribers("/" + topics.DETECTIONS_3D), "the planner", LIMIT_S)

    def picked():
        said = (tmp_path / "planner.log").read_text()
        return re.search(r"pick (\S+) #\d+ at \(([^)]*)\), grasp at \(([^)]*)\)", said)

    publish_until(ros, driver, picked, "a pick", frame=frame)
    match = picked()
    assert keep.topic_name == "/tf_static"
    assert match[1] == "cube"
    expected = (T_BASE_CAMERA @ T_CAMERA_CUBE)[:3, 3]
    for place in (match[2], match[3]):
        np.testing.assert_allclose([float(value) for value in place.split(",")], expected, atol=2e-3)


def test_the_planner_refuses_a_grasp_file_that_it_cannot_read(planner, tmp_path):
    (tmp_path / "grasps.yaml").write_text("cube: 3")
    process = planner("--grasps", tmp_path / "grasps.yaml")
    assert process.wait(LIMIT_S) == 2
    assert "must map class names" in (tmp_path / "planner.log").read_text()
