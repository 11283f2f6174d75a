"""The pipeline: ros2 launch object_pose pipeline.launch.py [params_file:=...] [camera:=false] [rviz:=true].

Parameters come from params_file; the arguments that name a parameter win over it. With camera:=false an existing driver
that publishes realsense-ros's topics takes the place of our camera node.
"""

import json

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from object_pose.runtime.resources import find

# Argument -> the parameters that it sets, and their description; without a value it leaves them to the file.
PARAMETERS = {
    "model": (("detection_node:model", "pose_node:model"), "model file, or the name of a shipped model"),
    "source": (("camera_node:source",), "'simulation', or an image, folder, video, BOP scene or bag"),
    "rate": (("camera_node:rate_hz",), "frames a second"),
}
SWITCHES = {
    "camera": ("true", "start our camera node"),
    "processes": ("false", "one process a node, restarted when it dies"),
    "rviz": ("false", "open the RViz view"),
}


def ros_arguments(context: LaunchContext) -> list[str]:
    """Return the parameter file and the parameters that launch arguments override in it, as ROS takes them."""
    words = ["--params-file", LaunchConfiguration("params_file").perform(context)]
    for argument, (names, _) in PARAMETERS.items():
        value = LaunchConfiguration(argument).perform(context)
        if value:
            text = value if argument == "rate" else json.dumps(value)
            words += [word for name in names for word in ("-p", f"{name}:={text}")]
    return words


def make_nodes(context: LaunchContext) -> list[Node]:
    """Return all nodes in one process, which is the fastest, or a process a node; ``run`` restarts those that die.

    launch itself would restart for ever what cannot start, such as a node without its model.
    """
    is_on = {name: LaunchConfiguration(name).perform(context) == "true" for name in SWITCHES}
    words = ["run", "--camera" if is_on["camera"] else "--no-camera", *(["--processes"] if is_on["processes"] else [])]
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
    if is_on["rviz"]:
        nodes.append(
            Node(package="rviz2", executable="rviz2", arguments=["-d", str(find("launch", "object_pose.rviz"))])
        )
    return nodes


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
            *(
                DeclareLaunchArgument(name, default_value="", description=text)
                for name, (_, text) in PARAMETERS.items()
            ),
            *(
                DeclareLaunchArgument(name, default_value=value, choices=["true", "false"], description=text)
                for name, (value, text) in SWITCHES.items()
            ),
            OpaqueFunction(function=make_nodes),
        ]
    )
