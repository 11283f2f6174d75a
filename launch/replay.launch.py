"""Recorded frames through the pipeline: ros2 launch object_pose replay.launch.py source:=/path/to/bag_or_scene.

It takes the other arguments of pipeline.launch.py, too.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription

# What differs from pipeline.launch.py, whose other arguments are passed on by name.
DEFAULTS = {"rate": ("10.0", "frames a second"), "rviz": ("true", "open the RViz view")}


def generate_launch_description() -> LaunchDescription:
    """Return what ros2 launch runs."""
    pipeline = str(Path(__file__).with_name("pipeline.launch.py"))
    passed = {name: LaunchConfiguration(name) for name in ("source", *DEFAULTS)}
    return LaunchDescription(
        [
            DeclareLaunchArgument("source", description="image, folder, video, BOP scene or bag"),
            *(
                DeclareLaunchArgument(name, default_value=value, description=text)
                for name, (value, text) in DEFAULTS.items()
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(pipeline), launch_arguments=passed.items()),
        ]
    )
