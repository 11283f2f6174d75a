"""Running nodes until they are told to stop, with a clean end and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence

import cv2
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from object_pose.core.errors import ConfigError, ObjectPoseError
from object_pose.ros.nodes.pipeline_node import PipelineNode, RosoutHandler
from object_pose.runtime.resources import find

_PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"


def prepare_process() -> None:
    """Set what a process with nodes needs before its first one.

    Images of another process are lost with Fast DDS's default transport, hence the shared-memory profile.
    """
    if "HOME" not in os.environ and "ROS_LOG_DIR" not in os.environ:
        raise ConfigError("neither HOME nor ROS_LOG_DIR is set, and ROS 2 writes its logs there", "export HOME")
    os.environ.setdefault(_PROFILE_VARIABLE, str(find("config", "fastdds_shared_memory.xml")))
    # The cores are shared by camera, network and pose solver; OpenCV's threads would only get in their way.
    cv2.setNumThreads(1)


def spin(make_nodes: Iterable[Callable[[], PipelineNode]], ros_arguments: Sequence[str] | None = None) -> None:
    """Make nodes, configure all, activate them in order, and serve them until SIGINT, SIGTERM or ``rclpy.shutdown``.

    ``ros_arguments`` defaults to those of the command line. Raises ``ObjectPoseError`` when a node cannot start.
    """
    prepare_process()
    _initialize(ros_arguments)
    nodes: list[PipelineNode] = []
    # Callbacks only hand frames to workers; rclpy's multi-threaded executor took twice the time of a core for that.
    executor = SingleThreadedExecutor()
    try:
        for make_node in make_nodes:
            nodes.append(make_node())
            executor.add_node(nodes[-1])
        _bridge_logging(nodes[0])
        for node in nodes:
            node.make_ready()
        for node in nodes:
            node.make_active()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:
        # ROS may end between the executor's look at the context and its wait, which then fails.
        if rclpy.ok():
            raise
    finally:
        _close(nodes, executor)


def _initialize(ros_arguments: Sequence[str] | None) -> None:
    try:
        rclpy.init(args=None if ros_arguments is None else list(ros_arguments))
    except RuntimeError as error:  # rclpy's errors for ROS arguments and parameter files that it cannot read
        raise ConfigError(f"ROS 2 refuses its arguments: {str(error).splitlines()[0]}") from error


def spin_node(make_node: Callable[[], PipelineNode]) -> int:
    """Run one node as a program; returns the exit code."""
    try:
        spin([make_node])
    except ObjectPoseError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _bridge_logging(node: PipelineNode) -> None:
    logger = logging.getLogger("object_pose")
    logger.handlers = [RosoutHandler(node)]
    logger.propagate = False


def _close(nodes: Sequence[PipelineNode], executor: SingleThreadedExecutor) -> None:
    """End the threads of the nodes first, then ROS."""
    for node in reversed(nodes):
        node.stop()
    executor.shutdown()
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()
