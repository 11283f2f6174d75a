"""The doctor listens to a camera that runs, and names what integrators get wrong."""

import time
from dataclasses import replace

import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from driver import FakeDriver
from object_pose.ros.doctor import TopicExaminer
from object_pose.ros.transport import qos
from object_pose.ros.transport.frame_inputs import COLOR, FrameInputsConfig
from object_pose.workflows.doctor import Level

NS_PER_S = 1_000_000_000


@pytest.fixture
def examine(ros, frame):
    """Examine a camera that publishes frames as ``publication`` says; return the faults found."""

    def run(config=None, fixed_frame="", **publication):
        examiner = ros.add(TopicExaminer(config or FrameInputsConfig()))
        driver = FakeDriver(ros)
        driver.wait_until_heard()
        change = publication.pop("change_frame", lambda item: item)
        sent = []

        def publish():
            sent.append(time.time_ns())
            driver.publish(change(frame), **({"stamp_ns": sent[-1]} | publication))
            return len(examiner.streams[COLOR].stamps_ns) >= 5

        ros.wait_for(publish, "five frames")
        ros.wait_for(lambda: all(stream.last for stream in examiner.streams.values()), "every stream")
        return [item for item in examiner.findings(None, fixed_frame) if item.level is not Level.OK]

    return run


def test_a_good_camera_has_no_fault(examine):
    assert not [item for item in examine() if "comes" not in item.text]  # how soon, a busy machine decides


@pytest.mark.parametrize(
    ("publication", "text"),
    [
        ({"stamp_ns": 5 * NS_PER_S}, "stand still"),
        ({"frame_id": ""}, "frame_id"),
        ({"frame_id": "/camera"}, "leading slash"),
        ({"depth_delay_ms": 20}, "differ by"),
        ({"change_info": lambda info: setattr(info, "width", 1280)}, "1280x"),
        ({"change_depth": lambda depth: setattr(depth, "encoding", "8UC7")}, "8UC7"),
        ({"fixed_frame": "base_link"}, "base_link"),
    ],
)
def test_faults_of_cameras(examine, publication, text):
    found = examine(**publication)
    assert any(text in item.text for item in found), found
    assert all(item.cure for item in found)


def test_depth_in_another_unit(examine, frame):
    found = examine(FrameInputsConfig(depth_scale=1000.0))
    assert any("another unit" in item.cure for item in found), found


def test_a_transform_that_is_none_is_named_and_the_others_are_used(ros):
    examiner = ros.add(TopicExaminer(FrameInputsConfig()))
    publisher = ros.node.create_publisher(TFMessage, "/tf_static", qos.LATCHED)
    stamped = TransformStamped(header=Header(frame_id="base"), child_frame_id="conveyor")
    stamped.transform.rotation.w = 0.0
    ros.wait_for(lambda: publisher.publish(TFMessage(transforms=[stamped])) or examiner.refused_transforms, "transform")
    found = [item for item in examiner.findings(None, "base") if item.subject == "transforms"]
    assert [item.level for item in found] == [Level.WARNING]
    assert "the transform from 'conveyor' to 'base'" in found[0].text


def test_nobody_publishes(ros):
    examiner = ros.add(TopicExaminer(FrameInputsConfig()))
    found = [item for item in examiner.findings() if item.level is Level.ERROR]
    assert [item.subject for item in found] == ["color", "camera_info"]
    assert all("has no publisher" in item.text for item in found)


def test_a_qos_that_does_not_match(ros, frame):
    reliable = TopicExaminer(replace(FrameInputsConfig(), input_reliability="reliable"))
    examiner = ros.add(reliable)
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
    FakeDriver(ros, profile)
    topic = examiner.streams[COLOR].watched.topic_name
    ros.wait_for(lambda: examiner.get_publishers_info_by_topic(topic), "the publisher")
    fault = next(item for item in examiner.findings() if item.subject == COLOR)
    assert "QoS of publisher test is incompatible" in fault.text
