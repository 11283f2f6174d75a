"""Subscriptions that hand over all that waits: the executor takes one message a turn, on a busy machine too few."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from object_pose.ros.transport import qos


def subscribe_to_all(
    node: Node,
    message_type: type,
    topic: str,
    callback: Callable[[Sequence[Any]], None],
    profile: QoSProfile,
    raw: bool = False,
) -> Subscription:
    """Subscribe with a ``callback`` for all messages that wait at a turn of the executor, oldest first.

    With ``raw`` they are CDR bytes.
    """

    def receive(message: Any) -> None:
        callback([message, *take_waiting(subscription, profile.depth)])

    subscription = node.create_subscription(message_type, topic, receive, profile, raw=raw, **qos.subscription_events())
    return subscription


def take_waiting(subscription: Subscription, limit: int) -> Iterator[Any]:
    """Yield the messages that wait at a subscription, oldest first, ``limit`` at most; none once it is closed."""
    with suppress(InvalidHandle), subscription.handle:
        for _ in range(limit):
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                return
            yield taken[0]
