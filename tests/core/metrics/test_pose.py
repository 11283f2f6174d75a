"""Pose errors: zero for the truth and all its symmetric equivalents, right for known displacements, fair matching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.metrics import pose as metrics
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from poses import pose_of
from raycast import AXIS_Z, BRACKET, PLATE, SHAFT, model_of

HALF_TURN = Symmetry(discrete=se3.make_transform(se3.exp_so3(np.pi * AXIS_Z))[None])
MODELS = (
    model_of("bracket", BRACKET, count=100),
    model_of("shaft", SHAFT, Symmetry(axis=AXIS_Z), count=300),
    model_of("plate", PLATE, HALF_TURN, count=100),
)

poses = st.tuples(
    arrays(np.float64, 3, elements=st.floats(-0.05, 0.05)).map(lambda t: t + np.array([0.0, 0.0, 0.6])),
    arrays(np.float64, 3, elements=st.floats(-1.7, 1.7)),
).map(lambda parts: se3.make_transform(se3.exp_so3(parts[1]), parts[0]))
classes = st.integers(0, 2)


def errors(T_estimate: Array, T_truth: Array, class_id: int) -> dict[str, float]:
    model = MODELS[class_id]
    points, symmetry = model.points_object, model.symmetry
    return {
        "add": metrics.add_error(T_estimate, T_truth, points, symmetry),
        "translation": metrics.translation_error(T_estimate, T_truth, symmetry),
        "rotation": metrics.rotation_error(T_estimate, T_truth, symmetry),
    }


@settings(max_examples=30)
@given(poses, classes, st.integers(0, 63))
def test_the_truth_and_its_equivalents_have_no_error(T_truth: Array, class_id: int, choice: int) -> None:
    transforms = MODELS[class_id].symmetry.transforms
    found = errors(T_truth @ transforms[choice % len(transforms)], T_truth, class_id)
    # ADD-S compares samples, which a symmetry does not map onto themselves.
    limits = {"add": 6e-3, "translation": 1e-9, "rotation": 1e-6}
    assert all(found[name] < limit for name, limit in limits.items()), found


@settings(max_examples=30)
@given(poses, poses, classes, st.integers(0, 63))
def test_errors_do_not_depend_on_which_equivalent_is_reported(
    T_estimate: Array, T_truth: Array, class_id: int, choice: int
) -> None:
    transforms = MODELS[class_id].symmetry.transforms
    one = errors(T_estimate, T_truth, class_id)
    other = errors(T_estimate @ transforms[choice % len(transforms)], T_truth, class_id)
    for name in ("translation", "rotation"):
        assert other[name] == pytest.approx(one[name], abs=1e-6)


@settings(max_examples=30)
@given(poses, arrays(np.float64, 3, elements=st.floats(-0.03, 0.03)))
def test_a_shift_is_its_length_in_every_measure(T_truth: Array, shift: Array) -> None:
    moved = se3.make_transform(T_truth[:3, :3], T_truth[:3, 3] + shift)
    found = errors(moved, T_truth, 0)
    for name in ("add", "translation"):
        assert found[name] == pytest.approx(np.linalg.norm(shift), abs=1e-12)
    assert found["rotation"] == pytest.approx(0.0, abs=1e-7)


@settings(max_examples=30)
@given(poses, st.floats(0.01, 1.0))
def test_a_tilt_is_its_angle_and_a_spin_about_the_axis_is_none(T_truth: Array, angle: float) -> None:
    tilt = T_truth @ se3.make_transform(se3.exp_so3([angle, 0.0, 0.0]))
    spin = T_truth @ se3.make_transform(se3.exp_so3(angle * AXIS_Z))
    assert errors(tilt, T_truth, 1)["rotation"] == pytest.approx(angle, abs=1e-6)
    assert errors(spin, T_truth, 1)["rotation"] == pytest.approx(0.0, abs=1e-6)
    assert errors(spin, T_truth, 0)["rotation"] == pytest.approx(angle, abs=1e-6)


@settings(max_examples=20)
@given(poses, poses, classes)
def test_the_nearest_point_is_never_further_than_the_same(T_estimate: Array, T_truth: Array, class_id: int) -> None:
    points = MODELS[class_id].points_object
    assert (
        metrics.adds_error(T_estimate, T_truth, points)
        <= metrics.add_error(T_estimate, T_truth, points, Symmetry()) + 1e-12
    )


def pose_at(x: float, class_id: int = 0, score: float = 0.9) -> ObjectPose:
    return pose_of(MODELS[class_id], class_id, se3.make_transform(translation=(x, 0.0, 0.6)), score=score)


def truth_at(x: float, class_id: int = 0, visibility: float = 0.9) -> ObjectTruth:
    T_camera_object = se3.make_transform(translation=(x, 0.0, 0.6))
    return ObjectTruth(class_id, MODELS[class_id].name, T_camera_object, visibility, np.zeros(4))


def test_each_truth_is_given_away_once_and_the_best_score_chooses_first() -> None:
    poses = [pose_at(0.004, score=0.6), pose_at(0.002, score=0.9)]
    frame = metrics.match_frame(poses, [truth_at(0.0)], MODELS)
    assert [match.pose.score for match in frame.matches] == [0.9]
    assert [pose.score for pose in frame.false_poses] == [0.6]
    assert frame.missed == ()


def test_two_objects_of_a_class_are_told_apart_by_place() -> None:
    poses, truths = [pose_at(0.05), pose_at(-0.05)], [truth_at(-0.049), truth_at(0.049)]
    frame = metrics.match_frame(poses, truths, MODELS)
    assert len(frame.matches) == 2 and all(match.is_correct for match in frame.matches)
    assert all(match.translation_error_m == pytest.approx(0.001) for match in frame.matches)


def test_another_class_at_the_right_place_is_wrong() -> None:
    frame = metrics.match_frame([pose_at(0.0, class_id=2)], [truth_at(0.0)], MODELS)
    assert len(frame.false_poses) == len(frame.missed) == 1 and not frame.matches


def test_hardly_visible_truths_count_neither_for_nor_against() -> None:
    truths = [truth_at(0.0, visibility=0.1), truth_at(0.2)]
    frame = metrics.match_frame([pose_at(0.0), pose_at(0.2)], truths, MODELS)
    score = metrics.score_frames([frame])
    assert (score.targets, score.recall_add_01d, score.precision) == (1, 1.0, 1.0)


def test_whoever_draws_a_line_misses_what_scores_less_and_is_spared_what_is_wrong() -> None:
    poses = [pose_at(0.0, score=0.9), pose_at(0.3, score=0.4), pose_at(0.6, score=0.3)]
    frame = metrics.match_frame(poses, [truth_at(0.0), truth_at(0.3)], MODELS)
    assert (len(frame.matches), len(frame.missed), len(frame.false_poses)) == (2, 0, 1)
    taken = frame.above(0.5)
    assert [match.pose.score for match in taken.matches] == [0.9]
    assert [truth.T_camera_object[0, 3] for truth in taken.missed] == [0.3]
    assert taken.false_poses == () and frame.above(0.3) == frame


def test_the_summary_counts_right_and_wrong() -> None:
    right = metrics.match_frame([pose_at(0.001)], [truth_at(0.0)], MODELS)
    inaccurate = metrics.match_frame([pose_at(0.04)], [truth_at(0.0)], MODELS)
    missed = metrics.match_frame([], [truth_at(0.0, class_id=1)], MODELS)
    invented = metrics.match_frame([pose_at(0.0)], [], MODELS)
    score = metrics.score_frames([right, inaccurate, missed, invented])
    assert score.targets == 3
    assert score.recall_add_01d == pytest.approx(1 / 3)
    assert score.precision == pytest.approx(1 / 3)
    assert score.recall_per_class == {"bracket": 0.5, "shaft": 0.0}
    assert score.translation_error_mm_p50 == pytest.approx(20.5)


def test_nothing_to_find_is_not_a_number_rather_than_perfect() -> None:
    score = metrics.score_frames([])
    assert score.targets == 0
    assert np.isnan([score.recall_add_01d, score.precision, score.translation_error_mm_p50]).all()


def test_the_visibility_limit_can_be_chosen() -> None:
    truths = [truth_at(0.0, visibility=0.29)]
    assert metrics.match_frame([], truths, MODELS).missed == ()
    assert len(metrics.match_frame([], truths, MODELS, min_visibility=0.2).missed) == 1
