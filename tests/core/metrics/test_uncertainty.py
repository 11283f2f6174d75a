"""Calibration measures: right by definition for what they are given, blind to what symmetry hides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.metrics import uncertainty as calibration
from object_pose.core.metrics.pose import PoseMatch
from object_pose.core.pose import confidence
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from raycast import AXIS_Z

ROUND = Symmetry(axis=AXIS_Z)
NONE = Symmetry()


def random_covariance(rng: np.random.Generator) -> Array:
    factor = rng.normal(size=(6, 6)) * ([[0.002]] * 3 + [[0.02]] * 3)
    return np.asarray(factor @ factor.T + np.diag([1e-7] * 3 + [1e-5] * 3))


def matches(symmetry: Symmetry, count: int, overconfident: float = 1.0) -> list[PoseMatch]:
    """Poses whose errors are drawn from covariances, of which they report a part."""
    rng = np.random.default_rng(3)
    result = []
    for _ in range(count):
        T_estimate = se3.make_transform(se3.exp_so3(rng.normal(size=3)), rng.normal((0.0, 0.0, 0.6), 0.1))
        covariance = random_covariance(rng)
        error = rng.multivariate_normal(np.zeros(6), covariance)
        T_truth = se3.make_transform(se3.exp_so3(error[3:]) @ T_estimate[:3, :3], T_estimate[:3, 3] + error[:3])
        if symmetry.axis is not None:
            T_truth = T_truth @ se3.make_transform(se3.exp_so3(rng.uniform(-3, 3) * AXIS_Z))
            covariance = confidence.free_symmetry(covariance, T_estimate[:3, :3], symmetry)
        pose = ObjectPose(
            0, "part", 0.9, T_estimate, covariance / overconfident, np.zeros(3), np.ones(3), np.zeros(4),
            1.0, 0.001, 0.9, True,
        )  # fmt: skip
        result.append(PoseMatch(pose, ObjectTruth(0, "part", T_truth, 0.9, np.zeros(4)), 0.0, 0.0, 0.0))
    return result


@pytest.mark.parametrize("symmetry", [NONE, ROUND])
def test_errors_drawn_from_the_covariance_are_within_its_bound_95_times_in_100(symmetry):
    score = calibration.score_covariances(matches(symmetry, 1500), [symmetry])
    assert score.poses == 1500
    assert score.translation_within_95 == pytest.approx(0.95, abs=0.02)
    assert score.rotation_within_95 == pytest.approx(0.95, abs=0.03)


def test_an_overconfident_covariance_is_found_out_however_sharp_it_is():
    calibrated = calibration.score_covariances(matches(NONE, 400), [NONE])
    overconfident = calibration.score_covariances(matches(NONE, 400, overconfident=25.0), [NONE])
    assert overconfident.translation_within_95 < 0.5 and overconfident.rotation_within_95 < 0.5
    assert overconfident.translation_sigma_mm_p50 == pytest.approx(calibrated.translation_sigma_mm_p50 / 5.0)


def test_a_turn_about_the_axis_is_no_error_and_has_no_freedom():
    T_estimate = se3.make_transform(se3.exp_so3([0.3, -0.8, 0.1]), [0.0, 0.0, 0.6])
    turned = T_estimate @ se3.make_transform(se3.exp_so3(2.0 * AXIS_Z))
    covariance = np.diag([1e-6] * 3 + [1e-4] * 3)
    rotation = calibration.rotation_nees(T_estimate, turned, covariance, ROUND)
    assert (rotation.freedom, rotation.is_within_95) == (2, True)
    assert rotation.squared == pytest.approx(0.0, abs=1e-12)
    assert not calibration.rotation_nees(T_estimate, turned, covariance, NONE).is_within_95


@given(st.floats(0.001, 0.01))
def test_nees_is_the_squared_number_of_sigmas(step):
    T_truth = se3.make_transform(translation=(step, 0.0, 0.6))
    T_estimate = se3.make_transform(translation=(0.0, 0.0, 0.6))
    covariance = np.diag([0.002**2, 1.0, 1.0, 1.0, 1.0, 1.0])
    error = calibration.translation_nees(T_estimate, T_truth, covariance, NONE)
    assert error.squared == pytest.approx((step / 0.002) ** 2)
    assert error.is_within_95 == (error.squared <= 7.8147)


def test_no_pose_is_not_a_number():
    assert np.isnan(calibration.score_covariances([], [NONE]).translation_within_95)
    assert np.isnan(calibration.expected_calibration_error([], []))


def test_scores_that_come_true_as_often_as_they_say_have_no_error():
    scores = np.repeat([0.75, 0.95], [100, 200])
    correct = np.concatenate([np.arange(100) < 75, np.arange(200) < 190])
    assert calibration.expected_calibration_error(scores, correct) == pytest.approx(0.0)
    assert calibration.expected_calibration_error(scores, np.zeros(300)) == pytest.approx((75 + 190) / 300)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=50))
def test_calibration_error_is_the_definition_written_out(items):
    expected = 0.0
    for low in range(10):
        inside = [(s, c) for s, c in items if min(int(s * 10), 9) == low]
        if inside:
            mean_score = sum(s for s, _ in inside) / len(inside)
            expected += len(inside) / len(items) * abs(mean_score - sum(c for _, c in inside) / len(inside))
    found = calibration.expected_calibration_error([s for s, _ in items], [c for _, c in items])
    assert found == pytest.approx(expected, abs=1e-9) and 0.0 <= found <= 1.0
