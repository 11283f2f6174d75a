"""Uncertainty: what cannot be measured is reported as unknown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.pose import confidence
from object_pose.core.pose.depth_evidence import Evidence

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


shares = st.floats(0.0, 1.0)


def evidence_of(confirmed: float, violated: float, occluded: float, closeness: float) -> Evidence:
    """Return evidence of one pose, the rest of whose surface lies in holes."""
    total = max(confirmed + violated + occluded, 1.0)
    confirmed, violated, occluded = confirmed / total, violated / total, occluded / total
    holes, nothing = 1.0 - confirmed - violated - occluded, np.zeros(1)
    of_surface = (np.array([share]) for share in (confirmed, violated, occluded, holes, closeness * confirmed))
    return Evidence(*of_surface, nothing, np.array([confirmed]), nothing, nothing)


def log_odds(evidence: Evidence, cost: float = 0.5, spread: float = 0.2, detection: float = 0.9) -> float:
    given = np.array([detection]), evidence, np.array([cost]), np.array([spread])
    return float(confidence.log_odds_with_depth(*given)[0])


@given(shares, shares, shares)
def test_what_is_seen_through_is_less_likely_than_what_is_hidden(
    confirmed: float, rest: float, closeness: float
) -> None:
    hidden, seen_through = (
        evidence_of(confirmed, violated, occluded, closeness) for violated, occluded in ((0.0, rest), (rest, 0.0))
    )
    assert log_odds(seen_through) <= log_odds(hidden) + 1e-9


@given(st.floats(0.1, 1.0), shares, shares)
def test_the_closer_the_surface_the_likelier_the_pose(confirmed: float, first: float, second: float) -> None:
    near, far = max(first, second), min(first, second)
    assert log_odds(evidence_of(confirmed, 0.0, 0.0, near)) >= log_odds(evidence_of(confirmed, 0.0, 0.0, far))


@pytest.mark.parametrize("confirmed", [0.0, 0.01, 0.02])
@pytest.mark.parametrize("detection", [0.3, 0.9, 0.95])
def test_a_few_points_of_a_hidden_surface_do_not_make_a_pose_likely(confirmed: float, detection: float) -> None:
    evidence = evidence_of(confirmed, 0.0, 1.0 - confirmed, 0.8)
    assert log_odds(evidence, cost=0.0, spread=0.01, detection=detection) < 0.0


@given(st.floats(confidence._MOST_KEYPOINT_COST, 9.0))
def test_keypoints_that_are_all_off_say_no_more_the_farther_they_are(cost: float) -> None:
    evidence = evidence_of(1.0, 0.0, 0.0, 0.9)
    assert log_odds(evidence, cost=cost) == log_odds(evidence, cost=confidence._MOST_KEYPOINT_COST)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), shares, shares)
def test_contours_are_weighed_with_depth(before: float, other: float, agreement: float, less: float) -> None:
    agreement, less = max(agreement, less), min(agreement, less)
    before, other = max(before, other), min(before, other)
    assert confidence.log_odds_with_contour(before, agreement) >= confidence.log_odds_with_contour(before, less)
    assert confidence.log_odds_with_contour(before, agreement) >= confidence.log_odds_with_contour(other, agreement)
    # None of it there is evidence against, all of it for a pose that depth leaves open.
    assert confidence.log_odds_with_contour(before, 0.0) < confidence.log_odds_of(np.array(before)) + 0.1
    assert confidence.log_odds_with_contour(0.5, 0.0) < 0.0 < confidence.log_odds_with_contour(0.5, 1.0)
