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
    """Hands the messages of a topic to ``callback`` and remembers when the last one came."""

    def __init__(
        self, node: Node, message_type: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile
    ) -> None:
        self._node = node
        self._profile = profile
        self._callback = callback
        self._last = time.monotonic()
        self._subscription = node.create_subscription(
            message_type, topic, self._receive, profile, **qos.subscription_events()
        )

    def explain_silence(self) -> str:
        """Say why nothing has come for two seconds; empty when something has."""
        if time.monotonic() - self._last < _SILENT_AFTER_S:
            return ""
        return qos.explain_silence(self._node, self._subscription.topic_name, self._profile)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _receive(self, message: Any) -> None:
        self._last = time.monotonic()
        self._callback(message)
