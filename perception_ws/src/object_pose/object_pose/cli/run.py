"""``object-pose run``: the nodes, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from object_pose.cli.options import add_model_option
from object_pose.ros.nodes.composition import run_in_one_process, run_in_processes

EXAMPLES = """examples:
  object-pose run
  object-pose run --model models/parts.onnx --rate 30 --seed 7
  object-pose run --source recording/ --rate 10
  object-pose run --no-camera                     (a realsense-ros driver runs elsewhere)
  object-pose run --processes --params-file my.yaml
  object-pose run --ros-args -p pose_node:publish_tf:=true -r /detections_3d:=/gripper/objects
"""

# Option -> the nodes' parameters that it sets.
_PARAMETERS = {
    "model": ("detection_node:model", "pose_node:model"),
    "source": ("camera_node:source",),
    "depth": ("camera_node:depth_source",),
    "intrinsics": ("camera_node:intrinsics",),
    "rate": ("camera_node:rate_hz",),
    "seed": ("camera_node:seed",),
    "fixed_frame": ("pose_node:fixed_frame",),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    add_model_option(parser, meaning="ONNX model (default: parts.onnx)")
    parser.add_argument("--camera", action=argparse.BooleanOptionalAction, default=True, help="start our camera node")
    parser.add_argument("--source", help="what it plays: 'simulation', image, folder, video, BOP scene or bag")
    parser.add_argument("--depth", help="depth file of an image, or folder of depth files")
    parser.add_argument("--intrinsics", help="camera file of images and videos")
    parser.add_argument("--rate", type=float, help="frames a second (default: 20)")
    parser.add_argument("--seed", type=int, help="scene of the simulation")
    parser.add_argument("--fixed-frame", help="frame of /tf in which the parts lie still (the simulation's: world)")
    parser.add_argument("--processes", action="store_true", help="one process a node, restarted when it dies")
    parser.add_argument("--params-file", type=Path, action="append", default=[], help="ROS parameter file")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="parameters, remaps, logging of ROS 2")


def run(options: argparse.Namespace) -> int:
    """Run the pipeline; SIGINT is the normal end."""
    start = run_in_processes if options.processes else run_in_one_process
    start(ros_arguments(options), options.camera)
    return 0


def ros_arguments(options: argparse.Namespace) -> list[str]:
    """Return the options as ROS 2 takes them; those after ``--ros-args`` win."""
    arguments = ["--ros-args"]
    for file in options.params_file:
        arguments += ["--params-file", str(file)]
    for option, targets in _PARAMETERS.items():
        value = getattr(options, option)
        if value is not None:
            arguments += [word for target in targets for word in ("-p", f"{target}:={json.dumps(value, default=str)}")]
    return [*arguments, *options.ros_args]
