"""A Kalman filter of one static pose: translation and rotation as in ``ObjectPose.covariance``, left perturbation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry import se3

Array = NDArray[np.float64]

# Expected squared innovation of six degrees of freedom at 99 %: more than that is motion or an outlier, not noise.
_NIS_LIMIT = 16.8


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
        return float(nis) / _NIS_LIMIT

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
