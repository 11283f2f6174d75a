"""Uncertainty: what cannot be measured is reported as unknown."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.pose import confidence

Z = np.array([0.0, 0.0, 1.0])
rotations = arrays(np.float64, 3, elements=st.floats(-1.7, 1.7)).map(se3.exp_so3)
offsets = arrays(np.float64, 3, elements=st.floats(-0.05, 0.05))
factors = arrays(np.float64, (6, 6), elements=st.floats(-1.0, 1.0))


def covariance_of(factor: Array) -> Array:
    scale = np.diag([1e-3] * 3 + [2e-2] * 3)
    return scale @ (factor @ factor.T + np.eye(6)) @ scale


@given(rotations, offsets, factors)
def test_the_turn_about_an_axis_of_revolution_is_unknown(rotation: Array, offset: Array, factor: Array) -> None:
    covariance = confidence.free_symmetry(covariance_of(factor), rotation, Symmetry(axis=Z, offset=offset))
    axis = np.concatenate([np.zeros(3), rotation @ Z])
    assert abs(axis @ covariance @ axis - np.pi**2 / 3.0) < 1e-9
    assert np.all(np.linalg.eigvalsh(covariance) > -1e-12)


@given(rotations, offsets, factors)
def test_a_point_on_the_axis_stays_as_certain_as_it_was(rotation: Array, offset: Array, factor: Array) -> None:
    before = covariance_of(factor)
    after = confidence.free_symmetry(before, rotation, Symmetry(axis=Z, offset=offset))
    # How a point that turns with the object moves: dt + dr x (R p); on the axis the free turn does not move it.
    arm = rotation @ offset
    to_point = np.hstack([np.eye(3), -se3.hat(arm)])
    free_turn = np.concatenate([-np.cross(rotation @ Z, arm), rotation @ Z])
    np.testing.assert_allclose(to_point @ free_turn, 0.0, atol=1e-12)
    keep = np.eye(6) - np.outer(free_turn, np.concatenate([np.zeros(3), rotation @ Z]))
    np.testing.assert_allclose(
        to_point @ after @ to_point.T, to_point @ keep @ before @ keep.T @ to_point.T, atol=1e-12
    )


@given(rotations, factors)
def test_without_an_axis_nothing_is_freed(rotation: Array, factor: Array) -> None:
    before = covariance_of(factor)
    np.testing.assert_array_equal(confidence.free_symmetry(before, rotation, Symmetry()), before)


def test_directions_without_information_are_very_uncertain_and_the_rest_is_not() -> None:
    covariance = confidence.from_information(np.diag([1e6, 1e6, 0.0, 1e4, 1e4, 1e4]), inlier_fit=1.0)
    assert covariance[2, 2] > 1e3
    np.testing.assert_allclose(np.diag(covariance)[[0, 3]], [1e-6, 1e-4], rtol=1e-3)


def test_a_poor_fit_widens_the_covariance() -> None:
    information = np.eye(6) * 1e6
    tight = confidence.from_information(information, inlier_fit=1.0)
    loose = confidence.from_information(information, inlier_fit=0.5)
    np.testing.assert_allclose(loose, 4.0 * tight)


def test_a_scale_error_of_depth_widens_along_the_ray_only() -> None:
    place = np.array([0.0, 0.0, 0.8])
    none = confidence.add_systematic(np.zeros((6, 6)), place, 0.0)
    some = confidence.add_systematic(np.zeros((6, 6)), place, 0.01)
    np.testing.assert_allclose(some - none, np.diag([0.0, 0.0, 0.008**2, 0.0, 0.0, 0.0]), atol=1e-15)
