"""Transforms that do not change, as files: a mapping for YAML, and a launch file that publishes one on /tf_static."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.se3 import make_transform, quat_wxyz_from_rotation, rotation_from_quat_wxyz
from object_pose.io.files import replacing

_LAUNCH = '''"""{comment}"""

from launch_ros.actions import Node

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Publish the transform from {parent} to {child} on /tf_static."""
    return LaunchDescription(
        [
            Node(
                package="tf2_ros",
                executable="static_transform_publisher",
                name="{name}",
                arguments={arguments},
            )
        ]
    )
'''


def transform_to_mapping(T: Array) -> dict[str, dict[str, float]]:
    """Return a transform (4, 4) as ``geometry_msgs/Transform`` names it."""
    w, x, y, z = (float(value) for value in quat_wxyz_from_rotation(T[:3, :3]))
    translation = {axis: float(value) for axis, value in zip("xyz", T[:3, 3])}
    return {"translation": translation, "rotation": {"x": x, "y": y, "z": z, "w": w}}


def transform_from_mapping(values: Any, where: str) -> Array:
    """Return the transform (4, 4) of a mapping; raises ``CalibrationError`` naming ``where``."""
    try:
        if not isinstance(values, Mapping):
            raise TypeError
        translation = [float(values["translation"][axis]) for axis in "xyz"]
        quat = np.array([float(values["rotation"][axis]) for axis in "wxyz"])
        if not np.all(np.isfinite([*translation, *quat])) or not 0.9 < np.linalg.norm(quat) < 1.1:
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CalibrationError(f"{where} must hold translation (x, y, z) and rotation (x, y, z, w)") from error
    return make_transform(rotation_from_quat_wxyz(quat), translation)


def write_static_transform_launch(path: Path, parent: str, child: str, T_parent_child: Array, comment: str) -> None:
    """Write a ROS 2 launch file that publishes one transform with tf2_ros."""
    values = transform_to_mapping(T_parent_child)
    arguments = [word for axis, value in values["translation"].items() for word in (f"--{axis}", f"{value:.9g}")]
    arguments += [word for axis, value in values["rotation"].items() for word in (f"--q{axis}", f"{value:.9g}")]
    arguments += ["--frame-id", parent, "--child-frame-id", child]
    name = f"{path.name.split('.')[0]}_transform"
    safe = "".join(letter if letter.isalnum() else "_" for letter in name)
    text = _LAUNCH.format(comment=comment, parent=parent, child=child, name=safe, arguments=repr(arguments))
    with replacing(path) as temporary:
        temporary.write_text(text)
