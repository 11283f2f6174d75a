"""The nodes as programs. Each is imported only here, where SIGINT cannot be lost in an import."""

from __future__ import annotations

import importlib
from functools import partial

from object_pose.runtime.processes import interrupted_at_once


def run(name: str) -> int:
    """Import the module of a node and run it alone; return its exit code."""
    with interrupted_at_once(name):
        code: int = importlib.import_module(f"object_pose.ros.nodes.{name}").main()
    return code


bin_picking_node = partial(run, "bin_picking_node")
calibration_node = partial(run, "calibration_node")
camera_node = partial(run, "camera_node")
detection_node = partial(run, "detection_node")
planning_scene_node = partial(run, "planning_scene_node")
pose_node = partial(run, "pose_node")
