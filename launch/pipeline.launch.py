"""The pipeline: ros2 launch object_pose pipeline.launch.py [params_file:=...] [camera:=false] [web:=true] [rviz:=true].

Parameters come from params_file; the arguments that name a parameter win over it. With camera:=false an existing driver
that publishes realsense-ros's topics takes the place of our camera node.
"""

import json

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from object_pose.core.params import Parameter, parameters
from object_pose.ros.nodes.camera_node import CameraNodeConfig
from object_pose.ros.nodes.detection_node import DetectionNodeConfig
from object_pose.ros.nodes.pose_node import PoseNodeConfig
from object_pose.runtime.predictor import PredictorConfig
from object_pose.runtime.resources import find

# Argument -> the parameters that it sets, which describe it; without a value it leaves them to the file.
PARAMETERS = {
    "model": ("detection_node:model", "pose_node:model"),
    "engine": ("detection_node:engine", "pose_node:engine"),
    "source": ("camera_node:source",),
    "intrinsics": ("camera_node:intrinsics",),
    "serial": ("camera_node:realsense.serial",),
    "rate": ("camera_node:rate_hz",),
    "register_depth": ("detection_node:register_depth", "pose_node:register_depth"),
    "fixed_frame": ("pose_node:fixed_frame", "web_bridge:base_frame"),
    "target_frame": ("pose_node:target_frame", "web_bridge:base_frame"),
}
SWITCHES = {
    "camera": ("true", "start our camera node"),
    "processes": ("false", "one process a node, restarted when it dies"),
    "planning_scene": ("false", "keep MoveIt's planning scene up to date with the tracked parts"),
    "use_sim_time": ("false", "take the time from /clock, as for a bag that is played"),
    "web": ("false", "serve the page and the HTTP API on http://127.0.0.1:8080"),
    "rviz": ("false", "open the RViz view"),
}
_CONFIGS = {
    "camera_node": (CameraNodeConfig,),
    "detection_node": (DetectionNodeConfig, PredictorConfig),
    "pose_node": (PoseNodeConfig, PredictorConfig),
}


def declaration(argument: str) -> Parameter:
    """Return the declaration of the parameter that an argument sets."""
    node, _, name = PARAMETERS[argument][0].partition(":")
    return next(item for config in _CONFIGS[node] for item in parameters(config) if item.name == name)


def ros_arguments(context: LaunchContext) -> list[str]:
    """Return the parameter file and the parameters that launch arguments override in it, as ROS takes them."""
    words = ["--params-file", LaunchConfiguration("params_file").perform(context)]
    for argument, names in PARAMETERS.items():
        value = LaunchConfiguration(argument).perform(context)
        if value:
            text = json.dumps(value) if declaration(argument).type is str else value
            words += [word for name in names for word in ("-p", f"{name}:={text}")]
    if LaunchConfiguration("use_sim_time").perform(context) == "true":
        words += ["-p", "use_sim_time:=true"]
    return words


def make_nodes(context: LaunchContext) -> list[Node]:
    """Return all nodes in one process, which is the fastest, or a process a node; ``run`` restarts those that die.

    launch itself would restart for ever what cannot start, such as a node without its model.
    """
    is_on = {name: LaunchConfiguration(name).perform(context) == "true" for name in SWITCHES}
    words = ["run", "--camera" if is_on["camera"] else "--no-camera"]
    words += [f"--{name}" for name in ("processes", "web") if is_on[name]]
    nodes = [
        Node(
            package="object_pose",
            executable="object-pose",
            arguments=words,
            namespace=LaunchConfiguration("namespace").perform(context),
            ros_arguments=ros_arguments(context),
            output="screen",
        )
    ]
    if is_on["planning_scene"]:
        model = LaunchConfiguration("model").perform(context)
        nodes.append(
            Node(
                package="object_pose",
                executable="planning_scene_node",
                namespace=LaunchConfiguration("namespace").perform(context),
                parameters=[{"model": model}] if model else [],
                output="screen",
            )
        )
    if is_on["rviz"]:
        nodes.append(
            Node(package="rviz2", executable="rviz2", arguments=["-d", str(find("launch", "object_pose.rviz"))])
        )
    return nodes


def parameter_argument(name: str) -> DeclareLaunchArgument:
    """Return the argument that sets a parameter, as its declaration describes it."""
    declared = declaration(name)
    choices = ["true", "false"] if declared.type is bool else list(declared.choices)
    limited = {"choices": ["", *choices]} if choices else {}
    return DeclareLaunchArgument(name, default_value="", description=declared.description, **limited)


def generate_launch_description() -> LaunchDescription:
    """Return what ros2 launch runs."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=str(find("config", "nodes.yaml")),
                description="ROS parameter file of all nodes",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of all nodes and topics"),
            *(parameter_argument(name) for name in PARAMETERS),
            *(
                DeclareLaunchArgument(name, default_value=value, choices=["true", "false"], description=text)
                for name, (value, text) in SWITCHES.items()
            ),
            OpaqueFunction(function=make_nodes),
        ]
    )
