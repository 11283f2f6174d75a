"""One object found twice: what is kept lies apart, and what is not lies by something better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.pose.acceptance import find_duplicates

_DISTANCE = 0.5


@given(seed=st.integers(0, 999), count=st.integers(1, 8))
def test_kept_poses_lie_apart_and_each_other_one_by_a_better_kept_one(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    centers, diameters, scores = rng.uniform(0.0, 0.1, (count, 3)), rng.uniform(0.05, 0.2, count), rng.random(count)
    better = find_duplicates(centers, scores, diameters, _DISTANCE)

    def are_near(one: int, other: int) -> bool:
        reach = _DISTANCE * min(diameters[one], diameters[other])
        return bool(np.linalg.norm(centers[one] - centers[other]) < reach)

    kept = [index for index in range(count) if better[index] is None]
    assert not any(are_near(one, other) for one in kept for other in kept if one < other)
    for index, original in enumerate(better):
        if original is not None:
            assert better[original] is None
            assert scores[original] >= scores[index]
            assert are_near(index, original)


@pytest.mark.parametrize(
    ("confirmed", "is_kept"), [((0, 1), True), ((0, -1), False), ((-1, 1), False), ((0, 0), False)]
)
def test_what_is_confirmed_as_two_classes_at_one_place_is_two_objects_but_not_hypotheses_of_one(confirmed, is_kept):
    at_one_place = np.zeros((2, 3)), np.array([0.9, 0.6]), np.full(2, 0.1), _DISTANCE
    assert find_duplicates(*at_one_place, None, np.array(confirmed)) == [None, None if is_kept else 0]
    assert find_duplicates(*at_one_place, np.zeros(2, dtype=np.int64), np.array(confirmed)) == [None, 0]


def test_hypotheses_of_one_candidate_are_one_object_however_far_apart() -> None:
    centers = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    better = find_duplicates(centers, np.array([0.3, 0.9, 0.5]), np.full(3, 0.1), _DISTANCE, np.array([0, 0, 1]))
    assert better == [1, None, None]
