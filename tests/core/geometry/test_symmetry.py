"""Symmetries: every equivalent pose leads to the same canonical one, and closest means closest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry

Z = np.array([0.0, 0.0, 1.0])
HALF_TURN_Z = se3.make_transform(se3.exp_so3(np.pi * Z))
HALF_TURN_X = se3.make_transform(se3.exp_so3([np.pi, 0.0, 0.0]))
DISCRETE = Symmetry(discrete=HALF_TURN_Z[None])
REVOLUTION = Symmetry(axis=Z)
SPOOL = Symmetry(discrete=HALF_TURN_X[None], axis=Z)
OFF_CENTRE = Symmetry(axis=Z, offset=np.array([0.02, -0.01, 0.0]))

poses = arrays(np.float64, 6, elements=st.floats(-1.7, 1.7)).map(se3.exp)
symmetries = st.sampled_from([Symmetry(), DISCRETE, REVOLUTION, SPOOL, OFF_CENTRE])


@given(poses, symmetries, st.integers(0, 200))
def test_equivalent_poses_are_as_close_to_any_reference(pose: Array, symmetry: Symmetry, choice: int) -> None:
    transforms = symmetry.transforms
    equivalent = pose @ transforms[choice % len(transforms)]
    reference = se3.exp([0.1, 0.2, 0.3, 0.4, -0.5, 0.6])
    trace = np.sum(symmetry.closest(pose, reference)[:3, :3] * reference[:3, :3])
    trace_of_equivalent = np.sum(symmetry.closest(equivalent, reference)[:3, :3] * reference[:3, :3])
    assert trace == pytest.approx(trace_of_equivalent, abs=1e-9)


@given(poses, poses, symmetries)
def test_no_sampled_symmetry_is_closer_than_the_closest(pose: Array, reference: Array, symmetry: Symmetry) -> None:
    best = np.sum(symmetry.closest(pose, reference)[:3, :3] * reference[:3, :3])
    others = np.sum((pose @ symmetry.transforms)[:, :3, :3] * reference[:3, :3], axis=(1, 2))
    assert best >= others.max() - 1e-9


@given(poses, symmetries)
def test_the_canonical_pose_is_equivalent(pose: Array, symmetry: Symmetry) -> None:
    canonical = symmetry.canonical(pose)
    back = symmetry.closest(pose, canonical)
    np.testing.assert_allclose(back, canonical, atol=1e-7)


@given(poses)
def test_without_symmetry_nothing_changes(pose: Array) -> None:
    np.testing.assert_array_equal(Symmetry().canonical(pose), pose)
    assert Symmetry().is_trivial


@given(poses)
def test_a_turn_about_the_axis_leaves_points_on_it_alone(pose: Array) -> None:
    on_axis = OFF_CENTRE.offset + np.outer(np.linspace(-1.0, 1.0, 5), Z)
    for transform in OFF_CENTRE.transforms[::16]:
        np.testing.assert_allclose(se3.apply(pose @ transform, on_axis), se3.apply(pose, on_axis), atol=1e-12)


def test_the_sampled_transforms_start_with_the_identity() -> None:
    for symmetry in (Symmetry(), DISCRETE, REVOLUTION, SPOOL):
        np.testing.assert_allclose(symmetry.transforms[0], np.eye(4), atol=1e-15)
    assert len(SPOOL.transforms) == 2 * len(REVOLUTION.transforms)
