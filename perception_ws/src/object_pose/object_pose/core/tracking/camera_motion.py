"""How a camera moves of which nothing else is known, by the objects it sees: most of them stand still."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from object_pose.core.arrays import Array, Mask
from object_pose.core.geometry import se3

_ROUNDS = 6
_SCALE_M = 0.002  # beyond which an object is thought to move itself
_ARM_SHARE = 0.25  # of an object's diameter: its turn counts as the shift of points so far from its origin
_ARM_WEIGHT = 0.1
_SETTLED = 1e-5  # change of the motion, in metres and radians, that another round would hardly add to


def common_motion(
    before: Sequence[Array], after: Sequence[Array], diameters: Sequence[float], expected: Array
) -> tuple[Array, Mask]:
    """Return the rigid motion (4, 4) that most of N objects share, and which of them do (N,).

    ``before`` and ``after`` are their poses (4, 4), ``expected`` is the motion to begin with.
    """
    arms = np.concatenate([np.zeros((1, 3)), np.eye(3)]) * _ARM_SHARE
    points = np.asarray(diameters)[:, None, None] * arms
    source, target = (
        points @ np.swapaxes(poses[:, :3, :3], 1, 2) + poses[:, None, :3, 3]
        for poses in (np.stack(before), np.stack(after))
    )
    importance = np.array([1.0, _ARM_WEIGHT, _ARM_WEIGHT, _ARM_WEIGHT])
    motion = expected
    for _ in range(_ROUNDS):
        distance = np.linalg.norm(se3.apply(motion, source[:, 0]) - target[:, 0], axis=1)
        # Half of the objects at least move together: their distance is the scale while the motion is not known well.
        scale = max(_SCALE_M, float(np.median(distance)))
        weights = (1.0 / (1.0 + (distance / scale) ** 2))[:, None] * importance
        last, motion = motion, _fitted(source.reshape(-1, 3), target.reshape(-1, 3), weights.ravel())
        if np.abs(motion - last).max() < _SETTLED:
            break
    distance = np.linalg.norm(se3.apply(motion, source[:, 0]) - target[:, 0], axis=1)
    return motion, distance < 2.0 * _SCALE_M


def _fitted(source: Array, target: Array, weights: Array) -> Array:
    """Return the rigid motion (4, 4) that leads points (M, 3) to others with the least weighted squares (Kabsch)."""
    weights = weights / weights.sum()
    middle, there = weights @ source, weights @ target
    rotation = se3.nearest_rotation((target - there).T @ (weights[:, None] * (source - middle)))
    return se3.make_transform(rotation, there - rotation @ middle)
