"""A running pipeline is recorded: inputs, results and topics of other kinds, to be read back without ROS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from driver import FakeDriver
from object_pose.io.bags import describe_bag, make_typestore, read_bag, write_bag
from object_pose.ros.messages.conversions import camera_transform
from object_pose.ros.messages.images import camera_to_message, make_header
from object_pose.ros.recorder import Recorder, RecordingOptions
from object_pose.ros.transport import qos, topics

LIMIT_S = 60.0
COUNT, PERIOD_NS = 50, 10_000_000


@pytest.fixture
def recorder(domain_id, tmp_path):
    """Start ``object-pose bag record`` in the test's domain."""
    started = []

    def run(*arguments):
        variables = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(tmp_path / "log")}
        command = [sys.executable, "-m", "object_pose.cli.main", "bag", "record", *map(str, arguments)]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=LIMIT_S)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_what_comes_is_recorded_until_sigint(ros, recorder, frame, tmp_path, compression):
    driver = FakeDriver(ros)
    words = ros.node.create_publisher(String, "words", 10)
    process = recorder(tmp_path / "bag", "--topic", "words", "--compression", compression)
    ros.wait_for(lambda: words.get_subscription_count(), "the recorder", LIMIT_S)
    driver.wait_until_heard()
    for index in range(3):
        words.publish(String(data=f"word {index}"))
        driver.publish(frame)
        ros.executor.spin_once(timeout_sec=0.2)
    ros.wait_for(lambda: (tmp_path / f".bag.{process.pid}").exists(), "the bag", LIMIT_S)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output
    counts = {item.name: item.count for item in describe_bag(tmp_path / "bag").topics}
    assert counts["/words"] == 3
    assert counts[topics.recorded(topics.COLOR)] == counts[topics.recorded(topics.DEPTH)] == 3
    assert [message.data for _, _, message in read_bag(tmp_path / "bag", ["/words"])] == ["word 0", "word 1", "word 2"]
    assert "3 /words" in output


def test_nothing_to_record_is_said_and_leaves_no_bag(recorder, tmp_path):
    process = recorder(tmp_path / "bag", "--seconds", 0.5)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert "nothing came" in output and "Traceback" not in output
    assert not (tmp_path / "bag").exists()


def test_a_folder_that_is_no_bag_is_kept(recorder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    output, _ = (process := recorder(tmp_path / "mine", "--seconds", 0.5)).communicate(timeout=LIMIT_S)
    assert process.returncode == 2 and "is not a bag" in output
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


def test_one_that_is_stopped_before_anything_came_ends_in_order(recorder, tmp_path):
    process = recorder(tmp_path / "bag")
    while not (tmp_path / f".bag.{process.pid}").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2 and "nothing came" in output and "Traceback" not in output, output
    assert not (tmp_path / "bag").exists()


@pytest.fixture
def recording_here(ros, tmp_path):
    """A recorder whose executor runs only as often as the test says, and its bag, which is closed by the call."""
    executor, bag = SingleThreadedExecutor(), write_bag(tmp_path / "bag", make_typestore())
    recorder = Recorder(bag.__enter__(), RecordingOptions())
    executor.add_node(recorder)
    ros.nodes.append(recorder)

    def close():
        bag.__exit__(None, None, None)
        return tmp_path / "bag"

    yield recorder, executor, close
    executor.shutdown()


def publish(ros, message_type, topic, profile, messages):
    publisher = ros.node.create_publisher(message_type, topic, profile)
    ros.wait_for(publisher.get_subscription_count, "the recorder")
    for message in messages:
        publisher.publish(message)
    assert publisher.wait_for_all_acked(Duration(seconds=10))
    return publisher


def transform(index):
    return camera_transform(np.eye(4), make_header(index * PERIOD_NS, "base"), "link")


def test_one_turn_records_all_that_came_while_the_machine_was_busy(ros, recording_here):
    recorder, executor, close = recording_here
    publish(ros, TFMessage, topics.TF, qos.TRANSFORMS, map(transform, range(COUNT)))
    ros.wait_for(lambda: executor.spin_once(timeout_sec=0.1) or recorder.counts["/tf"], "the first turn")
    assert recorder.counts["/tf"] == COUNT
    stamps = [message.transforms[0].header.stamp for _, _, message in read_bag(close(), ["/tf"])]
    assert [stamp.nanosec for stamp in stamps] == [index * PERIOD_NS for index in range(COUNT)]


@pytest.mark.parametrize("profile", [qos.FIXED_TRANSFORMS, qos.TRANSFORMS], ids=["latched", "not latched"])
def test_fixed_transforms_are_recorded_once_and_played_latched(ros, recording_here, profile):
    recorder, executor, close = recording_here
    publish(ros, TFMessage, topics.TF_STATIC, profile, [transform(0), transform(1)])
    ros.wait_for(lambda: executor.spin_once(timeout_sec=0.1) or recorder.counts["/tf_static"] > 1, "the transforms")
    publish(ros, TFMessage, topics.TF, qos.TRANSFORMS, [transform(2)])
    ros.wait_for(lambda: executor.spin_once(timeout_sec=0.1) or recorder.counts["/tf"], "what came later")
    assert recorder.counts["/tf_static"] == 2
    with Reader(close()) as reader:
        (connection,) = [item for item in reader.connections if item.topic == "/tf_static"]
    assert [item.durability for item in connection.ext.offered_qos_profiles] == [QosDurability.TRANSIENT_LOCAL]


def test_a_camera_info_that_was_latched_before_is_recorded_once_and_played_latched(ros, frame, tmp_path):
    name = topics.recorded(topics.CAMERA_INFO)
    latching = ros.node.create_publisher(CameraInfo, topics.CAMERA_INFO, qos.LATCHED)
    latching.publish(camera_to_message(frame.camera, make_header(PERIOD_NS, "camera")))
    with write_bag(tmp_path / "bag", make_typestore()) as bag:
        recorder = ros.add(Recorder(bag, RecordingOptions()))
        ros.wait_for(lambda: recorder.counts[name], "the camera_info")
        latching.publish(camera_to_message(frame.camera, make_header(2 * PERIOD_NS, "camera")))
        ros.wait_for(lambda: recorder.counts[name] > 1, "the next one")
        assert latching.wait_for_all_acked(Duration(seconds=10))
        publish(ros, TFMessage, topics.TF, qos.TRANSFORMS, [transform(0)])
        ros.wait_for(lambda: recorder.counts["/tf"], "what came later")
    assert recorder.counts[name] == 2
    with Reader(tmp_path / "bag") as reader:
        (connection,) = [item for item in reader.connections if item.topic == name]
    assert [item.durability for item in connection.ext.offered_qos_profiles] == [QosDurability.TRANSIENT_LOCAL]
