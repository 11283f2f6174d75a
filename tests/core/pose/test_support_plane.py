"""The plane that objects stand on: found from poses, and what it tells of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.core.geometry import se3
from object_pose.core.geometry.stable_poses import StablePoses, support
from object_pose.core.pose.support_plane import LEAST_BODIES, Body, SupportPlane, find_support_plane

SIZE = np.array([0.06, 0.09, 0.14])
BOX = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 9)] * 3), axis=-1).reshape(-1, 3) * SIZE
SHAPE = StablePoses.of(BOX, float(np.linalg.norm(SIZE)))
# A camera 0.7 m above a table, looking down by 50 degrees.
TABLE = SupportPlane(np.array([0.0, np.sin(np.radians(50.0)), np.cos(np.radians(50.0))]), 0.7)
# Colour alone: 2 % of the distance, a twentieth of that across, three degrees.
COVARIANCE = np.diag([0.001, 0.001, 0.02, 0.05, 0.05, 0.05]) ** 2


def standing(x, y, turn, face=0, plane=TABLE):
    """The true pose of a box on a plane, over the pixel ray (x, y, 1)."""
    stable = SHAPE.poses[face]
    rotation = se3.exp_so3(turn * plane.normal) @ _between(stable.down, plane.normal)
    ray = np.array([x, y, 1.0])
    reach = support(se3.make_transform(rotation, np.zeros(3)), stable, plane.normal)
    return se3.make_transform(rotation, ray * (plane.offset - reach) / (plane.normal @ ray))


def _between(a, b):
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3) if a @ b > 0.0 else se3.exp_so3(np.pi * np.cross(a, np.eye(3)[np.argmin(np.abs(a))]))
    return se3.exp_so3(axis / sine * np.arctan2(sine, a @ b))


def disturbed(pose, rng, share=1.0):
    """A pose as colour alone would tell it: nearer or further along its ray, and turned a little."""
    turn = se3.exp_so3(share * rng.normal(0.0, 0.03, 3))
    return se3.make_transform(turn @ pose[:3, :3], pose[:3, 3] * (1.0 + share * rng.normal(0.0, 0.02)))


def covariance_of(pose):
    """COVARIANCE, whose third axis is the ray."""
    ray = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
    along = np.eye(6)
    along[:3, :3] = _between(np.array([0.0, 0.0, 1.0]), ray)
    return along @ COVARIANCE @ along.T


def body(pose, score=0.8):
    return Body(pose, covariance_of(pose), score, SHAPE)


def places(count, rng):
    rows = rng.uniform([-0.3, -0.2, -3.0], [0.3, 0.2, 3.0], (count, 3))
    return [standing(x, y, turn, int(rng.integers(0, 3))) for x, y, turn in rows]


def test_a_box_stands_on_each_of_its_faces_the_largest_first():
    downs = SHAPE.downs
    assert len(downs) == 6
    assert np.allclose(np.sort(np.abs(downs), axis=1), [[0.0, 0.0, 1.0]] * 6, atol=1e-9)
    lowest = np.abs(downs) @ SIZE
    assert np.all(np.diff(lowest) >= -1e-9)
    for stable in SHAPE.poses:
        assert np.allclose(stable.heights, 0.0, atol=1e-9) and len(stable.contacts) == 4


def test_a_cone_stands_on_its_base_not_on_its_tip():
    angles = np.linspace(0.0, 2.0 * np.pi, 90, endpoint=False)
    base = np.stack([0.05 * np.cos(angles), 0.05 * np.sin(angles), np.zeros(90)], axis=1)
    shape = StablePoses.of(np.concatenate([base, [[0.0, 0.0, 0.1]]]), 0.11)
    assert np.max(shape.downs @ [0.0, 0.0, -1.0]) == pytest.approx(1.0)
    assert np.max(shape.downs @ [0.0, 0.0, 1.0]) < 0.9


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.eye(3), BOX * [1.0, 1.0, 0.0]])
def test_what_has_no_volume_has_no_rest(points):
    assert StablePoses.of(points, 1.0).nearest(np.eye(3), np.array([0.0, 0.0, 1.0])) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(LEAST_BODIES, 9))
def test_the_plane_of_true_poses_is_the_table(seed, count):
    found = find_support_plane([body(pose) for pose in places(count, np.random.default_rng(seed))])
    assert found is not None
    assert found.normal @ TABLE.normal == pytest.approx(1.0, abs=1e-6)
    assert found.offset == pytest.approx(TABLE.offset, abs=1e-4)


def test_the_plane_of_many_poor_poses_tells_each_its_distance():
    rng = np.random.default_rng(5)
    before, after = [], []
    for _ in range(30):
        truths = places(8, rng)
        poses = [disturbed(truth, rng) for truth in truths]
        plane = find_support_plane([body(pose) for pose in poses])
        assert plane is not None
        for truth, pose in zip(truths, poses):
            conditioned = plane.condition(pose, covariance_of(pose), SHAPE, reach=0.1)
            assert conditioned is not None
            before.append(abs(pose[2, 3] / truth[2, 3] - 1.0))
            after.append(abs(conditioned[0][2, 3] / truth[2, 3] - 1.0))
    assert np.median(after) < 0.7 * np.median(before)


def test_what_floats_or_is_wrong_does_not_move_the_plane_nor_is_it_moved():
    rng = np.random.default_rng(2)
    wrong = standing(0.0, 0.1, 0.4)
    wrong[:3, 3] *= 0.8
    leaning = standing(0.1, 0.0, 0.4)
    leaning[:3, :3] = se3.exp_so3(np.radians(45.0) * np.array([1.0, 0.0, 0.0])) @ leaning[:3, :3]
    plane = find_support_plane([*map(body, places(5, rng)), body(wrong, 0.9), body(leaning, 0.9)])
    assert plane is not None and plane.offset == pytest.approx(TABLE.offset, abs=1e-3)
    assert plane.condition(wrong, covariance_of(wrong), SHAPE, reach=0.1) is None
    assert plane.condition(leaning, covariance_of(leaning), SHAPE, reach=0.1) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_conditioning_on_the_plane_closes_the_gap_and_makes_nothing_less_certain(seed):
    rng = np.random.default_rng(seed)
    (truth,) = places(1, rng)
    pose = disturbed(truth, rng)
    conditioned = TABLE.condition(pose, covariance_of(pose), SHAPE, reach=0.5)
    assert conditioned is not None
    moved, covariance = conditioned
    stable, _ = SHAPE.nearest(pose[:3, :3], TABLE.normal)
    assert np.abs(TABLE.gaps(moved, stable)).mean() <= np.abs(TABLE.gaps(pose, stable)).mean() + 1e-9
    assert np.linalg.eigvalsh(covariance_of(pose) - covariance).min() > -1e-9
    assert np.linalg.eigvalsh(covariance).min() > 0.0


def test_the_gaps_derivative_is_that_of_their_differences():
    (pose,) = places(1, np.random.default_rng(1))
    stable = SHAPE.poses[0]
    step = 1e-6
    for axis, expected in enumerate(TABLE.jacobian(pose, stable).T):
        delta = step * np.eye(6)[axis]
        moved = se3.make_transform(se3.exp_so3(delta[3:]) @ pose[:3, :3], pose[:3, 3] + delta[:3])
        assert np.allclose((TABLE.gaps(moved, stable) - TABLE.gaps(pose, stable)) / step, expected, atol=1e-5)


@pytest.mark.parametrize("count", range(LEAST_BODIES))
def test_too_few_bodies_make_no_plane(count):
    assert find_support_plane([body(pose) for pose in places(count, np.random.default_rng(0))]) is None
