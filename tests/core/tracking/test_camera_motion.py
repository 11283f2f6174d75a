"""What stands still tells how an unknown camera moved, whatever else moves itself."""

from __future__ import annotations

import numpy as np

from object_pose.core.geometry import se3
from object_pose.core.tracking.camera_motion import common_motion

MOTION = se3.exp([0.015, -0.004, 0.006, 0.02, -0.04, 0.01])


def scattered(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        se3.make_transform(se3.exp_so3(rng.normal(size=3)), (*rng.uniform(-0.2, 0.2, 2), 0.6)) for _ in range(count)
    ]


def test_most_objects_stand_still_and_the_others_are_named() -> None:
    before = scattered(8)
    after = [MOTION @ pose for pose in before]
    for index in (2, 5):
        after[index] = after[index] @ se3.make_transform(translation=(0.02, 0.0, 0.01))
    motion, is_still = common_motion(before, after, [0.08] * 8, np.eye(4))
    np.testing.assert_allclose(motion, MOTION, atol=5e-4)
    assert is_still.tolist() == [index not in (2, 5) for index in range(8)]


def test_one_object_moves_as_it_moves() -> None:
    before = scattered(1)
    motion, is_still = common_motion(before, [MOTION @ before[0]], [0.08], np.eye(4))
    np.testing.assert_allclose(motion @ before[0], MOTION @ before[0], atol=1e-6)
    assert is_still.all()
