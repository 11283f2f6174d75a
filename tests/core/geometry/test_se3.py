"""Rigid transforms as mathematics: group laws, exponential and logarithm, quaternions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3

vectors = arrays(np.float64, 3, elements=st.floats(-3.0, 3.0))
small_vectors = arrays(np.float64, 3, elements=st.floats(-1.7, 1.7))  # a rotation by less than half a turn
twists = st.tuples(vectors, small_vectors).map(np.concatenate)
transforms = twists.map(se3.exp)


@given(vectors)
def test_the_exponential_of_a_rotation_vector_is_that_rotation(vector: Array) -> None:
    np.testing.assert_allclose(se3.exp_so3(vector), Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)


@given(arrays(np.float64, (4, 3), elements=st.floats(-3.0, 3.0)))
def test_many_rotation_vectors_at_once_equal_one_after_the_other(many: Array) -> None:
    np.testing.assert_allclose(se3.exp_so3(many), [se3.exp_so3(one) for one in many], atol=1e-15)


@given(small_vectors, st.floats(1e-12, 1.0))
def test_rotation_vectors_survive_exponential_and_logarithm(vector: Array, scale: float) -> None:
    np.testing.assert_allclose(se3.log_so3(se3.exp_so3(scale * vector)), scale * vector, atol=1e-9)


@given(twists)
def test_twists_survive_exponential_and_logarithm(twist: Array) -> None:
    np.testing.assert_allclose(se3.log(se3.exp(twist)), twist, atol=1e-7)


@given(twists)
def test_the_exponential_is_the_matrix_exponential(twist: Array) -> None:
    generator = np.zeros((4, 4))
    generator[:3, :3], generator[:3, 3] = se3.hat(twist[3:]), twist[:3]
    np.testing.assert_allclose(se3.exp(twist), expm(generator), atol=1e-9)


@given(transforms, transforms, arrays(np.float64, (5, 3), elements=st.floats(-2.0, 2.0)))
def test_applying_a_product_is_applying_one_after_the_other(a: Array, b: Array, points: Array) -> None:
    np.testing.assert_allclose(se3.apply(a @ b, points), se3.apply(a, se3.apply(b, points)), atol=1e-12)


@given(transforms)
def test_a_transform_times_its_inverse_is_the_identity(transform: Array) -> None:
    np.testing.assert_allclose(transform @ se3.inverse(transform), np.eye(4), atol=1e-12)
    both = np.stack([transform, np.eye(4)])
    np.testing.assert_allclose(se3.inverse(both)[0], se3.inverse(transform))


@given(transforms, twists)
def test_the_adjoint_moves_a_twist_to_the_other_side(transform: Array, twist: Array) -> None:
    moved = se3.exp(se3.adjoint(transform) @ (0.1 * twist))
    np.testing.assert_allclose(moved, transform @ se3.exp(0.1 * twist) @ se3.inverse(transform), atol=1e-8)


@given(vectors)
def test_quaternions_are_unit_with_positive_w_and_turn_back_into_the_rotation(vector: Array) -> None:
    rotation = se3.exp_so3(vector)
    quat_wxyz = se3.quat_wxyz_from_rotation(rotation)
    assert abs(np.linalg.norm(quat_wxyz) - 1.0) < 1e-12
    assert quat_wxyz[0] >= 0.0
    np.testing.assert_allclose(se3.rotation_from_quat_wxyz(3.0 * quat_wxyz), rotation, atol=1e-12)


@given(small_vectors, small_vectors)
def test_the_angle_between_rotations_does_not_depend_on_the_order(a: Array, b: Array) -> None:
    rotation_a, rotation_b = se3.exp_so3(a), se3.exp_so3(b)
    angle = se3.rotation_angle(rotation_a, rotation_b)
    assert abs(angle - se3.rotation_angle(rotation_b, rotation_a)) < 1e-7
    assert 0.0 <= angle <= np.pi + 1e-9
