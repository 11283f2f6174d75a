"""A subscription that knows why nothing comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from object_pose.ros.transport import qos

_SILENT_AFTER_S = 2.0


class WatchedInput:
    """Hands the messages of a topic to ``callback`` and remembers when the last one came.

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
        # A volatile subscription misses what was latched before, and one that asks for it hears no volatile publisher.
        profiles = [profile, qos.LATCHED] if is_state else [profile]
        self._subscriptions = [
            node.create_subscription(message_type, topic, self._receive, item, **qos.subscription_events())
            for item in profiles
        ]

    def explain_silence(self) -> str:
        """Say why nothing has come for two seconds; empty when something has, or state is there."""
        if time.monotonic() - self._last < _SILENT_AFTER_S or (self._is_state and self._has_come):
            return ""
        return qos.explain_silence(self._node, self._subscriptions[0].topic_name, self._profile)

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _receive(self, message: Any) -> None:
        self._last, self._has_come = time.monotonic(), True
        self._callback(message)
