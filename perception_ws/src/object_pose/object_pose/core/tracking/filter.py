"""A Kalman filter of one static pose, its covariance as ``ObjectPose.covariance`` is; how a pose moves.

Errors that all measurements have in common do not average out. That of the depth sensor's scale is carried along beside
what averages: as a direction, which turns where the camera moves (a consider state, Schmidt 1966). It does not choose
the gains: they would trust the camera's motion to tell the scale, and so its errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry import se3

Array = NDArray[np.float64]

# Expected squared innovation of six degrees of freedom at 99 %: more than that is motion or an outlier, not noise.
NIS_LIMIT = 16.8
# The scale explains at most this share of a measured variance: the rest is the measurement's own.
_MOST_EXPLAINED = 0.98
_LONGEST_STEP_S = 0.25
NEWEST_SHARE = 0.6  # of the velocity between the last two poses


@dataclass(frozen=True)
class PoseState:
    """A pose (4, 4) with the covariance (6, 6) of (dt, dr) in t' = t + dt, R' = exp(dr) R, by which it is weighed.

    ``independent`` (6, 6) is of the errors that differ from measurement to measurement, ``common`` (6,) the error that
    the depth scale makes at one standard deviation of its own.
    """

    transform: Array
    covariance: Array
    independent: Array
    common: Array

    @staticmethod
    def measured(transform: Array, covariance: Array, scale_sigma: float = 0.0) -> PoseState:
        """Return a measurement in the camera's frame, whose depths all err by a share of ``scale_sigma``."""
        common = np.concatenate([scale_sigma * transform[:3, 3], np.zeros(3)])
        if scale_sigma > 0.0:
            explained = float(common @ np.linalg.solve(covariance, common))
            common *= np.sqrt(_MOST_EXPLAINED / max(explained, _MOST_EXPLAINED))
        return PoseState(transform, covariance, covariance - np.outer(common, common), common)

    def at(self, transform: Array) -> PoseState:
        """Return the same state with another pose."""
        return replace(self, transform=transform)

    def moved_to(self, T_new_old: Array) -> PoseState:
        """Return the same state in another frame."""
        turn = np.zeros((6, 6))
        turn[:3, :3] = turn[3:, 3:] = T_new_old[:3, :3]
        covariance, independent = (turn @ item @ turn.T for item in (self.covariance, self.independent))
        return PoseState(T_new_old @ self.transform, covariance, independent, turn @ self.common)

    def predicted(self, seconds: float, translation_noise: float, rotation_noise: float) -> PoseState:
        """Let time pass: the pose stays, its variance grows by noise^2 (m^2/s, rad^2/s) times ``seconds``."""
        growth = np.diag(np.repeat([translation_noise**2, rotation_noise**2], 3) * seconds)
        return replace(self, covariance=self.covariance + growth, independent=self.independent + growth)

    def reported_covariance(self, latest: PoseState, repeated_share: float) -> Array:
        """Return the covariance (6, 6) of the pose, whose ``latest`` measurement has errors that repeat themselves."""
        return self.independent + np.outer(self.common, self.common) + repeated_share * latest.independent

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
        widened, noise = (nis_ratio**2, 1.0) if follow else (1.0, nis_ratio**2)
        prior = self.covariance * widened
        gain = np.linalg.solve(prior + measured.covariance * noise, prior).T
        delta = gain @ innovation
        keep = np.eye(6) - gain

        def joined(state: Array, measurement: Array) -> Array:
            # Joseph's form stays symmetric and positive whatever the rounding, and holds for any gain.
            return keep @ (state * widened) @ keep.T + gain @ (measurement * noise) @ gain.T

        rotation = se3.exp_so3(delta[3:]) @ self.transform[:3, :3]
        return PoseState(
            se3.make_transform(rotation, self.transform[:3, 3] + delta[:3]),
            joined(self.covariance, measured.covariance),
            joined(self.independent, measured.independent),
            keep @ self.common + gain @ measured.common,
        )


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
