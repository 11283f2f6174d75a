"""A running pipeline is recorded: inputs, results and topics of other kinds, to be read back without ROS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from std_msgs.msg import String

from driver import FakeDriver
from object_pose.io.bags import describe_bag, read_bag
from object_pose.ros.transport import topics

LIMIT_S = 60.0


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
