"""Images of a board and the robot's /tf into a bag: ros2 launch object_pose calibrate.launch.py output:=samples.

Show the board to the camera, for hand-eye from many sides with the robot standing still; Ctrl-C ends the recording, and
``object-pose calibrate`` does the rest. With camera:=false a driver that publishes realsense-ros's topics is recorded.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "output": ("calibration_bag", "bag folder to write"),
    "image_rate": ("2.0", "images a second that are kept"),
    "source": ("realsense", "'realsense', or a device such as /dev/video0"),
    "namespace": ("", "namespace of the camera's topics"),
}


def make_nodes(context: LaunchContext) -> list[Node]:
    """Return the recorder, and our camera node where it is wanted."""
    values = {name: LaunchConfiguration(name).perform(context) for name in (*ARGUMENTS, "camera")}
    shared = {"package": "object_pose", "namespace": values["namespace"], "output": "screen"}
    record = ["bag", "record", values["output"], "--image-rate", values["image_rate"]]
    nodes = [Node(executable="object-pose", arguments=record, **shared)]
    if values["camera"] == "true":
        nodes.append(Node(executable="camera_node", parameters=[{"source": values["source"]}], **shared))
    return nodes


def generate_launch_description() -> LaunchDescription:
    """Return what ros2 launch runs."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=value, description=text)
                for name, (value, text) in ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                "camera", default_value="true", choices=["true", "false"], description="start our camera node"
            ),
            OpaqueFunction(function=make_nodes),
        ]
    )
