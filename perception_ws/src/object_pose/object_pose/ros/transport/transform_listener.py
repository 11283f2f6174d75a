"""Transforms between frames, from /tf and /tf_static."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from tf2_msgs.msg import TFMessage

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.geometry.transform_tree import TransformTree
from object_pose.io.messages import extrinsics_from_message, stamp_ns
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.backlog import subscribe_to_all

# Topics of transforms, whether those are fixed, and how they are read.
TRANSFORM_INPUTS = (
    (topics.TF, False, qos.TRANSFORMS),
    (topics.TF_STATIC, True, qos.FIXED_TRANSFORMS),
    # Bags that were recorded without their QoS are played without latching.
    (topics.TF_STATIC, True, qos.TRANSFORMS),
)


class TransformListener:
    """Listens to transforms; ``look_up`` may be called from another thread than the executor's."""

    def __init__(self, node: PipelineNode) -> None:
        self._node = node
        self._tree = TransformTree()
        self._news = threading.Condition()
        self._subscriptions = [
            subscribe_to_all(node, TFMessage, topic, self._receiver(fixed), profile)
            for topic, fixed, profile in TRANSFORM_INPUTS
        ]

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def look_up(self, target: str, source: str, stamp: int, timeout_s: float) -> Array:
        """Return T_target_source (4, 4) at a stamp in nanoseconds, waiting for it if need be.

        A slash that a frame begins with, as drivers of ROS 1 have it, counts as none. Raises ``DataError`` that says
        what is missing when the time is over.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._news:
            answer: list[Array] = []
            problem: list[DataError] = []

            def is_there() -> bool:
                try:
                    answer.append(self._tree.look_up(target, source, stamp))
                except DataError as error:
                    problem[:] = [error]
                return bool(answer)

            if not self._news.wait_for(is_there, timeout_s):
                raise problem[0]
            return answer[0]

    def _receiver(self, fixed: bool) -> Callable[[Sequence[TFMessage]], None]:
        def receive(messages: Sequence[TFMessage]) -> None:
            with self._news:
                for message in messages:
                    self._add(message, fixed)
                self._news.notify_all()

        return receive

    def _add(self, message: TFMessage, fixed: bool) -> None:
        for item in message.transforms:
            with self._node.diagnostics.reporting("transform"):
                self._tree.add(extrinsics_from_message(item), stamp_ns(item), fixed)
