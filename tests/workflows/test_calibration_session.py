"""A calibration taken image by image: what is asked for next, what is kept, and a result as from a folder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from object_pose.calibration.boards import parse_board
from object_pose.calibration.hand_eye import HandEyeConfig
from object_pose.calibration.simulated import board_picture, pose_before, simulate_hand_eye
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.io.camera_info import write_camera
from object_pose.io.images import write_image
from object_pose.io.robot_samples import RobotSample, write_samples
from object_pose.workflows.calibrate_hand_eye import HandEyeJob
from object_pose.workflows.calibrate_intrinsics import IntrinsicsJob, run_intrinsics
from object_pose.workflows.calibration_session import CalibrationSession, capture_to_json, draw_capture

CAMERA = Camera(320, 240, 280.0, 281.0, 161.0, 118.0, (-0.1, 0.02, 0.0, 0.0, 0.0))
BOARD = parse_board("charuco:7x5:0.04:0.03:DICT_5X5_100")
EMPTY = np.full((240, 320, 3), 90, np.uint8)


def picture(T, seed=0):
    return np.repeat(board_picture(BOARD, CAMERA, T, seed=seed)[..., None], 3, axis=-1)


def test_intrinsics_image_by_image_are_those_of_the_folder(tmp_path):
    job = IntrinsicsJob(tmp_path / "images", BOARD, "session", tmp_path / "out")
    session = CalibrationSession(job)
    with pytest.raises(CalibrationError, match="no image was taken"):
        session.solve()
    assert not session.look(EMPTY).found and session.coverage is None and not job.images.exists()
    with pytest.raises(CalibrationError, match="does not show the board"):
        session.keep(session.look(EMPTY))
    generator = np.random.default_rng(0)
    shares = []
    for index in range(8):
        shift = generator.uniform(-0.05, 0.05, 2)
        T = pose_before(BOARD, generator.uniform(0.35, 0.5), generator.uniform(-0.5, 0.5, 2), 0.3 * index, shift)
        capture = session.add(picture(T, index))
        shares.append(capture.coverage.seen_share)
        assert capture.kept_as == f"{index:03d}" and capture.images == index + 1
    assert shares == sorted(shares)
    again = session.look(picture(T, 99))
    assert again.found and not again.is_useful and "like 007" in again.advice
    with pytest.raises(CalibrationError, match="resolution"):
        session.look(np.zeros((100, 100, 3), np.uint8))
    shown = json.loads(json.dumps(capture_to_json(again, job)))
    assert len(shown["corners"]) == len(again.pixels) and len(shown["wanted"]) == 4
    assert draw_capture(again, job).shape == again.rgb.shape

    session.drop("007")
    continued = CalibrationSession(job)
    assert continued.names == session.names == [f"{index:03d}" for index in range(7)]
    result = continued.solve()
    assert result.calibration.camera.fx == pytest.approx(run_intrinsics(job).calibration.camera.fx, rel=1e-6)
    assert result.calibration.camera.fx == pytest.approx(CAMERA.fx, rel=0.03)


def test_hand_eye_says_where_to_go_next(tmp_path):
    truth = simulate_hand_eye(BOARD, CAMERA, samples=8, robot_sigma_mm=0.05, robot_sigma_deg=0.01, seed=3)
    write_camera(tmp_path / "camera.yaml", CAMERA)
    config = HandEyeConfig(min_samples=8)
    job = HandEyeJob(tmp_path / "samples", BOARD, tmp_path / "camera.yaml", output=tmp_path / "out", config=config)
    session = CalibrationSession(job)
    with pytest.raises(CalibrationError, match="pose of the image is not known"):
        session.add(picture(truth.T_camera_board[0]))
    taken = []
    for index, (T, gripper) in enumerate(zip(truth.T_camera_board[:-1], truth.T_base_gripper)):
        taken.append(RobotSample(job.samples / f"{index:03d}.png", gripper))
        write_image(taken[-1].image, picture(T, index))
    write_samples(job.samples, taken)
    session = CalibrationSession(job)
    capture = session.add(picture(truth.T_camera_board[-1]), truth.T_base_gripper[-1])
    assert capture.kept_as == "007" and capture.images == 8
    assert "next pose worth taking" in capture.advice
    before, after = capture.next_poses[0].sigma_mm
    assert after < before
    assert capture_to_json(capture, job)["next_poses"][0]["sigma_mm_after"] == after
    result = session.solve()
    assert result.gate.verdict in ("passed", "warned")
    assert np.linalg.norm(result.calibration.X[:3, 3] - truth.X[:3, 3]) < 2e-3
