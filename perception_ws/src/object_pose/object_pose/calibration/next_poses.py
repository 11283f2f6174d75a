"""Where to take the next images of a hand-eye calibration: poses that lower its uncertainty most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.calibration.boards import Board
from object_pose.calibration.hand_eye import HandEyeCalibration
from object_pose.calibration.hand_eye_refinement import (
    POSE_SIZE,
    State,
    image_costs,
    linearise,
    observe,
    with_errors_in,
)
from object_pose.calibration.hand_eye_start import EYE_IN_HAND
from object_pose.calibration.simulated import exact_view, pose_before
from object_pose.core.arrays import Array
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import hat, inverse, make_transform

_TILTS_DEG = ((0, 0), (30, 0), (-30, 0), (0, 30), (0, -30), (25, 25), (-25, -25), (25, -25), (-25, 25))
_ROLLS_DEG = (0.0, 45.0, -45.0, 90.0, 180.0)
_DISTANCES = (0.8, 1.0, 1.25)  # of the median distance so far
_LEAST_SHARE = 0.6  # of the board's points that the camera must see


@dataclass(frozen=True)
class NextPose:
    """A pose to go to: T_base_gripper (4, 4), how the camera then sees the board, and what that is expected to bring.

    ``sigma_mm`` is the standard deviation of a point at the board's distance, in the worst direction, before and after.
    """

    T_base_gripper: Array
    tilt_deg: tuple[float, float]
    roll_deg: float
    distance_m: float
    sigma_mm: tuple[float, float]

    def __str__(self) -> str:
        about_x, about_y = self.tilt_deg
        before, after = self.sigma_mm
        return (
            f"board {self.distance_m:.2f} m away, tilted by {about_x:+.0f} and {about_y:+.0f} degrees about the "
            f"image's x and y, rolled by {self.roll_deg:+.0f}: {before:.2f} mm -> {after:.2f} mm"
        )


def next_poses(calibration: HandEyeCalibration, camera: Camera, board: Board, count: int = 3) -> list[NextPose]:
    """Return poses of the greatest gain, one after another, with the first image of each already counted.

    Whether the robot reaches them without a collision is not known here.
    """
    used = [index for index, sample in enumerate(calibration.samples) if sample.used]
    known = calibration.T_camera_board[used]
    distance = float(np.median(known[:, 2, :3] @ board.centre_m + known[:, 2, 3]))
    candidates = [
        (tilt, roll, distance * factor) for factor in _DISTANCES for tilt in _TILTS_DEG for roll in _ROLLS_DEG
    ]
    poses = [pose_before(board, far, np.deg2rad(tilt), np.deg2rad(roll)) for tilt, roll, far in candidates]
    views = [exact_view(board, camera, pose) for pose in poses]
    whole = len(board.points_m)
    usable = [index for index, view in enumerate(views) if len(view.pixels) >= _LEAST_SHARE * whole]
    if not usable:
        return []
    X, Y = calibration.X, calibration.Y
    T_camera_board = np.stack([poses[index] for index in usable])
    A = np.asarray(X @ T_camera_board @ inverse(Y))
    seen = observe(camera, [views[index] for index in usable], A, None, T_camera_board)
    if calibration.mounting != EYE_IN_HAND:
        seen = with_errors_in(seen, seen.T_camera_board @ make_transform(None, board.centre_m))
    state = State(X, Y, np.tile(np.eye(4), (len(usable), 1, 1)), np.zeros(0))
    gains = linearise(camera, seen, state, calibration.noise, image_costs(camera, seen, calibration.noise)).information
    information = np.linalg.inv(calibration.covariance[:POSE_SIZE, :POSE_SIZE])
    chosen = []
    for _ in range(count):
        before = _sigma_mm(information, distance)
        after = [_sigma_mm(information + gain, distance) for gain in gains]
        best = int(np.argmin(after))
        tilt, roll, far = candidates[usable[best]]
        gripper = inverse(A[best]) if calibration.mounting == EYE_IN_HAND else A[best]
        chosen.append(NextPose(gripper, (float(tilt[0]), float(tilt[1])), roll, far, (before, after[best])))
        information = np.asarray(information + gains[best], dtype=np.float64)
    return chosen


def _sigma_mm(information: NDArray[Any], distance_m: float) -> float:
    covariance = np.linalg.inv(information)[:6, :6]
    by_twist = np.concatenate([np.eye(3), -hat([0.0, 0.0, distance_m])], axis=1)
    return float(np.sqrt(np.linalg.eigvalsh(by_twist @ covariance @ by_twist.T)[-1]) * 1e3)
