"""How uncertain a pose is: from the information of its measurements to a covariance that admits what it cannot know."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry.symmetry import Symmetry

Array = NDArray[np.float64]

# Variance of an angle that may be anything: uniform over a full turn.
FREE_ANGLE_VARIANCE = np.pi**2 / 3.0
_MIN_INFORMATION = 1e-6
_MIN_CLOSENESS = 0.1
_SYSTEMATIC_M = 0.001


def from_information(information: Array, inlier_fit: float) -> Array:
    """Return the covariance (6, 6) of an information matrix; directions without any become very uncertain.

    ``inlier_fit`` in [0, 1] is how well the measurements fit: the less, the less their own sigmas can be believed.
    """
    covariance = np.linalg.inv(information + np.eye(6) * _MIN_INFORMATION)
    return np.asarray(0.5 * (covariance + covariance.T) / max(inlier_fit, _MIN_CLOSENESS) ** 2)


def add_systematic(covariance: Array, translation: Array, scale_sigma: float) -> Array:
    """Add the errors that more points do not average out: of the model and, along the ray, of the depth's scale."""
    result = covariance.copy()
    result[:3, :3] += scale_sigma**2 * np.outer(translation, translation) + _SYSTEMATIC_M**2 * np.eye(3)
    return result


def free_symmetry(covariance: Array, rotation: Array, symmetry: Symmetry) -> Array:
    """Make the turn about an axis of revolution unconstrained; nothing can be measured about it.

    What the keypoints said about that turn is removed, coupling included, and a uniform angle is put in its place.
    """
    if symmetry.axis is None:
        return covariance
    axis = rotation @ symmetry.axis
    # A turn about a line beside the object's origin moves the origin, too.
    direction = np.concatenate([-np.cross(axis, rotation @ symmetry.offset), axis])
    about_axis = np.concatenate([np.zeros(3), axis])
    keep = np.eye(6) - np.outer(direction, about_axis)
    return np.asarray(keep @ covariance @ keep.T + FREE_ANGLE_VARIANCE * np.outer(direction, direction))
