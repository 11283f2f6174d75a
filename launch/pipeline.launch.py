"""The pipeline: ros2 launch object_pose pipeline.launch.py [model:=...] [camera:=false] [processes:=true] [rviz:=true].

With camera:=false an existing driver that publishes realsense-ros's topics takes the place of ours.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, GroupAction, SetEnvironmentVariable
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node

from launch import LaunchDescription

SHARE = Path(__file__).resolve().parents[1]
# Launch argument -> the nodes that have a parameter for it, and its name there.
OPTIONS = {
    "model": (("detection_node", "pose_node"), "model"),
    "source": (("camera_node",), "source"),
    "rate": (("camera_node",), "rate_hz"),
}


def find_config(name: str) -> str:
    """Return a file of config/, beside launch/ once installed and in the package in a checkout."""
    places = [SHARE / "config" / name, SHARE / "perception_ws" / "src" / "object_pose" / "config" / name]
    return str(next(place for place in places if place.exists()))


def parameters(node: str) -> list[object]:
    """Return a node's parameter file and what the launch arguments override in it."""
    overrides = {name: LaunchConfiguration(argument) for argument, (nodes, name) in OPTIONS.items() if node in nodes}
    return [find_config(f"{node}.yaml"), overrides]


def single_process() -> Node:
    """Return all nodes in one process, which is the fastest."""
    arguments: list[object] = ["run"]
    for argument in OPTIONS:
        arguments += [f"--{argument}", LaunchConfiguration(argument)]
    no_camera = PythonExpression(["'--no-camera' if '", LaunchConfiguration("camera"), "' == 'false' else '--camera'"])
    return Node(
        package="object_pose",
        executable="object-pose",
        arguments=[*arguments, no_camera],
        output="screen",
        condition=UnlessCondition(LaunchConfiguration("processes")),
    )


def separate_processes() -> GroupAction:
    """Return a process a node, each started again when it dies."""
    nodes = [
        Node(
            package="object_pose",
            executable=name,
            parameters=parameters(name),
            output="screen",
            respawn=True,
            respawn_delay=1.0,
            condition=IfCondition(LaunchConfiguration("camera")) if name == "camera_node" else None,
        )
        for name in ("pose_node", "detection_node", "camera_node")
    ]
    return GroupAction(nodes, condition=IfCondition(LaunchConfiguration("processes")))


def generate_launch_description() -> LaunchDescription:
    """Return what ros2 launch runs."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", default_value="parts.onnx", description="model file or shipped model"),
            DeclareLaunchArgument("camera", default_value="true", description="start our camera node"),
            DeclareLaunchArgument("source", default_value="simulation", description="what our camera node plays"),
            DeclareLaunchArgument("rate", default_value="20.0", description="frames a second of our camera node"),
            DeclareLaunchArgument("processes", default_value="false", description="one process a node"),
            DeclareLaunchArgument("rviz", default_value="false", description="open the RViz view"),
            SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", find_config("fastdds_shared_memory.xml")),
            single_process(),
            separate_processes(),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", str(SHARE / "launch" / "object_pose.rviz")],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
