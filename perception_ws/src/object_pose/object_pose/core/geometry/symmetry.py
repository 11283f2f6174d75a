"""Symmetries of an object: which poses look the same, and which of them we mean.

The group is BOP's: a finite set of transforms and at most one axis of revolution. As there, a part counts as
symmetric when the transform moves its surface by less than a tenth of its diameter, so a gear is a body of revolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3

# Upright and seen from the front: object x to image right, object z to image up.
_REFERENCE_ROTATION = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_CONTINUOUS_STEPS = 64
_MOST_TRANSFORMS = 128
_SAME_TURN_SHARE = 1.0 / 3.0


@dataclass(frozen=True)
class Symmetry:
    """``discrete`` is (S, 4, 4) in the object frame, without the identity; ``axis`` a unit (3,) or None.

    A continuous symmetry turns about the line through ``offset`` (metres) along ``axis``.
    """

    discrete: Array = field(default_factory=lambda: np.zeros((0, 4, 4)))
    axis: Array | None = None
    offset: Array = field(default_factory=lambda: np.zeros(3))

    @cached_property
    def transforms(self) -> Array:
        """All symmetric transforms (M, 4, 4), identity first; a continuous one sampled in 64 steps."""
        discrete = np.concatenate([np.eye(4)[None], self.discrete])
        if self.axis is None:
            return discrete
        angles = np.arange(_CONTINUOUS_STEPS) * (2.0 * np.pi / _CONTINUOUS_STEPS)
        turns = np.stack([self._turn(angle) for angle in angles])
        return np.asarray(turns[:, None] @ discrete[None]).reshape(-1, 4, 4)

    @property
    def is_trivial(self) -> bool:
        """Whether only the identity maps the object onto itself."""
        return self.axis is None and len(self.discrete) == 0

    def canonical(self, T_camera_object: Array) -> Array:
        """Return the symmetric equivalent nearest to standing upright and facing the camera.

        Every image then has one answer; the seam lies where the axis points at the image's bottom, rare on tables.
        """
        return self._nearest(T_camera_object, _REFERENCE_ROTATION)

    def closest(self, T_camera_object: Array, T_reference: Array) -> Array:
        """Return the symmetric equivalent of ``T_camera_object`` whose rotation is nearest to the reference's."""
        return self._nearest(T_camera_object, T_reference[:3, :3])

    def _nearest(self, transform: Array, rotation_reference: Array) -> Array:
        best, best_trace = transform, -np.inf
        for symmetric in np.concatenate([np.eye(4)[None], self.discrete]):
            candidate = transform @ symmetric
            if self.axis is not None:
                candidate = candidate @ self._turn(_best_turn(rotation_reference.T @ candidate[:3, :3], self.axis))
            trace = float(np.sum(rotation_reference * candidate[:3, :3]))
            if trace > best_trace + 1e-12:
                best, best_trace = candidate, trace
        return np.asarray(best)

    def _turn(self, angle: float) -> Array:
        assert self.axis is not None
        return turn_about(self.axis, angle, self.offset)


def turn_about(axis: Array, angle: float, point: Array) -> Array:
    """Return the (4, 4) turn by ``angle`` about the line through ``point`` (3,) along ``axis`` (unit)."""
    rotation = se3.exp_so3(axis * angle)
    return se3.make_transform(rotation, point - rotation @ point)


def group_of(generators: Sequence[Array]) -> Array:
    """Return every transform (S, 4, 4) that repeating ``generators`` makes, without the identity.

    Turns that differ by a third of the smallest generator's angle are one: measured axes are never exact. Where the
    generators do not close into a group, the first alone counts.
    """
    same = _SAME_TURN_SHARE * min((se3.rotation_angle(np.eye(3), item[:3, :3]) for item in generators), default=0.0)
    group, waiting = [np.eye(4)], list(generators)
    while waiting:
        candidate = waiting.pop()
        if all(se3.rotation_angle(candidate[:3, :3], known[:3, :3]) > same for known in group):
            group.append(candidate)
            waiting += [candidate @ known for known in group] + [known @ candidate for known in group]
        if len(group) > _MOST_TRANSFORMS:
            return group_of(generators[:1])
    return np.array(group[1:]).reshape(-1, 4, 4)


def _best_turn(rotation: Array, axis: Array) -> float:
    """Angle about ``axis`` that maximises trace(rotation @ turn): a sinusoid in the angle."""
    skew = se3.hat(axis)
    sine = float(np.trace(rotation @ skew))
    cosine = float(np.trace(rotation @ -(skew @ skew)))
    return float(np.arctan2(sine, cosine))
