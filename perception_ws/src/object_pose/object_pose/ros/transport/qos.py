"""The quality-of-service profiles of the package by name, and why two ends of a topic do not match."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


def _profile(reliability: ReliabilityPolicy, durability: DurabilityPolicy, depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


# What we read from sensors: any publisher matches. What comes while the executor is held up waits here, a third of a
# second at 30 Hz: a full queue loses other frames of colour than of depth. What comes while a worker is busy waits
# there, or is dropped for what is newer.
SENSOR_INPUT = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 10)
# What a camera driver offers: any subscriber matches.
DRIVER_OUTPUT = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 4)
RESULT = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 10)
LATCHED = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 1)
# Changes, of which none may be lost.
PLANNING_SCENE = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 100)
TRANSFORMS = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 100)
FIXED_TRANSFORMS = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 100)


def input_profile(reliability: str, profile: QoSProfile) -> QoSProfile:
    """Return an input profile with the reliability that the user asks for, 'best_effort' or 'reliable'."""
    policy = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
    return _profile(policy, profile.durability, profile.depth)


def publisher_events() -> dict[str, Any]:
    """Return arguments that spare a publisher its event handlers: each makes every turn of the executor slower.

    ``explain_silence`` and ``explain_deafness`` say what the handlers would have logged, and more.
    """
    return {"event_callbacks": PublisherEventCallbacks(use_default_callbacks=False)}


def subscription_events() -> dict[str, Any]:
    """Return the same for a subscription."""
    return {"event_callbacks": SubscriptionEventCallbacks(use_default_callbacks=False)}


def is_latched(node: Node, topic: str) -> bool:
    """Return whether a publisher of a topic, named as ROS resolves it, keeps messages for late subscribers."""
    publishers = node.get_publishers_info_by_topic(topic)
    return any(item.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for item in publishers)


def explain_silence(node: Node, topic: str, profile: QoSProfile) -> str:
    """Say why nothing arrives on a topic that this node subscribes with ``profile``."""
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return f"{topic} has no publisher: is the camera driver running, is the topic remapped?"
    for publisher in publishers:
        if reason := _incompatibility(publisher.qos_profile, profile):
            return f"{topic}: QoS of publisher {publisher.node_name} is incompatible: {reason}"
    return f"{topic} has {len(publishers)} publisher(s), which send nothing"


def explain_deafness(node: Node, topic: str) -> str:
    """Say which subscriber cannot hear what this node publishes on a topic; empty when all can."""
    us = node.get_name(), node.get_namespace()
    offers = [item for item in node.get_publishers_info_by_topic(topic) if (item.node_name, item.node_namespace) == us]
    for offer in offers:
        for subscriber in node.get_subscriptions_info_by_topic(topic):
            if reason := _incompatibility(offer.qos_profile, subscriber.qos_profile):
                return f"{topic}: QoS of subscriber {subscriber.node_name} is incompatible: {reason}"
    return ""


def explain_second_publishers(node: Node, topic_names: Iterable[str]) -> str:
    """Say who publishes on topics that have one source each and yet several publishers; empty where none has."""
    found = {topic: node.get_publishers_info_by_topic(topic) for topic in sorted(topic_names)}
    several = {
        topic: ", ".join(sorted(f"{item.node_namespace.rstrip('/')}/{item.node_name}" for item in publishers))
        for topic, publishers in found.items()
        if len(publishers) > 1
    }
    if not several:
        return ""
    listed = "; ".join(f"{topic} by {names}" for topic, names in several.items())
    return f"published more than once: {listed}: is there a second camera, or does a pipeline run twice?"


def _incompatibility(offered: QoSProfile, requested: QoSProfile) -> str:
    compatibility, reason = qos_check_compatible(offered, requested)
    return str(reason).strip() if compatibility == QoSCompatibility.ERROR else ""
