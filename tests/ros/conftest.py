"""Real rclpy, one domain a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import rclpy
from object_pose_msgs.msg import ObjectPoseArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from domains import next_domain
from driver import FakeDriver, start
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics

LIMIT_S = 10.0


@pytest.fixture
def domain_id() -> int:
    """A ROS domain that no other test uses, nor the other process of scripts/run_tests."""
    return next_domain()


@dataclass
class Ros:
    """A node of the test's own, and an executor that runs only while the test waits for something."""

    node: Node
    executor: SingleThreadedExecutor
    nodes: list[Node] = field(default_factory=list)

    def add(self, node: Node) -> Any:
        """Serve a node until the test ends."""
        self.executor.add_node(node)
        self.nodes.append(node)
        return node

    def wait_for(self, condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
        """Spin until the condition gives something true, and return that."""
        deadline = time.monotonic() + limit_s
        while not (result := condition()):
            assert time.monotonic() < deadline, f"{what} did not happen in {limit_s:.0f} s"
            self.executor.spin_once(timeout_sec=0.05)
        return result

    def collect(self, message_type: type, topic: str, profile: Any) -> list[Any]:
        """Subscribe; the list grows as messages come."""
        received: list[Any] = []
        self.node.create_subscription(message_type, topic, received.append, profile)
        return received

    def call(self, service_type: type, name: str, request: Any) -> Any:
        """Call a service and return its response."""
        client = self.node.create_client(service_type, name)
        self.wait_for(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        self.wait_for(future.done, f"answer of {name}")
        return future.result()


@pytest.fixture
def ros(domain_id: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ros]:
    """ROS in a domain of its own."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    rclpy.init(args=[], domain_id=domain_id)
    executor = SingleThreadedExecutor()
    node = rclpy.create_node("test")
    executor.add_node(node)
    harness = Ros(node, executor)
    yield harness
    for other in harness.nodes:
        if isinstance(other, PipelineNode):
            other.stop()
    executor.shutdown()
    for other in (*harness.nodes, node):
        other.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def recording(recording: Path) -> dict[str, str]:
    """The cube's frame as files, as the camera node's parameters name them."""
    return {"source": str(recording), "intrinsics": str(recording / "camera.yaml")}


@pytest.fixture
def pipeline(ros, cube_model):
    """Pose and detection node on the cube's model, what they publish, and the driver that they hear."""
    answers = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    nodes = start(ros, PoseNode, model=str(cube_model)), start(ros, DetectionNode, model=str(cube_model))
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    return *nodes, answers, driver
