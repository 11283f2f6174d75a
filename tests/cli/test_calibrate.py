"""Calibration by the command line: boards to print, pictures in, files and reports out, mistakes in one line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import yaml

from benchmarks.calibration_check import write_samples
from object_pose.calibration.boards import detect, parse_board
from object_pose.calibration.simulated import board_picture, pose_before, simulate_hand_eye
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import apply, rotation_angle
from object_pose.io.camera_info import read_camera, write_camera
from object_pose.io.images import write_depth, write_grey
from object_pose.io.static_transforms import transform_from_mapping

CAMERA = Camera(320, 240, 280.0, 281.0, 161.0, 118.0, (-0.1, 0.02, 0.0, 0.0, 0.0))
BOARD = "charuco:7x5:0.04:0.03:DICT_5X5_100"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    board = parse_board(BOARD)
    for index in range(10):
        shift = generator.uniform(-0.05, 0.05, 2)
        T = pose_before(board, generator.uniform(0.35, 0.5), generator.uniform(-0.5, 0.5, 2), 0.3 * index, shift)
        write_grey(folder / f"{index}.png", board_picture(board, CAMERA, T, seed=index))
    write_grey(folder / "empty.png", np.full((240, 320), 90, np.uint8))
    return folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    truth = simulate_hand_eye(parse_board(BOARD), CAMERA, samples=10, bad=1, seed=1)
    write_samples(folder, parse_board(BOARD), CAMERA, truth)
    write_camera(folder / "camera.yaml", CAMERA)
    return folder, truth


def test_a_printed_board_is_found_again(cli, tmp_path):
    outcome = cli("calibrate", "board", "--board", BOARD, "--output", tmp_path / "board.png", "--dpi", 150)
    assert outcome.code == 0, outcome.err
    (view,), _ = detect(parse_board(BOARD), [("print", cv2.imread(str(tmp_path / "board.png"), cv2.IMREAD_GRAYSCALE))])
    spacing = np.linalg.norm(view.pixels[1] - view.pixels[0])
    assert spacing == pytest.approx(0.04 / 0.0254 * 150, rel=2e-3)


def test_intrinsics_from_pictures(cli, pictures, tmp_path):
    outcome = cli("calibrate", "intrinsics", pictures, "--board", BOARD, "--output", tmp_path, "--name", "c", "--json")
    assert outcome.code == 0, outcome.err
    figures = json.loads(outcome.out)
    assert figures["rejected"] == ["empty"] and figures["rms_px"] < 0.3
    assert read_camera(tmp_path / "c.yaml").fx == pytest.approx(280.0, rel=0.02)
    assert "Reprojection errors" in (tmp_path / "c.html").read_text()


def test_hand_eye_from_pictures_then_verified(cli, samples, tmp_path):
    folder, truth = samples
    camera = folder / "camera.yaml"
    outcome = cli(
        *("calibrate", "hand-eye", folder, "--board", BOARD, "--camera", camera, "--output", tmp_path),
        *("--json", "--min-samples", 8, "--tool-frame", "flange"),
    )
    assert outcome.code == 0, outcome.err
    figures = json.loads(outcome.out)
    assert figures["rejected"] == [str(int(name)) for name in truth.bad]
    X = transform_from_mapping(figures["transform"], "transform")
    assert np.linalg.norm(X[:3, 3] - truth.X[:3, 3]) < 1e-3
    assert np.rad2deg(rotation_angle(X[:3, :3], truth.X[:3, :3])) < 0.2
    assert "'flange'" in (tmp_path / "camera.launch.py").read_text()
    assert list(yaml.safe_load((tmp_path / "camera_rejected.yaml").read_text())["rejected"]) == figures["rejected"]

    points = apply(truth.Y, parse_board(BOARD).points_m)
    touched = tmp_path / "touched.yaml"
    touched.write_text(yaml.safe_dump({index: [float(v) for v in points[index]] for index in (0, 5, 23)}))
    good = tmp_path / "good"
    good.mkdir()
    number = next(index for index in range(10) if f"{index:02d}" not in truth.bad)
    for name in (f"{number}.png", f"{number}_robot_pose.txt"):
        (good / name).write_bytes((folder / name).read_bytes())
    outcome = cli(
        *("calibrate", "verify", tmp_path / "camera.yaml", "--touched", touched, "--samples", good),
        *("--json", "--distance", 0.3, 0.5),
    )
    assert outcome.code == 0, outcome.err
    checked = json.loads(outcome.out)
    assert [item["distance_m"] for item in checked["expected"]] == [0.3, 0.5]
    assert all(item["distance_mm"] < 3.0 for item in checked["touched"])


def test_a_refused_calibration_publishes_nothing(cli, samples, tmp_path):
    folder, _ = samples
    outcome = cli(
        "calibrate", "hand-eye", folder, "--board", BOARD, "--camera", folder / "camera.yaml", "--output", tmp_path
    )
    assert outcome.code == 1 and "9 good samples < 15" in outcome.out
    assert (tmp_path / "camera.html").exists() and not (tmp_path / "camera.launch.py").exists()


def test_depth_against_a_board(cli, tmp_path):
    board = parse_board(BOARD)
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:240, :320].astype(np.float64)
    rays = CAMERA.backproject(CAMERA.undistort(np.stack([x, y], axis=-1)), np.ones(y.shape))
    for folder in ("rgb", "depth"):
        (tmp_path / "frames" / folder).mkdir(parents=True)
    for index in range(5):
        T = pose_before(board, 0.35 + 0.06 * index, generator.uniform(-0.4, 0.4, 2), 0.0)
        true = (T[:3, 2] @ T[:3, 3]) / (rays @ T[:3, 2])
        write_grey(tmp_path / "frames" / "rgb" / f"{index}.png", board_picture(board, CAMERA, T, seed=index))
        write_depth(tmp_path / "frames" / "depth" / f"{index}.tiff", (true / 1.02).astype(np.float32))
    write_camera(tmp_path / "camera.yaml", CAMERA)
    common = ("calibrate", "depth", tmp_path / "frames", "--board", BOARD)
    outcome = cli(*common, "--camera", tmp_path / "camera.yaml", "--output", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    figures = json.loads(outcome.out)
    assert figures["rms_after_mm"] < 0.5 * figures["rms_before_mm"]
    assert yaml.safe_load((tmp_path / "out" / "camera.yaml").read_text())["scale"] == pytest.approx(1.02, abs=0.01)
    assert "--camera" in cli(*common, "--output", tmp_path / "other").problem
    assert not (tmp_path / "other").exists()


def test_mistakes_are_told_and_leave_nothing(cli, pictures, samples, tmp_path):
    folder, _ = samples
    output = tmp_path / "out"
    hand_eye = ("calibrate", "hand-eye", folder, "--output", output, "--camera", folder / "camera.yaml", "--board")
    empty = tmp_path / "empty"
    empty.mkdir()
    write_grey(empty / "1.png", np.full((240, 320), 90, np.uint8))
    for arguments, words in (
        (("calibrate", "intrinsics", empty, "--board", BOARD, "--output", output), "not visible"),
        (("calibrate", "intrinsics", tmp_path / "nowhere", "--board", BOARD, "--output", output), "does not exist"),
        (("calibrate", "intrinsics", pictures, "--board", "cube:3x3:1", "--output", output), "cannot be understood"),
        ((*hand_eye, BOARD, "--pose-direction", "base_in_gripper"), "inverted"),
        ((*hand_eye, "charuco:7x5:0.044:0.033:DICT_5X5_100"), "smaller than stated"),
        ((*hand_eye, BOARD, "--urdf", tmp_path / "no.urdf"), "cannot be read"),
        (("calibrate", "verify", tmp_path / "no.yaml"), "does not exist"),
    ):
        assert words in cli(*arguments).problem
        assert not output.exists()
