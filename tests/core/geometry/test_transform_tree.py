"""Frames: chains compose, times interpolate, and what is not known is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.core.geometry.extrinsics import Extrinsics
from object_pose.core.geometry.transform_tree import TransformTree

twists = st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6).map(np.array)


@given(twists, twists, twists)
def test_transforms_along_both_branches_compose(a, b, c) -> None:
    tree = TransformTree()
    tree.add(Extrinsics("world", "base", se3.exp(a)), 0, fixed=True)
    tree.add(Extrinsics("base", "camera", se3.exp(b)), 100)
    tree.add(Extrinsics("world", "table", se3.exp(c)), 0, fixed=True)
    T_table_camera = se3.inverse(se3.exp(c)) @ se3.exp(a) @ se3.exp(b)
    np.testing.assert_allclose(tree.look_up("table", "camera", 100), T_table_camera, atol=1e-9)
    np.testing.assert_allclose(tree.look_up("camera", "table", 100), se3.inverse(T_table_camera), atol=1e-9)
    np.testing.assert_allclose(tree.look_up("camera", "camera", 5), np.eye(4), atol=0.0)


@given(twists, st.floats(0.0, 1.0))
def test_between_two_stamps_motion_is_even(twist, share) -> None:
    start, turn = se3.exp(twist), 0.4 * np.array([0.0, 0.6, 0.8])
    end = start @ se3.make_transform(se3.exp_so3(turn))
    end[:3, 3] += (0.1, 0.0, 0.0)
    tree = TransformTree()
    for stamp, pose in ((1_000_000, start), (2_000_000, end)):
        tree.add(Extrinsics("world", "camera", pose), stamp)
    between = tree.look_up("world", "camera", 1_000_000 + round(share * 1_000_000))
    assert se3.rotation_angle(start[:3, :3], between[:3, :3]) == pytest.approx(0.4 * share, abs=2e-6)
    np.testing.assert_allclose(between[:3, 3], start[:3, 3] + share * np.array([0.1, 0.0, 0.0]), atol=1e-6)


def test_what_is_missing_is_named() -> None:
    tree = TransformTree()
    tree.add(Extrinsics("world", "camera", np.eye(4)), 1_000_000_000)
    with pytest.raises(DataError, match=r"'base' and 'camera' are not connected.*camera, world"):
        tree.look_up("base", "camera", 0)
    with pytest.raises(DataError, match="'camera' in 'world' is not known at stamp 1500000000: 500 ms outside"):
        tree.look_up("world", "camera", 1_500_000_000)


def test_old_transforms_are_forgotten_and_late_ones_find_their_place() -> None:
    tree = TransformTree(memory_s=1.0)
    for stamp in (0, 2_000_000_000, 1_500_000_000):
        tree.add(Extrinsics("world", "camera", se3.make_transform(translation=(stamp * 1e-9, 0.0, 0.0))), stamp)
    assert tree.look_up("world", "camera", 1_600_000_000)[0, 3] == pytest.approx(1.6)
    with pytest.raises(DataError, match="not known"):
        tree.look_up("world", "camera", 500_000_000)


def test_a_clock_that_jumps_back_starts_anew() -> None:
    tree = TransformTree(memory_s=1.0)
    tree.add(Extrinsics("world", "camera", np.eye(4)), 10_000_000_000)
    tree.add(Extrinsics("world", "camera", se3.make_transform(translation=(1.0, 0.0, 0.0))), 0)
    assert tree.look_up("world", "camera", 0)[0, 3] == 1.0


def test_time_that_jumps_back_by_less_than_the_memory_mixes_nothing() -> None:
    tree = TransformTree(memory_s=10.0)
    for stamp in (0, 2_000_000_000, 4_000_000_000):
        tree.add(Extrinsics("world", "camera", np.eye(4)), stamp)
    for stamp in (500_000_000, 1_500_000_000):
        tree.add(Extrinsics("world", "camera", se3.make_transform(translation=(1.0, 0.0, 0.0))), stamp)
    assert tree.look_up("world", "camera", 1_000_000_000)[0, 3] == 1.0
    for gone in (250_000_000, 1_800_000_000, 4_000_000_000):
        with pytest.raises(DataError, match="not known"):
            tree.look_up("world", "camera", gone)


def test_a_tree_that_keeps_all_keeps_every_round_of_a_recording_that_loops() -> None:
    tree = TransformTree(memory_s=float("inf"))
    for stamp in (0, 100_000_000_000, 50_000_000_000):
        tree.add(Extrinsics("world", "camera", np.eye(4)), stamp)
    for stamp in (0, 50_000_000_000, 100_000_000_000):
        np.testing.assert_array_equal(tree.look_up("world", "camera", stamp), np.eye(4))


@pytest.mark.parametrize("round_s", [1000, 20], ids=["once", "a recording that loops"])
def test_children_that_are_no_longer_sent_are_forgotten_and_the_others_stay(round_s) -> None:
    tree, most = TransformTree(memory_s=10.0), 0
    tree.add(Extrinsics("world", "table", np.eye(4)), 0, fixed=True)
    for index in range(1000):
        stamp = index % round_s * 1_000_000_000
        tree.add(Extrinsics("world", "camera", np.eye(4)), stamp)
        tree.add(Extrinsics("camera", f"gear_{index}", np.eye(4)), stamp)
        tree.add(Extrinsics("world", "without_stamp", np.eye(4)), 0)
        most = max(most, len(tree.frames))
        tree.look_up("table", f"gear_{index}", stamp)
    assert most < 100
    assert {"table", "camera", "without_stamp", "gear_999"} <= tree.frames
