"""A Kalman filter of one static pose, its covariance as ``ObjectPose.covariance`` is; how a pose moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry import se3

Array = NDArray[np.float64]

# Expected squared innovation of six degrees of freedom at 99 %: more than that is motion or an outlier, not noise.
NIS_LIMIT = 16.8
_LONGEST_STEP_S = 0.25
NEWEST_SHARE = 0.6  # of the velocity between the last two poses


@dataclass(frozen=True)
class PoseState:
    """A pose (4, 4) with the covariance (6, 6) of (dt, dr) in t' = t + dt, R' = exp(dr) R."""

    transform: Array
    covariance: Array

    def moved_to(self, T_new_old: Array) -> PoseState:
        """Return the same state in another frame."""
        turn = np.zeros((6, 6))
        turn[:3, :3] = turn[3:, 3:] = T_new_old[:3, :3]
        return PoseState(T_new_old @ self.transform, turn @ self.covariance @ turn.T)

    def predicted(self, seconds: float, translation_noise: float, rotation_noise: float) -> PoseState:
        """Let time pass: the pose stays, its variance grows by noise^2 (m^2/s, rad^2/s) times ``seconds``."""
        growth = np.repeat([translation_noise**2, rotation_noise**2], 3) * seconds
        return PoseState(self.transform, self.covariance + np.diag(growth))

    def innovation(self, measured: PoseState) -> Array:
        """Return the (6,) difference of a measured pose from this one."""
        turn = se3.log_so3(measured.transform[:3, :3] @ self.transform[:3, :3].T)
        return np.concatenate([measured.transform[:3, 3] - self.transform[:3, 3], turn])

    def nis_ratio(self, measured: PoseState) -> float:
        """Return the NIS ratio of a measurement: 1 or less is noise, more is motion or an outlier."""
        innovation = self.innovation(measured)
        nis = innovation @ np.linalg.solve(self.covariance + measured.covariance, innovation)
        return float(nis) / NIS_LIMIT

    def updated(self, measured: PoseState, follow: bool) -> PoseState:
        """Return the best estimate from this state and a measurement.

        A measurement of a NIS ratio above 1 widens the state where it is to be followed, its own noise otherwise.
        """
        innovation, nis_ratio = self.innovation(measured), max(1.0, self.nis_ratio(measured))
        prior = self.covariance * (nis_ratio**2 if follow else 1.0)
        noise = measured.covariance * (1.0 if follow else nis_ratio**2)
        gain = np.linalg.solve(prior + noise, prior).T
        delta = gain @ innovation
        keep = np.eye(6) - gain
        # Joseph's form stays symmetric and positive whatever the rounding.
        covariance = keep @ prior @ keep.T + gain @ noise @ gain.T
        rotation = se3.exp_so3(delta[3:]) @ self.transform[:3, :3]
        return PoseState(se3.make_transform(rotation, self.transform[:3, 3] + delta[:3]), covariance)


@dataclass(frozen=True)
class Velocity:
    """How a pose moves: ``linear`` (3,) in m/s and ``angular`` (3,) in rad/s, of the object about its own origin."""

    linear: Array
    angular: Array

    @staticmethod
    def zero() -> Velocity:
        """Return the velocity of what stands still."""
        return Velocity(np.zeros(3), np.zeros(3))

    def updated(self, before: Array, after: Array, seconds: float) -> Velocity:
        """Return the velocity smoothed over the last poses (4, 4); zero after a gap, or without time between them."""
        if not 0.0 < seconds < _LONGEST_STEP_S:
            return Velocity.zero()
        linear = (after[:3, 3] - before[:3, 3]) / seconds
        angular = se3.log_so3(after[:3, :3] @ before[:3, :3].T) / seconds
        keep = 1.0 - NEWEST_SHARE
        return Velocity(keep * self.linear + NEWEST_SHARE * linear, keep * self.angular + NEWEST_SHARE * angular)

    def moved(self, transform: Array, seconds: float) -> Array:
        """Return a pose (4, 4) after some time."""
        rotation = se3.exp_so3(seconds * self.angular) @ transform[:3, :3]
        return se3.make_transform(rotation, transform[:3, 3] + seconds * self.linear)
