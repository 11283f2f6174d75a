"""A Kalman filter of one static pose, its covariance as ``ObjectPose.covariance`` is; how a pose moves.

Errors that all measurements have in common do not average out. That of the depth sensor's scale is carried along beside
what averages: as a direction, which turns where the camera moves (a consider state, Schmidt 1966). It does not choose
the gains: they would trust the camera's motion to tell the scale, and so its errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.linear import (
    factorise,
    rotation_of,
    squared_distance,
    substitute_backward,
    substitute_forward,
    turn_between,
)
from object_pose.core.kernels import for_kernels, kernel

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
        transform, covariance = for_kernels(transform, np.float64), for_kernels(covariance, np.float64)
        common = np.zeros(6)
        if scale_sigma <= 0.0:
            return PoseState(transform, covariance, covariance, common)
        common[:3] = scale_sigma * transform[:3, 3]
        common *= np.sqrt(_MOST_EXPLAINED / max(squared_distance(covariance, common), _MOST_EXPLAINED))
        return PoseState(transform, covariance, covariance - np.outer(common, common), common)

    def at(self, transform: Array) -> PoseState:
        """Return the same state with another pose."""
        return PoseState(transform, self.covariance, self.independent, self.common)

    def moved_to(self, T_new_old: Array | None) -> PoseState:
        """Return the same state in another frame; None is the same frame."""
        if T_new_old is None:
            return self
        turn = np.zeros((6, 6))
        turn[:3, :3] = turn[3:, 3:] = T_new_old[:3, :3]
        covariance, independent = (turn @ item @ turn.T for item in (self.covariance, self.independent))
        return PoseState(T_new_old @ self.transform, covariance, independent, turn @ self.common)

    def predicted(self, seconds: float, translation_noise: float, rotation_noise: float) -> PoseState:
        """Let time pass: the pose stays, its variance grows by noise^2 (m^2/s, rad^2/s) times ``seconds``."""
        growth = np.zeros((6, 6))
        growth.flat[:18:7], growth.flat[21::7] = translation_noise**2 * seconds, rotation_noise**2 * seconds
        return PoseState(self.transform, self.covariance + growth, self.independent + growth, self.common)

    def reported_covariance(self, latest: PoseState, repeated_share: float) -> Array:
        """Return the covariance (6, 6) of the pose, whose ``latest`` measurement has errors that repeat themselves."""
        return self.independent + np.outer(self.common, self.common) + repeated_share * latest.independent

    def innovation(self, measured: PoseState) -> Array:
        """Return the (6,) difference of a measured pose from this one."""
        innovation = np.empty(6)
        _innovation(self.transform, measured.transform, innovation)
        return innovation

    def nis_ratio(self, measured: PoseState) -> float:
        """Return the NIS ratio of a measurement: 1 or less is noise, more is motion or an outlier."""
        covariance = self.covariance + measured.covariance
        return float(squared_distance(covariance, self.innovation(measured))) / NIS_LIMIT

    def updated(self, measured: PoseState, follow: bool) -> PoseState:
        """Return the best estimate from this state and a measurement.

        A measurement of a NIS ratio above 1 widens the state where it is to be followed, its own noise otherwise.
        """
        new = PoseState(np.eye(4), np.empty((6, 6)), np.empty((6, 6)), np.empty(6))
        _update(
            self.transform,
            self.covariance,
            self.independent,
            self.common,
            measured.transform,
            measured.covariance,
            measured.independent,
            measured.common,
            follow,
            new.transform,
            new.covariance,
            new.independent,
            new.common,
        )
        return new


@kernel
def _innovation(before: Array, after: Array, innovation: Array) -> None:
    """Write the perturbation (6,) that leads from one pose (4, 4) to another."""
    for row in range(3):
        innovation[row] = after[row, 3] - before[row, 3]
    turn_between(before, after, innovation)


@kernel
def _update(
    transform: Array,
    covariance: Array,
    independent: Array,
    common: Array,
    measured_transform: Array,
    measured_covariance: Array,
    measured_independent: Array,
    measured_common: Array,
    follow: bool,
    new_transform: Array,
    new_covariance: Array,
    new_independent: Array,
    new_common: Array,
) -> None:
    """Write the state that a measurement makes of another one."""
    innovation, turn, keep = np.empty(6), np.empty((3, 3)), np.eye(6)
    _innovation(transform, measured_transform, innovation)
    nis_ratio = max(1.0, squared_distance(covariance + measured_covariance, innovation) / NIS_LIMIT)
    widened, noise = (nis_ratio * nis_ratio, 1.0) if follow else (1.0, nis_ratio * nis_ratio)
    factor = covariance * widened + measured_covariance * noise
    factorise(factor)
    gain = covariance * widened  # row by row times the inverse of the sum, as both are symmetric
    for row in range(6):
        substitute_forward(factor, gain[row])
        substitute_backward(factor, gain[row])
    keep -= gain
    delta = gain @ innovation
    rotation_of(delta[3], delta[4], delta[5], turn)
    for row in range(3):
        new_transform[row, 3] = transform[row, 3] + delta[row]
        for column in range(3):
            new_transform[row, column] = 0.0
            for k in range(3):
                new_transform[row, column] += turn[row, k] * transform[k, column]
    # Joseph's form stays symmetric and positive whatever the rounding, and holds for any gain.
    new_covariance[:] = keep @ (covariance * widened) @ keep.T + gain @ (measured_covariance * noise) @ gain.T
    new_independent[:] = keep @ (independent * widened) @ keep.T + gain @ (measured_independent * noise) @ gain.T
    new_common[:] = keep @ common + gain @ measured_common


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
        newest, keep = np.empty(6), 1.0 - NEWEST_SHARE
        _innovation(before, after, newest)
        newest *= NEWEST_SHARE / seconds
        return Velocity(keep * self.linear + newest[:3], keep * self.angular + newest[3:])

    def moved(self, transform: Array, seconds: float) -> Array:
        """Return a pose (4, 4) after some time."""
        rotation = se3.exp_so3(seconds * self.angular) @ transform[:3, :3]
        return se3.make_transform(rotation, transform[:3, 3] + seconds * self.linear)
