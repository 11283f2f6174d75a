"""Motion of known objects: velocities are learned, surprises widen the prior, and what is lost comes to rest."""

import numpy as np

from benchmarks.motion import Motion
from object_pose.core.geometry import se3

SECONDS = 1.0 / 30.0
COVARIANCE = np.diag(np.repeat([2e-4, 2e-3], 3) ** 2)[None]
ALL = np.ones(1, dtype=bool)
TWIST = np.array([0.2, -0.1, 0.05, 0.3, 0.5, -0.4])  # a second


def pose_at(time_s):
    rotation = se3.exp_so3(time_s * TWIST[3:])
    return se3.make_transform(rotation, np.array([0.0, 0.0, 0.5]) + time_s * TWIST[:3])[None]


def follow(motion, poses):
    """Take in measurements so sure that the prior does not matter."""
    for pose in poses:
        motion = motion.predicted(SECONDS).aligned(pose, COVARIANCE, ALL)
    return motion


def test_a_constant_velocity_is_predicted_after_a_few_frames():
    motion = follow(Motion.starting(pose_at(0.0), COVARIANCE), [pose_at(i * SECONDS) for i in range(1, 12)])
    expected = motion.predicted(SECONDS)
    np.testing.assert_allclose(expected.poses, pose_at(12 * SECONDS), atol=3e-4)
    assert np.sqrt(expected.covariances[0, 0, 0]) < 1e-3


def test_the_prediction_is_that_of_the_standard_kalman_filter():
    motion = Motion.starting(pose_at(0.0), COVARIANCE)
    expected = motion.predicted(SECONDS)
    variance, speed = COVARIANCE[0, 0, 0], motion.covariances[0, 6, 6]
    predicted = variance + speed * SECONDS**2 + motion.densities[0, 0] * SECONDS**3 / 3.0
    np.testing.assert_allclose(expected.covariances[0, 0, 0], predicted)
    # Measured with the variance r, fused by hand.
    r = 1e-6
    fused = 1.0 / (1.0 / predicted + 1.0 / r)
    covariances = COVARIANCE.copy()
    covariances[0, 0, 0] = fused
    after = expected.aligned(expected.poses, covariances, ALL)
    cross = expected.covariances[0, 0, 6]
    np.testing.assert_allclose(after.covariances[0, 6, 6], expected.covariances[0, 6, 6] - cross**2 / (predicted + r))


def test_a_surprise_widens_the_prior_and_calm_narrows_it():
    calm = follow(Motion.starting(pose_at(0.0), COVARIANCE), [pose_at(i * SECONDS) for i in range(1, 30)])
    jumped = follow(calm, [pose_at(30 * SECONDS) @ se3.make_transform(translation=(0.02, 0.0, 0.0))])
    assert calm.densities[0, 0] < Motion.starting(pose_at(0.0), COVARIANCE).densities[0, 0]
    assert jumped.densities[0, 0] > 5.0 * calm.densities[0, 0]
    assert jumped.predicted(SECONDS).covariances[0, 0, 0] > calm.predicted(SECONDS).covariances[0, 0, 0]


def test_an_object_that_is_not_tracked_comes_to_rest():
    motion = follow(Motion.starting(pose_at(0.0), COVARIANCE), [pose_at(i * SECONDS) for i in range(1, 12)])
    nowhere = np.zeros(1, dtype=bool)
    for _ in range(60):
        expected = motion.predicted(SECONDS)
        motion = expected.aligned(expected.poses, COVARIANCE, nowhere)
    assert np.linalg.norm(motion.velocities) < 1e-3
    assert np.linalg.norm(motion.poses[0, :3, 3] - pose_at(11 * SECONDS)[0, :3, 3]) < 0.05


def test_objects_are_picked_and_joined():
    one, two = Motion.starting(pose_at(0.0), COVARIANCE), Motion.starting(pose_at(1.0), COVARIANCE)
    both = Motion.join(one, two)
    assert len(both) == 2
    np.testing.assert_array_equal(both.take(np.array([1])).poses, two.poses)
    np.testing.assert_allclose(both.information[0], np.linalg.inv(COVARIANCE[0]))
