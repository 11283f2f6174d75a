"""Poses from keypoints: exact on exact data, robust to outliers, and with a calibrated uncertainty."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.pose.pnp import KeypointTargets, PnpSolution, covering_subsets, solve_pnp
from raycast import CAMERA

BOX = np.array(list(itertools.product((-0.04, 0.04), (-0.03, 0.03), (-0.02, 0.02))))
SIGMA_PX = 1.0

rotations = arrays(np.float64, 3, elements=st.floats(-1.7, 1.7)).map(se3.exp_so3)
places = st.tuples(st.floats(-0.1, 0.1), st.floats(-0.08, 0.08), st.floats(0.3, 0.8)).map(np.array)


def targets_of(rotations: Array, places: Array, pixel_errors: Array, sigma_px: float = SIGMA_PX) -> KeypointTargets:
    points = BOX @ np.swapaxes(rotations, 1, 2) + places[:, None]
    pixels = CAMERA.project(points) + pixel_errors
    return KeypointTargets(np.tile(BOX, (len(places), 1, 1)), pixels, np.full(pixels.shape[:2], sigma_px))


def errors_of(solution: PnpSolution, rotations: Array, places: Array) -> Array:
    """(B, 6) the perturbation from the solution to the truth."""
    turns = [se3.log_so3(true @ found.T) for true, found in zip(rotations, solution.rotation)]
    return np.concatenate([places - solution.translation, np.array(turns)], axis=1)


def random_poses(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    turns = rng.normal(size=(count, 3))
    turns *= rng.uniform(0.0, np.pi, (count, 1)) / np.linalg.norm(turns, axis=1, keepdims=True)
    places = rng.uniform((-0.1, -0.08, 0.35), (0.1, 0.08, 0.7), (count, 3))
    return se3.exp_so3(turns), places


@given(rotations, places)
def test_exact_keypoints_give_the_exact_pose(rotation: Array, place: Array) -> None:
    solution = solve_pnp(targets_of(rotation[None], place[None], np.zeros((1, 8, 2))), CAMERA)
    assert solution.solved[0] and solution.inliers.all()
    np.testing.assert_allclose(solution.rotation[0], rotation, atol=1e-6)
    np.testing.assert_allclose(solution.translation[0], place, atol=1e-6)
    assert solution.rms_px[0] < 1e-3


@settings(max_examples=40)
@given(rotations, places, st.permutations(range(8)), st.integers(1, 2))
def test_grossly_wrong_keypoints_change_nothing(rotation: Array, place: Array, order: list[int], outliers: int) -> None:
    errors = np.zeros((1, 8, 2))
    errors[0, order[:outliers]] = [[45.0, -38.0], [-52.0, 33.0]][:outliers]
    solution = solve_pnp(targets_of(rotation[None], place[None], errors), CAMERA)
    assert sorted(np.flatnonzero(~solution.inliers[0])) == sorted(order[:outliers])
    np.testing.assert_allclose(solution.translation[0], place, atol=1e-4)


def test_missing_keypoints_are_done_without() -> None:
    rng = np.random.default_rng(1)
    rotation, place = random_poses(20, rng)
    exact = targets_of(rotation, place, np.zeros((20, 8, 2)))
    sigmas = exact.sigmas.copy()
    sigmas[:, 5:] = np.inf
    solution = solve_pnp(
        KeypointTargets(exact.points_object, np.where(np.isinf(sigmas)[..., None], 0.0, exact.pixels), sigmas), CAMERA
    )
    assert solution.solved.all()
    np.testing.assert_allclose(solution.translation, place, atol=1e-5)


def test_the_covariance_is_that_of_the_errors() -> None:
    rng = np.random.default_rng(2)
    rotation, place = random_poses(600, rng)
    solution = solve_pnp(targets_of(rotation, place, SIGMA_PX * rng.normal(size=(600, 8, 2))), CAMERA)
    error = errors_of(solution, rotation, place)
    nees = np.einsum("bi,bi->b", error, np.linalg.solve(solution.covariance, error[..., None])[..., 0])
    # Six degrees of freedom: 95 % lie below 12.59 and half below 5.35.
    assert 0.92 < np.mean(nees < 12.59) < 0.99
    assert np.median(nees) == pytest.approx(5.35, rel=0.15)


def test_a_fit_worse_than_its_sigmas_says_so() -> None:
    rng = np.random.default_rng(3)
    rotation, place = random_poses(50, rng)
    errors = 2.0 * rng.normal(size=(50, 8, 2))
    calibrated = solve_pnp(targets_of(rotation, place, errors, sigma_px=2.0), CAMERA)
    overconfident = solve_pnp(targets_of(rotation, place, errors, sigma_px=1.0), CAMERA)
    ratio = np.trace(overconfident.covariance, axis1=1, axis2=2) / np.trace(calibrated.covariance, axis1=1, axis2=2)
    assert np.median(ratio) > 0.4  # the sigmas alone would make it 0.25


def test_too_few_keypoints_are_no_pose() -> None:
    targets = targets_of(np.eye(3)[None], np.array([[0.0, 0.0, 0.5]]), np.zeros((1, 8, 2)))
    sigmas = np.where(np.arange(8) < 3, 1.0, np.inf)[None]
    assert not solve_pnp(KeypointTargets(targets.points_object, targets.pixels, sigmas), CAMERA).solved[0]


@pytest.mark.parametrize("count", [6, 8, 9, 16])
def test_some_subset_avoids_any_few_outliers(count: int) -> None:
    outliers = min(3, count - 4)
    subsets = covering_subsets(count)
    assert all(len(set(subset)) == 4 for subset in subsets)
    for wrong in itertools.combinations(range(count), outliers):
        assert any(not set(subset) & set(wrong) for subset in subsets)
    assert count != 8 or len(subsets) == 14
