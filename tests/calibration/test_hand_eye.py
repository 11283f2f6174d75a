"""Hand-eye: the truth comes out with the right covariance, and samples that cannot give it are refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.calibration.boards import parse_board
from object_pose.calibration.hand_eye import PASSED, REFUSED, WARNED, HandEyeConfig, calibrate_hand_eye
from object_pose.calibration.hand_eye_start import MOUNTINGS
from object_pose.calibration.next_poses import next_poses
from object_pose.calibration.robot_arm import joint_twists, parse_urdf
from object_pose.calibration.simulated import exact_view, pose_before, simulate_hand_eye
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import exp, inverse, log, rotation_angle

CAMERA = Camera(1280, 720, 920.0, 920.0, 639.5, 359.5, (-0.1, 0.02, 0.0, 0.0, 0.0))
BOARD = parse_board("charuco:8x6:0.03:0.022")
KNOWN = {"robot_sigma_mm": 0.1, "robot_sigma_deg": 0.02, "bootstraps": 50}


def error_of(result, truth):
    shift = np.linalg.norm(result.X[:3, 3] - truth.X[:3, 3]) * 1e3
    return shift, np.rad2deg(rotation_angle(result.X[:3, :3], truth.X[:3, :3]))


@settings(max_examples=8)
@given(mounting=st.sampled_from(MOUNTINGS), seed=st.integers(0, 10_000))
def test_without_noise_the_truth_comes_out(mounting, seed):
    truth = simulate_hand_eye(BOARD, CAMERA, mounting, 6, 0.0, 0.0, 0.0, seed=seed)
    result = calibrate_hand_eye(CAMERA, BOARD, truth.views, truth.T_base_gripper, HandEyeConfig(mounting=mounting))
    mm, deg = error_of(result, truth)
    assert mm < 0.02 and deg < 0.005
    assert np.abs(log(inverse(result.Y) @ truth.Y)).max() < 1e-4


@pytest.mark.parametrize("mounting", MOUNTINGS)
def test_bad_samples_are_named_and_the_covariance_is_right(mounting):
    nees = []
    for seed in range(6):
        truth = simulate_hand_eye(BOARD, CAMERA, mounting, 18, bad=3, seed=seed)
        config = HandEyeConfig(mounting=mounting, **KNOWN)
        result = calibrate_hand_eye(CAMERA, BOARD, truth.views, truth.T_base_gripper, config)
        assert tuple(sample.name for sample in result.rejected) == truth.bad
        assert error_of(result, truth)[0] < 0.8
        error = log(inverse(result.X) @ truth.X)
        nees.append(error @ np.linalg.solve(result.covariance[:6, :6], error))
        assert 0.3 < result.bootstrap_mm / np.linalg.norm(result.sigma_mm) < 3.0
    assert 2.5 < np.mean(nees) < 12.0


def test_the_robots_accuracy_is_estimated_where_it_is_not_known():
    truth = simulate_hand_eye(BOARD, CAMERA, samples=25, robot_sigma_mm=1.0, robot_sigma_deg=0.057, seed=2)
    result = calibrate_hand_eye(CAMERA, BOARD, truth.views, truth.T_base_gripper)
    assert result.noise.robot_m == pytest.approx(1e-3, rel=0.4)


def test_a_symmetric_board_is_numbered_by_the_robots_turns():
    board = parse_board("chessboard:9x7:0.03")
    truth = simulate_hand_eye(board, CAMERA, samples=12, seed=3)
    generator = np.random.default_rng(0)
    views = []
    for view in truth.views:
        both = np.stack([view.points_m, 2.0 * board.centre_m - view.points_m])
        views.append(replace(view, hypotheses=both[:: generator.choice([1, -1])]))
    result = calibrate_hand_eye(CAMERA, board, views, truth.T_base_gripper, HandEyeConfig(**KNOWN))
    assert not result.rejected
    assert error_of(result, truth)[0] < 0.8


def test_one_axis_swapped_direction_wrong_size_and_few_samples_are_refused():
    truth = simulate_hand_eye(BOARD, CAMERA, samples=12, seed=4)
    poses = truth.T_base_gripper
    with pytest.raises(CalibrationError, match="inverted"):
        calibrate_hand_eye(CAMERA, BOARD, truth.views, inverse(poses))
    with pytest.raises(CalibrationError, match="at least 3"):
        calibrate_hand_eye(CAMERA, BOARD, truth.views[:2], poses[:2])
    for factor, word in ((1.1, "smaller"), (0.9, "larger")):
        wrong = [replace(view, hypotheses=view.hypotheses * factor) for view in truth.views]
        with pytest.raises(CalibrationError, match=word):
            calibrate_hand_eye(CAMERA, BOARD, wrong, poses)
    flat = simulate_hand_eye(BOARD, CAMERA, samples=8, seed=4, widest_tilt=0.0)
    with pytest.raises(CalibrationError, match="one axis"):
        calibrate_hand_eye(CAMERA, BOARD, flat.views, flat.T_base_gripper)
    still = np.repeat(poses[:1], 8, axis=0)
    with pytest.raises(CalibrationError, match="too little"):
        calibrate_hand_eye(CAMERA, BOARD, truth.views[:8], still)


def test_the_gate_passes_warns_and_refuses():
    truth = simulate_hand_eye(BOARD, CAMERA, samples=16, seed=5)
    result = calibrate_hand_eye(CAMERA, BOARD, truth.views, truth.T_base_gripper, HandEyeConfig(**KNOWN))
    assert result.gate(HandEyeConfig()).verdict == PASSED
    assert result.gate(HandEyeConfig(pass_mm=0.01)).verdict == WARNED
    assert result.gate(HandEyeConfig(pass_mm=0.01, warn_mm=0.02)).verdict == REFUSED
    refused = result.gate(HandEyeConfig(min_samples=17))
    assert refused.verdict == REFUSED and "16 good samples < 17" in refused.reasons[0]


def test_the_next_pose_lowers_the_uncertainty_as_it_says():
    truth = simulate_hand_eye(BOARD, CAMERA, samples=5, seed=6)
    config = HandEyeConfig(**KNOWN)
    result = calibrate_hand_eye(CAMERA, BOARD, truth.views, truth.T_base_gripper, config)
    best = next_poses(result, CAMERA, BOARD, 1)[0]
    before, after = best.sigma_mm
    assert after < before
    T = inverse(truth.X) @ inverse(best.T_base_gripper) @ truth.Y
    view = exact_view(BOARD, CAMERA, T, "next", np.random.default_rng(0), 0.3)
    poses = np.concatenate([truth.T_base_gripper, best.T_base_gripper[None]])
    more = calibrate_hand_eye(CAMERA, BOARD, [*truth.views, view], poses, config)
    assert np.linalg.norm(more.sigma_mm) < np.linalg.norm(result.sigma_mm)


ARM = """<robot name="arm">{joints}</robot>"""
JOINT = (
    '<joint name="j{n}" type="revolute"><parent link="{a}"/><child link="{b}"/>'
    '<origin xyz="{xyz}" rpy="{rpy}"/><axis xyz="0 0 1"/></joint>'
)
CHAIN = (
    ("0 0 0.3", "0 0 0"),
    ("0 0.1 0", "-1.5708 0 0"),
    ("0.4 0 0", "0 0 0.2"),
    ("0.3 0 0.1", "1.5708 0 0"),
    ("0 0 0.1", "-1.5708 0 0"),
    ("0 0 0.1", "1.5708 0 0"),
)


def make_arm():
    links = ["base_link", *(f"l{index}" for index in range(1, len(CHAIN))), "tool0"]
    joints = [
        JOINT.format(n=index + 1, a=links[index], b=links[index + 1], xyz=xyz, rpy=rpy)
        for index, (xyz, rpy) in enumerate(CHAIN)
    ]
    return parse_urdf(ARM.format(joints="".join(joints)), "base_link", "tool0")


@given(st.lists(st.floats(-2.0, 2.0), min_size=6, max_size=6))
def test_the_arms_jacobian_is_how_its_gripper_moves(positions):
    arm, q = make_arm(), np.array(positions)
    jacobian = arm.body_jacobian(q)
    for index, step in enumerate(np.eye(6) * 1e-6):
        moved = log(inverse(arm.gripper(q)) @ arm.gripper(q + step)) / 1e-6
        np.testing.assert_allclose(moved, jacobian[:, index], atol=1e-5)


def test_origins_with_quaternions_are_read_as_urdf_1_2_writes_them():
    half = "0 0 0.7071067811865476 0.7071067811865476"
    joint = '<joint name="j" type="fixed"><parent link="a"/><child link="b"/><origin xyz="1 0 0" {}/></joint>'
    by_angles, by_quaternion = (
        parse_urdf(ARM.format(joints=joint.format(text)), "a", "b").gripper(np.zeros(0))
        for text in ('rpy="0 0 1.5707963267948966"', f'quat_xyzw="{half}"')
    )
    np.testing.assert_allclose(by_quaternion, by_angles, atol=1e-12)


def test_an_arm_that_is_not_connected_is_refused():
    with pytest.raises(CalibrationError, match="no chain"):
        parse_urdf(ARM.format(joints=""), "base_link", "tool0")
    with pytest.raises(CalibrationError, match="not XML"):
        parse_urdf("<robot", "base_link", "tool0")


@pytest.mark.parametrize("mounting", MOUNTINGS)
def test_the_offset_of_a_joint_is_found(mounting):
    arm, generator = make_arm(), np.random.default_rng(1)
    offset = np.array([0.0, 0.0, np.deg2rad(0.4), 0.0, 0.0, 0.0])
    X, Y = exp([0.03, -0.05, 0.06, 0.1, 0.2, -0.1]), None
    views, poses, joints = [], [], []
    while len(views) < 20:
        q = np.array([0.0, 0.5, -0.8, 0.0, 0.6, 0.0]) + generator.uniform(-0.7, 0.7, 6)
        real = arm.gripper(q + offset)
        if Y is None:
            T = pose_before(BOARD, 0.5, np.array([0.1, 0.1]), 0.0)
            Y = real @ X @ T if mounting == "eye_in_hand" else inverse(real) @ X @ T
        T = inverse(real @ X) @ Y if mounting == "eye_in_hand" else inverse(X) @ real @ Y
        view = exact_view(BOARD, CAMERA, T, f"{len(views):02d}", generator, 0.1)
        if len(view.pixels) >= 12 and (T @ np.append(BOARD.centre_m, 1.0))[2] > 0.2 and T[2, 2] > 0.3:
            views.append(view)
            poses.append(arm.gripper(q))
            joints.append(q)
    config = HandEyeConfig(mounting=mounting, **KNOWN)
    twists = joint_twists(arm, mounting, joints)
    result = calibrate_hand_eye(CAMERA, BOARD, views, np.stack(poses), config, twists)
    assert np.rad2deg(result.joint_offsets_rad[2]) == pytest.approx(0.4, abs=0.05)
    assert np.abs(np.rad2deg(result.joint_offsets_rad[[1, 3, 4]])).max() < 0.1
