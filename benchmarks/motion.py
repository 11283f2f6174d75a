"""How objects move: a constant velocity with white acceleration, whose strength is measured while they are tracked.

Poses and velocities of N objects are one Kalman filter each (Bar-Shalom, Li, Kirubarajan, "Estimation with applications
to tracking and navigation", 2001, section 6.2). What it predicts is the prior of the next alignment, whose result is
then the posterior, so that no measurement is used twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3

# Unknown velocities: standard deviations in m/s and rad/s.
_FIRST_SPEED, _FIRST_TURN = 0.25, 0.8
# Density of the white acceleration, of translation in m^2/s^3 and rotation in rad^2/s^3: at first, at least, at most.
_DENSITY = np.array([0.03, 1.0])
_LEAST_DENSITY, _MOST_DENSITY = np.array([3e-5, 1e-3]), np.array([10.0, 300.0])
# How fast the measured density follows surprises up and down, as powers of their size.
_UP, _DOWN = 0.5, 0.1
_MOST_SURPRISE = 30.0
_COASTING = 0.8  # of its velocity, that an object keeps for each frame in which it is not tracked
_LEAST_VARIANCE = 1e-14
_TRANSLATION, _ROTATION = slice(0, 3), slice(3, 6)


@dataclass(frozen=True)
class Motion:
    """N moving objects: ``poses`` (N, 4, 4), ``velocities`` (N, 6) of a left perturbation, a second.

    ``covariances`` (N, 12, 12) are of (pose, velocity); ``densities`` (N, 2) of the accelerations of translation and
    rotation. The frame is that of the poses: the camera's, or a fixed one.
    """

    poses: Array
    velocities: Array
    covariances: Array
    densities: Array

    @classmethod
    def starting(cls, poses: Array, covariances: Array) -> Motion:
        """Return objects at ``poses`` (N, 4, 4), known to ``covariances`` (N, 6, 6), of unknown velocity."""
        count = len(poses)
        joint = np.zeros((count, 12, 12))
        joint[:, :6, :6] = covariances
        joint[:, 6:, 6:] = np.diag(np.repeat([_FIRST_SPEED**2, _FIRST_TURN**2], 3))
        return cls(poses, np.zeros((count, 6)), joint, np.tile(_DENSITY, (count, 1)))

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def information(self) -> Array:
        """The information (N, 6, 6) of the poses alone."""
        return np.asarray(np.linalg.inv(self.covariances[:, :6, :6]))

    def take(self, index: NDArray[np.generic]) -> Motion:
        """Return the objects that ``index`` picks."""
        return Motion(self.poses[index], self.velocities[index], self.covariances[index], self.densities[index])

    @staticmethod
    def join(first: Motion, second: Motion) -> Motion:
        """Return the objects of both."""
        pairs = (
            (first.poses, second.poses),
            (first.velocities, second.velocities),
            (first.covariances, second.covariances),
            (first.densities, second.densities),
        )
        return Motion(*(np.concatenate(pair) for pair in pairs))

    def predicted(self, seconds: float) -> Motion:
        """Return where the objects are expected ``seconds`` later."""
        poses = self.poses.copy()
        poses[:, :3, 3] += seconds * self.velocities[:, _TRANSLATION]
        poses[:, :3, :3] = se3.exp_so3(seconds * self.velocities[:, _ROTATION]) @ poses[:, :3, :3]
        flow = np.eye(12)
        flow[:6, 6:] = seconds * np.eye(6)
        density = np.repeat(self.densities, 3, axis=1)[:, :, None] * np.eye(6)
        noise = np.zeros_like(self.covariances)
        noise[:, :6, :6] = density * (seconds**3 / 3.0)
        noise[:, :6, 6:] = noise[:, 6:, :6] = density * (seconds**2 / 2.0)
        noise[:, 6:, 6:] = density * seconds
        return Motion(poses, self.velocities, flow @ self.covariances @ flow.T + noise, self.densities)

    def aligned(self, poses: Array, covariances: Array, is_tracked: NDArray[np.bool_]) -> Motion:
        """Return the objects after an alignment with this prediction as its prior.

        ``poses`` (N, 4, 4) and ``covariances`` (N, 6, 6) are its result, the prior included; objects that were not
        tracked stay as predicted, and slow down.
        """
        prior = self.covariances[:, :6, :6]
        offset = np.zeros((len(self), 6))
        offset[:, _TRANSLATION] = poses[:, :3, 3] - self.poses[:, :3, 3]
        turns = poses[:, :3, :3] @ np.swapaxes(self.poses[:, :3, :3], 1, 2)
        offset[:, _ROTATION] = np.array([se3.log_so3(turn) for turn in turns]).reshape(-1, 3)
        # The velocity follows the pose as far as the two are correlated.
        gain = np.swapaxes(np.linalg.solve(prior, self.covariances[:, :6, 6:]), 1, 2)
        joint = self.covariances.copy()
        change = prior - covariances
        joint[:, :6, :6] = covariances
        joint[:, 6:, :6] = gain @ covariances
        joint[:, :6, 6:] = np.swapaxes(joint[:, 6:, :6], 1, 2)
        joint[:, 6:, 6:] -= gain @ change @ np.swapaxes(gain, 1, 2)
        velocities = self.velocities + np.einsum("nij,nj->ni", gain, offset)
        densities = self._measured_densities(offset, np.diagonal(change, axis1=1, axis2=2))
        keep = ~is_tracked
        return Motion(
            np.where(keep[:, None, None], self.poses, poses),
            np.where(keep[:, None], _COASTING * self.velocities, velocities),
            np.where(keep[:, None, None], self.covariances, joint),
            np.where(keep[:, None], self.densities, densities),
        )

    def _measured_densities(self, offset: Array, expected_variance: Array) -> Array:
        """Return the densities that explain how far poses were from their prediction: ``offset`` (N, 6)."""
        squares = np.stack([np.sum(offset[:, part] ** 2, axis=1) for part in (_TRANSLATION, _ROTATION)], axis=1)
        expected = np.stack([expected_variance[:, part].sum(axis=1) for part in (_TRANSLATION, _ROTATION)], axis=1)
        surprise = np.clip(squares / np.maximum(expected, _LEAST_VARIANCE), 1.0 / _MOST_SURPRISE, _MOST_SURPRISE)
        followed = self.densities * surprise ** np.where(surprise > 1.0, _UP, _DOWN)
        return np.asarray(np.clip(followed, _LEAST_DENSITY, _MOST_DENSITY))
