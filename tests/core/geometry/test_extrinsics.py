"""Extrinsics: chains cancel their inner frames, and what is no rigid transform is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry import se3
from object_pose.core.geometry.extrinsics import Extrinsics

twists = arrays(np.float64, 6, elements=st.floats(-1.0, 1.0))


@given(twists, twists, arrays(np.float64, (4, 3), elements=st.floats(-2.0, 2.0)))
def test_chains_and_inverses_move_points_alike(first: Array, second: Array, points: Array) -> None:
    base_color = Extrinsics("base", "color", se3.exp(first))
    color_depth = Extrinsics("color", "depth", se3.exp(second))
    chain = base_color @ color_depth
    assert (chain.parent, chain.child) == ("base", "depth")
    moved = chain.apply(points)
    np.testing.assert_allclose(moved, base_color.apply(color_depth.apply(points)), atol=1e-12)
    np.testing.assert_allclose(chain.inverse.apply(moved), points, atol=1e-12)


@pytest.mark.parametrize(
    ("parent", "child", "transform"),
    [
        ("a", "a", np.eye(4)),
        ("", "a", np.eye(4)),
        ("a", "b", np.diag([1.0, 1.0, -1.0, 1.0])),
        ("a", "b", np.diag([2.0, 1.0, 1.0, 1.0])),
        ("a", "b", np.full((4, 4), np.nan)),
        ("a", "b", np.ones((4, 4))),
    ],
)
def test_impossible_extrinsics_are_refused(parent: str, child: str, transform: Array) -> None:
    with pytest.raises(CalibrationError, match="transform from"):
        Extrinsics(parent, child, transform)


def test_frames_that_do_not_meet_are_refused() -> None:
    with pytest.raises(CalibrationError, match="does not go with"):
        Extrinsics("base", "color", np.eye(4)) @ Extrinsics("gripper", "tool", np.eye(4))
