"""A pose in another frame is the same pose, and so is its uncertainty."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cube import make_cube
from object_pose.core.geometry import se3
from poses import pose_of

VECTOR = st.tuples(*[st.floats(-2.0, 2.0)] * 3)


@given(VECTOR, VECTOR, VECTOR, st.integers(0, 100))
def test_a_pose_turned_into_another_frame(shift, turn, place, seed):
    T_base_camera = se3.make_transform(se3.exp_so3(turn), shift)
    factor = np.random.default_rng(seed).normal(scale=1e-3, size=(6, 6))
    covariance = factor @ factor.T + 1e-9 * np.eye(6)
    pose = pose_of(make_cube(), 0, se3.make_transform(se3.exp_so3(turn[::-1]), place), covariance=covariance)
    turned = pose.in_frame(T_base_camera)
    np.testing.assert_allclose(turned.T_camera_object, T_base_camera @ pose.T_camera_object)
    # A small error of the pose in the camera, looked at from the base: as likely in either frame.
    error = np.linalg.cholesky(pose.covariance) @ np.ones(6)
    moved = se3.make_transform(
        se3.exp_so3(error[3:]) @ pose.T_camera_object[:3, :3], pose.T_camera_object[:3, 3] + error[:3]
    )
    seen = T_base_camera @ moved
    rotation = se3.log_so3(seen[:3, :3] @ turned.T_camera_object[:3, :3].T)
    found = np.concatenate([seen[:3, 3] - turned.T_camera_object[:3, 3], rotation])
    distance = found @ np.linalg.solve(turned.covariance, found)
    np.testing.assert_allclose(distance, error @ np.linalg.solve(pose.covariance, error), rtol=1e-4)
