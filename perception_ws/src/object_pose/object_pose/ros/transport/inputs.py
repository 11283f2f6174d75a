"""A subscription that knows why nothing comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from object_pose.ros.transport import qos
from object_pose.ros.transport.backlog import subscribe_to_all, take_waiting

_SILENT_AFTER_S = 2.0


class WatchedInput:
    """Hands the messages of a topic to ``callback``, all that wait at a turn, and remembers when the last one came.

    A topic that ``is_state`` may be sent once, latched or not, and then stay silent.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        profile: QoSProfile,
        is_state: bool = False,
    ) -> None:
        self._node = node
        self._profile = profile
        self._callback = callback
        self._is_state = is_state
        self._has_come = False
        self._last = time.monotonic()
        self._subscriptions = [self._subscribe(message_type, topic, profile)]

    @property
    def topic_name(self) -> str:
        """The topic as ROS resolves it."""
        return str(self._subscriptions[0].topic_name)

    def take_waiting(self) -> None:
        """Hand over what has come since, without waiting for this topic's turn; for the thread of the executor."""
        for subscription in self._subscriptions:
            self._receive(list(take_waiting(subscription, self._profile.depth)))

    def explain_silence(self) -> str:
        """Say why nothing has come for two seconds; empty when something has, or state is there."""
        if self._is_state and not self._has_come:
            self._ask_for_latched()
        if time.monotonic() - self._last < _SILENT_AFTER_S or (self._is_state and self._has_come):
            return ""
        return qos.explain_silence(self._node, self.topic_name, self._profile)

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _ask_for_latched(self) -> None:
        """Subscribe again so that what was latched before comes, where a publisher latches: no other would match."""
        first = self._subscriptions[0]
        if len(self._subscriptions) == 1 and qos.is_latched(self._node, first.topic_name):
            self._subscriptions.append(self._subscribe(first.msg_type, first.topic, qos.LATCHED))

    def _subscribe(self, message_type: type, topic: str, profile: QoSProfile) -> Subscription:
        return subscribe_to_all(self._node, message_type, topic, self._receive, profile)

    def _receive(self, messages: Sequence[Any]) -> None:
        if messages:
            self._last, self._has_come = time.monotonic(), True
        for message in messages:
            self._callback(message)
