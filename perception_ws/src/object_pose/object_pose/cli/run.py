"""``object-pose run``: the nodes, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from object_pose.cli.model_options import add_parts_options, prepared_parts
from object_pose.cli.options import add_model_option, add_parameter_option
from object_pose.core.params import parameters
from object_pose.io.bag_frames import RecordingConfig
from object_pose.ros.nodes.camera_node import CameraNodeConfig
from object_pose.ros.nodes.composition import run_in_one_process, run_in_processes
from object_pose.ros.nodes.pose_node import PoseNodeConfig
from object_pose.web.config import WebConfig

EXAMPLES = """examples:
  object-pose run
  object-pose run --model models/parts.onnx --rate 30 --seed 7
  object-pose run --parts bracket.stl pump.ply --no-camera   (found in depth, without a trained model)
  object-pose run --source recording/ --rate 10
  object-pose run --source bag/ --color-topic /cam/rgb --depth-topic /cam/depth --camera-info-topic /cam/info
  object-pose run --no-camera --target-frame base_link --fixed-frame base_link   (poses for a robot)
  object-pose run --no-camera                     (a realsense-ros driver runs elsewhere)
  object-pose run --processes --params-file my.yaml
  object-pose run --web --web-port 8000           (with the page and the HTTP API: http://127.0.0.1:8000)
  object-pose run --ros-args -p pose_node:publish_tf:=true -r /detections_3d:=/gripper/objects
"""

_RECORDING = (
    "color_topic",
    "depth_topic",
    "camera_info_topic",
    "depth_camera_info_topic",
    "tolerance_ms",
    "rectified",
    "depth_scale",
)
_WEB = ("host", "port")
# Option -> the camera node's parameter that it sets.
_CAMERA = {
    "source": "source",
    "depth": "depth_source",
    "intrinsics": "intrinsics",
    "rate": "rate_hz",
    "seed": "seed",
    **{name: name for name in _RECORDING},
}
_PARAMETERS = {
    "model": ("detection_node:model", "pose_node:model"),
    # The page shows the scene from the robot's base, where that is named.
    "fixed_frame": ("pose_node:fixed_frame", "web_bridge:base_frame"),
    "target_frame": ("pose_node:target_frame", "web_bridge:base_frame"),
    **{option: (f"camera_node:{name}",) for option, name in _CAMERA.items()},
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``; those that set a parameter are described by its declaration."""
    add_model_option(parser, meaning="ONNX model (default: parts.onnx)")
    add_parts_options(parser)
    parser.add_argument("--camera", action=argparse.BooleanOptionalAction, default=True, help="start our camera node")
    declared = {item.name: item for config in (CameraNodeConfig, RecordingConfig) for item in parameters(config)}
    for option, name in _CAMERA.items():
        add_parameter_option(parser, declared[name], f"--{option.replace('_', '-')}", option)
    for item in parameters(PoseNodeConfig):
        if item.name in ("fixed_frame", "target_frame"):
            add_parameter_option(parser, item, f"--{item.name.replace('_', '-')}", item.name)
    parser.add_argument("--processes", action="store_true", help="one process a node, restarted when it dies")
    parser.add_argument(
        "--web",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="serve the page and the HTTP API in a process beside the nodes; 'serve --live' has more options",
    )
    for item in parameters(WebConfig):
        if item.name in _WEB:
            add_parameter_option(parser, item, f"--web-{item.name}", f"web_{item.name}")
    parser.add_argument("--params-file", type=Path, action="append", default=[], help="ROS parameter file")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="parameters, remaps, logging of ROS 2")


def run(options: argparse.Namespace) -> int:
    """Run the pipeline; SIGINT is the normal end."""
    options.model = prepared_parts(options) or options.model
    start = run_in_processes if options.processes else run_in_one_process
    words = ros_arguments(options)
    start(words, options.camera, {"web server": _web_server(options, words)} if options.web else {})
    return 0


def _web_server(options: argparse.Namespace, ros_arguments: list[str]) -> list[str]:
    """Return the module and the arguments of the server that shows the nodes."""
    given = {name: getattr(options, f"web_{name}") for name in _WEB}
    server = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    return ["object_pose.cli.main", "serve", "--live", *server, *ros_arguments]


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
