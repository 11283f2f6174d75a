"""Checks of a hand-eye calibration: points that the robot touches, and the error to expect where it grasps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.calibration.boards import Board, BoardView, board_pose
from object_pose.calibration.hand_eye_start import EYE_IN_HAND
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import hat

DISTANCES_M = (0.3, 0.6, 1.0)
_P95_OF_SIGMA = 2.7955  # sqrt of the 95 % quantile of chi-square with 3 degrees of freedom


@dataclass(frozen=True)
class GraspError:
    """The error to expect of a point on the optical axis at a distance, in mm: standard deviations of its parts.

    ``p95_mm`` is the radius that 95 % of errors stay within, as if all directions were as bad as the worst.
    """

    distance_m: float
    hand_eye_mm: float
    robot_mm: float
    image_mm: float
    p95_mm: float


def expected_grasp_errors(
    X: Array,
    covariance: Array,
    mounting: str,
    robot_sigma_m: float,
    robot_sigma_rad: float,
    camera: Camera,
    pixel_sigma_px: float,
    distances_m: Sequence[float] = DISTANCES_M,
) -> list[GraspError]:
    """Return what error in the robot's base to expect of points at distances from the camera.

    ``covariance`` (6, 6) is of X's right twist. The image's part is that of one point whose depth is known; the robot's
    is that of the pose in which a picture is taken, which a camera beside the robot does not have.
    """
    errors = []
    for distance in distances_m:
        by_twist = np.concatenate([np.eye(3), -hat([0.0, 0.0, distance])], axis=1)
        hand_eye = by_twist @ covariance @ by_twist.T
        robot = np.zeros((3, 3))
        if mounting == EYE_IN_HAND:
            own = np.diag(np.repeat([robot_sigma_m**2, robot_sigma_rad**2], 3))
            robot = by_twist @ own @ by_twist.T
        image = np.diag([pixel_sigma_px * distance / camera.fx, pixel_sigma_px * distance / camera.fy, 0.0]) ** 2
        total = hand_eye + robot + image
        worst = [float(np.sqrt(np.linalg.eigvalsh(part)[-1]) * 1e3) for part in (hand_eye, robot, image, total)]
        errors.append(GraspError(distance, worst[0], worst[1], worst[2], _P95_OF_SIGMA * worst[3]))
    return errors


@dataclass(frozen=True)
class Touch:
    """A point of the board that the robot touched: its id, and the error (3,) in the base in mm, seen minus touched."""

    point: int
    error_mm: Array

    @property
    def distance_mm(self) -> float:
        """How far the point that the camera saw is from the one that the robot touched."""
        return float(np.linalg.norm(self.error_mm))


def touch_off(
    camera: Camera,
    board: Board,
    mounting: str,
    X: Array,
    views: Sequence[BoardView],
    T_base_gripper: Array,
    touched_m: Mapping[int, Array],
) -> list[Touch]:
    """Compare where the camera sees points of a fixed board with where the tool's tip touched them, both in the base.

    ``T_base_gripper`` (N, 4, 4) are the poses at the views; a camera beside the robot does not need them. Of a
    symmetric board, the numbering is taken that fits the touched points best. Raises ``CalibrationError`` for points
    that the board does not have.
    """
    points = board.points_m
    unknown = [index for index in touched_m if not 0 <= index < len(points)]
    if unknown:
        raise CalibrationError(f"the board has no point {unknown[0]}", f"it has points 0 to {len(points) - 1}")
    ids = np.array(sorted(touched_m))
    touched = np.stack([np.asarray(touched_m[index], dtype=np.float64) for index in ids])
    seen = []
    for view, gripper in zip(views, T_base_gripper):
        base = gripper @ X if mounting == EYE_IN_HAND else X
        found = []
        for hypothesis in view.hypotheses:
            pose = base @ board_pose(camera, view.pixels, hypothesis)
            found.append(points[ids] @ pose[:3, :3].T + pose[:3, 3])
        seen.append(min(found, key=lambda own: float(np.sum((own - touched) ** 2))))
    errors = (np.mean(seen, axis=0) - touched) * 1e3
    return [Touch(int(index), error) for index, error in zip(ids, errors)]
