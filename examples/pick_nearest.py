"""A planner's side of the pipeline: picks the nearest part that can be gripped, in the robot's base frame.

    object-pose run --target-frame base_link                      (or any pipeline with target_frame set)
    python examples/pick_nearest.py --base-frame base_link        (says what it would pick, once a second)

Depends on ``/detections_3d`` alone: the pipeline has turned the poses into the base frame at the image's stamp. A real
planner hands ``T_base_grasp`` to MoveIt where this one prints it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node
from vision_msgs.msg import Detection3DArray

from object_pose.core.errors import ObjectPoseError
from object_pose.core.results.pose import ObjectPose
from object_pose.io.grasps import Grasp, grasps_file, read_grasps
from object_pose.ros.messages.conversions import detections_3d_from_message
from object_pose.ros.transport import qos, topics
from object_pose.runtime.resources import find_model


@dataclass(frozen=True)
class Limits:
    """What a pose and a gripper must fulfil."""

    min_score: float = 0.7
    max_sigma_m: float = 0.005
    max_width_m: float = 0.085
    max_tilt_deg: float = 60.0


@dataclass(frozen=True)
class Pick:
    """A part, and where the gripper goes: ``T_base_grasp`` (4, 4), opened by ``width_m``."""

    part: ObjectPose
    T_base_grasp: np.ndarray
    width_m: float


def choose(parts: list[ObjectPose], grasps: dict[str, tuple[Grasp, ...]], limits: Limits) -> Pick | None:
    """Return the nearest part's most upright grasp, None where no part can be gripped."""
    best_tilt = np.cos(np.radians(limits.max_tilt_deg))
    for part in sorted(parts, key=lambda item: float(np.linalg.norm(item.T_camera_object[:3, 3]))):
        sigma_m = float(np.sqrt(np.linalg.eigvalsh(part.covariance[:3, :3])[-1]))
        if part.score < limits.min_score or sigma_m > limits.max_sigma_m:
            continue
        placed = [
            Pick(part, part.T_camera_object @ grasp.T_object_grasp, grasp.width_m)
            for grasp in grasps.get(part.class_name, ())
            if grasp.width_m <= limits.max_width_m
        ]
        # The base frame's z points up, and the gripper comes from above.
        upright = [pick for pick in placed if -pick.T_base_grasp[2, 2] >= best_tilt]
        if upright:
            return max(upright, key=lambda pick: -float(pick.T_base_grasp[2, 2]))
    return None


class PickNearest(Node):
    """Prints the pick of the newest detections once a second, as long as they are in the base frame."""

    def __init__(self, base_frame: str, grasps: dict[str, tuple[Grasp, ...]], limits: Limits) -> None:
        super().__init__("pick_nearest")
        self._base_frame, self._grasps, self._limits = base_frame, grasps, limits
        self._newest: Detection3DArray | None = None
        self.create_subscription(Detection3DArray, topics.DETECTIONS_3D, self._keep, qos.RESULT)
        self.create_timer(1.0, self._report)

    def _keep(self, message: Detection3DArray) -> None:
        self._newest = message

    def _report(self) -> None:
        if self._newest is None:
            self.get_logger().info("waiting for detections")
            return
        message, self._newest = self._newest, None
        if message.header.frame_id != self._base_frame:
            self.get_logger().error(
                f"detections are in '{message.header.frame_id}', not in '{self._base_frame}': set target_frame"
            )
            return
        parts = list(detections_3d_from_message(message, list(self._grasps)))
        pick = choose(parts, self._grasps, self._limits)
        if pick is None:
            self.get_logger().info(f"none of {len(parts)} parts can be picked")
            return
        part, grasp = (", ".join(f"{x:.4f}" for x in T[:3, 3]) for T in (pick.part.T_camera_object, pick.T_base_grasp))
        name, opening_mm = f"{pick.part.class_name} #{pick.part.track_id}", 1e3 * pick.width_m
        sys.stdout.write(
            f"pick {name} at ({part}), grasp at ({grasp}), opened {opening_mm:.0f} mm, score {pick.part.score:.2f}\n"
        )
        sys.stdout.flush()


def main() -> int:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-frame", default="base_link", help="the robot's base (default: %(default)s)")
    parser.add_argument("--model", default="parts.onnx", help="model whose grasps lie beside it (default: %(default)s)")
    parser.add_argument("--grasps", type=Path, help="grasp file (default: beside the model)")
    parser.add_argument("--max-width", type=float, default=Limits.max_width_m, help="of the gripper, in metres")
    options, ros_arguments = parser.parse_known_args()
    try:
        grasps = read_grasps(options.grasps or grasps_file(find_model(options.model)))
    except ObjectPoseError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    rclpy.init(args=ros_arguments)
    try:
        rclpy.spin(PickNearest(options.base_frame, grasps, Limits(max_width_m=options.max_width)))
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
