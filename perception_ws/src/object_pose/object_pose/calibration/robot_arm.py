"""A serial arm from its URDF: where its gripper is, and how that moves with the offsets of its joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from object_pose.calibration.hand_eye_start import EYE_IN_HAND
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.se3 import (
    adjoint,
    exp,
    inverse,
    make_transform,
    rotation_from_quat_wxyz,
    rotation_from_rpy,
)
from object_pose.io.files import parse_xml

_TURNING, _SLIDING, _FIXED = ("revolute", "continuous"), ("prismatic",), ("fixed",)


@dataclass(frozen=True)
class Joint:
    """A joint: its name, its frame (4, 4) in the link before it, and its unit twist (6,); zero of a fixed joint."""

    name: str
    origin: Array
    twist: Array


@dataclass(frozen=True)
class Arm:
    """The joints from a robot's base to its gripper."""

    joints: tuple[Joint, ...]

    @property
    def moving(self) -> list[str]:
        """The names of the joints that move, in order."""
        return [joint.name for joint in self.joints if joint.twist.any()]

    def gripper(self, positions: Array) -> Array:
        """Return T_base_gripper (4, 4) at positions (K,) of the moving joints, in radians or metres."""
        return self._chain(positions)[0]

    def body_jacobian(self, positions: Array) -> Array:
        """Return the twists (6, K) of the gripper, in its own frame, that unit motions of the joints are."""
        gripper, frames = self._chain(positions)
        return np.stack([adjoint(inverse(gripper) @ frame) @ twist for frame, twist in frames], axis=-1)

    def _chain(self, positions: Array) -> tuple[Array, list[tuple[Array, Array]]]:
        moving = self.moving
        if len(positions) != len(moving):
            raise CalibrationError(f"{len(positions)} joint positions for {len(moving)} joints", ", ".join(moving))
        pose, frames, rest = np.eye(4), [], iter(positions)
        for joint in self.joints:
            pose = pose @ joint.origin
            if joint.twist.any():
                frames.append((pose, joint.twist))
                pose = pose @ exp(joint.twist * next(rest))
        return pose, frames


def parse_urdf(text: str, base: str, gripper: str) -> Arm:
    """Return the arm between two links of a URDF; raises ``CalibrationError`` where they are not connected."""
    try:
        root = parse_xml(text)
    except ValueError as error:
        raise CalibrationError("the robot description is not XML", str(error)) from error
    by_child = {}
    for joint in root.iter("joint"):
        child = joint.find("child")
        if child is not None:
            by_child[child.get("link")] = joint
    joints: list[Joint] = []
    link = gripper
    while link != base:
        element = by_child.get(link)
        parent = None if element is None else element.find("parent")
        if element is None or parent is None or len(joints) > 100:
            raise CalibrationError(f"the robot description has no chain of joints from '{base}' to '{gripper}'")
        joints.append(_joint(element))
        link = str(parent.get("link"))
    return Arm(tuple(reversed(joints)))


def joint_twists(arm: Arm, mounting: str, positions: Sequence[Array]) -> Array:
    """Return how the arm's pose, as ``hand_eye_refinement`` takes it, moves with offsets of its joints: (N, 6, K)."""
    twists = []
    for own in positions:
        jacobian = arm.body_jacobian(own)
        # A is the base in the gripper where the camera is on the gripper, and the gripper in the base otherwise.
        twists.append(-jacobian if mounting == EYE_IN_HAND else adjoint(arm.gripper(own)) @ jacobian)
    return np.stack(twists)


def _joint(element: Element) -> Joint:
    name, kind = str(element.get("name")), str(element.get("type"))
    origin, axis = element.find("origin"), element.find("axis")
    try:
        xyz = _numbers(origin.get("xyz") if origin is not None else None, "0 0 0")
        rotation = _rotation(origin)
        direction = _numbers(axis.get("xyz") if axis is not None else None, "1 0 0")
    except ValueError as error:
        raise CalibrationError(
            f"joint '{name}' of the robot description has no numbers where they should be"
        ) from error
    frame = make_transform(rotation, xyz)
    unit = direction / max(float(np.linalg.norm(direction)), 1e-12)
    if kind in _TURNING:
        return Joint(name, frame, np.concatenate([np.zeros(3), unit]))
    if kind in _SLIDING:
        return Joint(name, frame, np.concatenate([unit, np.zeros(3)]))
    if kind not in _FIXED:
        raise CalibrationError(f"joint '{name}' of the robot description is '{kind}', which is not supported")
    return Joint(name, frame, np.zeros(6))


def _rotation(origin: Element | None) -> Array:
    """Return the rotation (3, 3) of an origin: ``rpy``, or ``quat_xyzw`` of URDF 1.2."""
    quaternion = None if origin is None else origin.get("quat_xyzw")
    if quaternion is not None:
        x, y, z, w = _numbers(quaternion, "", 4)
        if not x * x + y * y + z * z + w * w > 0.0:
            raise ValueError(quaternion)
        return rotation_from_quat_wxyz((w, x, y, z))
    return rotation_from_rpy(*_numbers(origin.get("rpy") if origin is not None else None, "0 0 0"))


def _numbers(text: str | None, default: str, count: int = 3) -> Array:
    values = np.array([float(value) for value in (text or default).split()])
    if len(values) != count:
        raise ValueError(text)
    return values
