"""Images of a board and the robot's /tf into a bag: ros2 launch object_pose calibrate.launch.py output:=samples.

Show the board to the camera, for hand-eye from many sides with the robot standing still; Ctrl-C ends the recording, and
``object-pose calibrate`` reads the bag. With board:=charuco:9x6:0.03:0.022 the calibration node guides meanwhile: look
at calibration/image, and call /calibration_node/solve when nothing is missing. With camera:=false a driver that
publishes realsense-ros's topics is recorded.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from object_pose.core.params import parameters
from object_pose.ros.nodes.calibration_node import CalibrationNodeConfig

ARGUMENTS = {
    "output": ("calibration_bag", "bag folder to write"),
    "image_rate": ("2.0", "images a second that are kept"),
    "source": ("realsense", "'realsense', or a device such as /dev/video0"),
    "namespace": ("", "namespace of the camera's topics"),
}
GUIDED = ("board", "kind", "intrinsics", "base_frame", "tool_frame")  # parameters of the calibration node


def make_nodes(context: LaunchContext) -> list[Node]:
    """Return the recorder, and our camera node where it is wanted."""
    values = {name: LaunchConfiguration(name).perform(context) for name in (*ARGUMENTS, *GUIDED, "camera")}
    shared = {"package": "object_pose", "namespace": values["namespace"], "output": "screen"}
    record = ["bag", "record", values["output"], "--image-rate", values["image_rate"]]
    nodes = [Node(executable="object-pose", arguments=record, **shared)]
    if values["camera"] == "true":
        nodes.append(Node(executable="camera_node", parameters=[{"source": values["source"]}], **shared))
    if values["board"]:
        given = {name: values[name] for name in GUIDED if values[name]}
        nodes.append(Node(executable="calibration_node", parameters=[given], **shared))
    return nodes


def guided_argument(name: str) -> DeclareLaunchArgument:
    """Return the argument that sets a parameter of the calibration node, as its declaration describes it."""
    declared = next(item for item in parameters(CalibrationNodeConfig) if item.name == name)
    limited = {"choices": list(declared.choices)} if declared.choices else {}
    return DeclareLaunchArgument(name, default_value=str(declared.default), description=declared.description, **limited)


def generate_launch_description() -> LaunchDescription:
    """Return what ros2 launch runs."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=value, description=text)
                for name, (value, text) in ARGUMENTS.items()
            ),
            *(guided_argument(name) for name in GUIDED),
            DeclareLaunchArgument(
                "camera", default_value="true", choices=["true", "false"], description="start our camera node"
            ),
            OpaqueFunction(function=make_nodes),
        ]
    )
