"""Setting the model of a running pipeline from outside, and hearing how its trial ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.srv import SetModel
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from object_pose.core.errors import ModelError, ObjectPoseError
from object_pose.ros.transport import qos, topics
from object_pose.runtime.model_trial import TrialState

_FOUND_WITHIN_S = 10.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Deployment:
    """How a trial ended: ``state`` is passed or failed, or where it was when time was up; ``text`` says more."""

    state: TrialState
    text: str


def deploy_model(
    model: Path, namespace: str = "", timeout_s: float = 300.0, say: Callable[[str], None] = lambda text: None
) -> Deployment:
    """Set the model of the pipeline in a namespace, and wait until its trial ends or time is up.

    ``say`` gets each new state of the trial. Raises ``ObjectPoseError`` where no pipeline answers, ``ModelError`` where
    it refuses the model.
    """
    context = Context()
    rclpy.init(context=context)
    node = Node("object_pose_deploy", context=context, namespace=namespace, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        return _deploy(node, executor, model.resolve(), timeout_s, say)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.shutdown()


def _deploy(
    node: Node, executor: SingleThreadedExecutor, model: Path, timeout_s: float, say: Callable[[str], None]
) -> Deployment:
    service = node.resolve_service_name("detection_node/set_model")
    detection_node = service.rpartition("/")[0].lstrip("/")
    heard: list[str] = []

    def hear(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"object_pose: {detection_node}":
                heard.extend(item.value for item in status.values if item.key == "model_trial")

    node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, hear, qos.RESULT)
    client = node.create_client(SetModel, service)
    deadline = time.monotonic() + _FOUND_WITHIN_S
    while not client.service_is_ready():
        if time.monotonic() > deadline:
            raise ObjectPoseError(f"no pipeline answers at {service}", "is it running in this ROS_DOMAIN_ID and --to?")
        executor.spin_once(timeout_sec=_POLL_S)
    future, deadline = client.call_async(SetModel.Request(model=str(model))), time.monotonic() + timeout_s
    state, told = TrialState.SHADOW, ""
    while time.monotonic() < deadline:
        executor.spin_once(timeout_sec=_POLL_S)
        if not future.done():
            heard.clear()  # of an earlier trial
            continue
        if not future.result().success:
            raise ModelError(f"the pipeline refuses {model}: {future.result().message}")
        texts = [text.removeprefix(f"{model}: ") for text in heard if text.startswith(f"{model}: ")]
        if texts and texts[-1] != told:
            told = texts[-1]
            say(told)
        for ended in (TrialState.PASSED, TrialState.FAILED):
            if told.startswith(ended.value):
                return Deployment(ended, told)
        state = TrialState.LIVE if told.startswith("on trial") else TrialState.SHADOW
    return Deployment(state, told or "the pipeline said nothing of it: do images come?")
