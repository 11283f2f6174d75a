"""BOP's errors against their definitions: written out as in the paper, and what must hold for any pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import cKDTree

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.metrics import bop as bop_errors
from object_pose.core.metrics import pose as metrics
from object_pose.core.metrics.bop import SurfaceErrors, find_instances, symmetry_transforms, vsd_errors
from object_pose.core.object_model import ObjectModel
from raycast import AXIS_Z, BRACKET, CAMERA, PLATE, SHAFT, model_of

HALF_TURN = se3.make_transform(se3.exp_so3(np.pi * AXIS_Z))[None]
FLIP = se3.make_transform(se3.exp_so3([np.pi, 0.0, 0.0]))[None]
OFF_CENTRE = Symmetry(axis=AXIS_Z, offset=np.array([0.01, -0.02, 0.0]))
MODELS = (
    model_of("bracket", BRACKET, count=60),
    model_of("shaft", SHAFT, Symmetry(FLIP, AXIS_Z), count=60),
    model_of("plate", PLATE, Symmetry(HALF_TURN), count=60),
    model_of("crank", BRACKET, OFF_CENTRE, count=60),
)
ERRORS = [SurfaceErrors(model) for model in MODELS]


def spacing(model: ObjectModel) -> float:
    """How far a symmetric twin of the surface sample is from the sample, on average, at worst."""
    twins = se3.apply(symmetry_transforms(model.symmetry), model.points_object)
    return float(cKDTree(model.points_object).query(twins)[0].mean(axis=1).max())


SPACINGS = [spacing(model) for model in MODELS]

poses = st.tuples(
    arrays(np.float64, 3, elements=st.floats(-0.05, 0.05)).map(lambda t: t + np.array([0.0, 0.0, 0.6])),
    arrays(np.float64, 3, elements=st.floats(-1.7, 1.7)),
).map(lambda parts: se3.make_transform(se3.exp_so3(parts[1]), parts[0]))
classes = st.integers(0, len(MODELS) - 1)


@settings(max_examples=25)
@given(poses, classes, st.integers(0, 10_000))
def test_the_truth_and_its_symmetric_twins_have_no_error(T_truth: Array, class_id: int, choice: int) -> None:
    twins = symmetry_transforms(MODELS[class_id].symmetry)
    twin = T_truth @ twins[choice % len(twins)]
    assert ERRORS[class_id].mssd(twin, T_truth) == pytest.approx(0.0, abs=1e-8)
    assert ERRORS[class_id].mspd(twin, T_truth, CAMERA) == pytest.approx(0.0, abs=1e-5)


@settings(max_examples=25)
@given(poses, poses, classes)
def test_mssd_and_mspd_are_the_paper_written_out(T_estimate: Array, T_truth: Array, class_id: int) -> None:
    model = MODELS[class_id]
    distances, pixels = [], []
    for symmetric in symmetry_transforms(model.symmetry):
        true = [(T_truth @ symmetric @ [*point, 1.0])[:3] for point in model.points_object[:8]]
        found = [(T_estimate @ [*point, 1.0])[:3] for point in model.points_object[:8]]
        distances.append(max(np.linalg.norm(a - b) for a, b in zip(found, true)))
        pixels.append(max(np.linalg.norm(CAMERA.project(a) - CAMERA.project(b)) for a, b in zip(found, true)))
    few = replace(model, points_object=model.points_object[:8], normals_object=model.normals_object[:8])
    assert SurfaceErrors(few).mssd(T_estimate, T_truth) == pytest.approx(min(distances))
    assert SurfaceErrors(few).mspd(T_estimate, T_truth, CAMERA) == pytest.approx(min(pixels))


@settings(max_examples=25)
@given(poses, poses, poses, classes)
def test_mssd_is_the_same_seen_from_anywhere_and_never_below_the_mean_distance(
    T_estimate: Array, T_truth: Array, elsewhere: Array, class_id: int
) -> None:
    mssd = ERRORS[class_id].mssd(T_estimate, T_truth)
    assert ERRORS[class_id].mssd(elsewhere @ T_estimate, elsewhere @ T_truth) == pytest.approx(mssd, abs=1e-9)
    assert mssd >= metrics.adds_error(T_estimate, T_truth, MODELS[class_id].points_object) - SPACINGS[class_id] - 1e-12
    if MODELS[class_id].symmetry.is_trivial:
        points = MODELS[class_id].points_object
        assert mssd >= metrics.add_error(T_estimate, T_truth, points, Symmetry()) - 1e-12


@settings(max_examples=15)
@given(poses, st.floats(-np.pi, np.pi))
def test_a_turn_about_the_axis_costs_at_most_half_a_step(T_truth: Array, angle: float) -> None:
    """315 steps: a surface point is never further than 0.01 radii from one of them."""
    model = MODELS[1]
    turned = T_truth @ se3.make_transform(se3.exp_so3(angle * AXIS_Z))
    assert ERRORS[1].mssd(turned, T_truth) <= 0.01 * 0.5 * model.diameter + 1e-12


def test_the_steps_are_the_toolkits() -> None:
    assert len(symmetry_transforms(Symmetry(axis=AXIS_Z))) == 315
    assert len(symmetry_transforms(Symmetry(FLIP, AXIS_Z))) == 630
    np.testing.assert_allclose(bop_errors.THRESHOLDS[[0, -1]], [0.05, 0.5])
    np.testing.assert_allclose(bop_errors.MSPD_THRESHOLDS[[0, -1]], [5.0, 50.0])


distances = arrays(np.float32, (4, 5), elements=st.sampled_from([0.0, 0.5, 0.51, 0.52, 0.6, 0.9]))


@given(distances, distances, distances)
def test_vsd_is_the_paper_written_out(estimate: Array, truth: Array, measured: Array) -> None:
    tolerances = np.array([0.005, 0.015, 0.05])
    expected = []
    for tolerance in tolerances:
        cost, union = 0, 0
        for e, t, m in zip(estimate.ravel(), truth.ravel(), measured.ravel()):
            seen_t = t > 0 and (m == 0 or t - m <= bop_errors.VSD_DELTA_M)
            seen_e = e > 0 and (m == 0 or e - m <= bop_errors.VSD_DELTA_M or seen_t)
            union += seen_t or seen_e
            cost += (seen_t or seen_e) and not (seen_t and seen_e and abs(e - t) < tolerance)
        expected.append(cost / union if union else 1.0)
    found = vsd_errors(estimate, truth, measured, tolerances)
    np.testing.assert_allclose(found, expected)
    assert np.all((found >= 0.0) & (found <= 1.0)) and np.all(np.diff(found) <= 0.0)


@given(distances, distances)
def test_vsd_of_the_truth_is_zero_where_anything_of_it_is_seen(truth: Array, measured: Array) -> None:
    expected = 0.0 if np.any((truth > 0) & ((measured == 0) | (truth - measured <= 0.015))) else 1.0
    np.testing.assert_array_equal(vsd_errors(truth, truth, measured, np.array([0.01])), expected)


def test_ray_lengths_are_distances_from_the_centre() -> None:
    pixel = np.array([300.0, 7.0])
    point = CAMERA.backproject(pixel, np.array(0.8))
    assert 0.8 * bop_errors.ray_lengths(CAMERA)[7, 300] == pytest.approx(np.linalg.norm(point), rel=1e-6)


LIMITS = np.array([0.1, 0.3])


def found(errors: list[list[float]], is_target: list[bool]) -> list[list[bool]]:
    table = np.repeat(np.array(errors, dtype=np.float64).reshape(-1, len(is_target))[..., None], len(LIMITS), axis=2)
    return find_instances(table, LIMITS, np.array(is_target)).tolist()


def test_the_best_score_takes_the_nearest_free_instance() -> None:
    assert found([[0.05, 0.2]], [True, True]) == [[True, True], [False, False]]
    assert found([[0.05, 0.06], [0.04, 0.2]], [True, True]) == [[True, True], [False, True]]


def test_only_as_many_estimates_count_as_there_are_targets() -> None:
    assert found([[0.9], [0.05]], [True]) == [[False, False]]
    assert found([[0.05]], [False]) == [[False, False]]
    assert found([], [True]) == [[False, False]]


def test_an_instance_that_is_no_target_is_not_given_away() -> None:
    assert found([[0.01, 0.2]], [False, True]) == [[False, False], [False, True]]
