"""Transforms from /tf keep up with the images, however slow the executor's turns are."""

import numpy as np
import pytest
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from tf2_msgs.msg import TFMessage

from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.ros.messages.conversions import camera_transform
from object_pose.ros.messages.images import make_header
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.transform_listener import TransformListener

PERIOD_NS = 33_000_000
COUNT = 90  # three seconds of a camera
ACKNOWLEDGED = Duration(seconds=10)


def message(index: int, child: str = "camera") -> TFMessage:
    moved = se3.make_transform(np.eye(3), (0.01 * index, 0.0, 1.0))
    return camera_transform(moved, make_header(PERIOD_NS * (index + 1), "world"), child)


@pytest.fixture
def listening(ros):
    """A listener whose executor runs only as often as the test says."""
    node = PipelineNode("listener")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ros.nodes.append(node)
    yield TransformListener(node), executor
    executor.shutdown()


def publish(ros, topic, profile, messages):
    publisher = ros.node.create_publisher(TFMessage, topic, profile)
    ros.wait_for(publisher.get_subscription_count, "a listener")
    for item in messages:
        publisher.publish(item)
    assert publisher.wait_for_all_acked(ACKNOWLEDGED)
    return publisher


def turn_until_known(ros, listener, executor, stamp, child="camera"):
    """Let the listener's executor turn until the transform at a stamp is known."""

    def is_known():
        try:
            return listener.look_up("world", child, stamp, 0.0) is not None
        except DataError:
            executor.spin_once(timeout_sec=0.1)
            return False

    ros.wait_for(is_known, "the transform")


def test_one_turn_takes_all_that_came_while_the_executor_was_busy(ros, listening):
    listener, executor = listening
    publish(ros, topics.TF, qos.TRANSFORMS, [message(index) for index in range(COUNT)])
    turn_until_known(ros, listener, executor, PERIOD_NS)
    for index in range(COUNT):
        found = listener.look_up("world", "camera", PERIOD_NS * (index + 1), 0.0)
        np.testing.assert_allclose(found[:3, 3], (0.01 * index, 0.0, 1.0), atol=1e-12)


def test_fixed_transforms_of_several_publishers_all_count(ros, listening):
    listener, executor = listening
    names = [f"sensor_{index}" for index in range(20)]
    keep = [publish(ros, topics.TF_STATIC, qos.FIXED_TRANSFORMS, [message(0, name)]) for name in names]
    assert len(keep) == len(names)
    for name in names:
        turn_until_known(ros, listener, executor, 10**12, name)


def test_fixed_transforms_that_are_not_latched_are_heard(ros, listening):
    """As of a bag that was recorded without its QoS."""
    listener, executor = listening
    publish(ros, topics.TF_STATIC, qos.TRANSFORMS, [message(0)])
    turn_until_known(ros, listener, executor, 10**12)


def test_a_slash_before_a_frame_counts_as_none(ros, listening):
    listener, executor = listening
    publish(ros, topics.TF, qos.TRANSFORMS, [message(0)])
    turn_until_known(ros, listener, executor, PERIOD_NS)
    expected = listener.look_up("world", "camera", PERIOD_NS, 0.0)
    np.testing.assert_array_equal(listener.look_up("/world", "/camera", PERIOD_NS, 0.0), expected)


def test_a_listener_that_was_closed_hears_nothing_more(ros, listening):
    listener, executor = listening
    publisher = publish(ros, topics.TF, qos.TRANSFORMS, [message(0)])
    turn_until_known(ros, listener, executor, PERIOD_NS)
    listener.close()
    ros.wait_for(lambda: publisher.get_subscription_count() == 0, "the end of the subscription")
    publisher.publish(message(9))
    executor.spin_once(timeout_sec=0.1)
    with pytest.raises(DataError, match="outside what came"):
        listener.look_up("world", "camera", PERIOD_NS * 10, 0.0)
