"""Calibration on real and simulated boards beside its acceptance criteria, and what it must refuse."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2

from benchmarks.harness import Benchmark, check, criteria_table, plain, progress, report
from object_pose.calibration.boards import Board, BoardView, detect, parse_board
from object_pose.calibration.depth import calibrate_depth
from object_pose.calibration.hand_eye import PASSED, HandEyeCalibration, HandEyeConfig, calibrate_hand_eye
from object_pose.calibration.hand_eye_start import MOUNTINGS
from object_pose.calibration.intrinsics import calibrate_intrinsics
from object_pose.calibration.simulated import (
    SimulatedHandEye,
    board_picture,
    exact_view,
    pose_before,
    simulate_hand_eye,
)
from object_pose.cli.main import main as object_pose
from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import inverse, log, quat_wxyz_from_rotation, rotation_angle, rotation_from_quat_wxyz
from object_pose.evaluation.criteria import Criterion
from object_pose.io.camera_info import write_camera
from object_pose.io.images import write_grey
from object_pose.io.robot_samples import read_samples
from object_pose.runtime.resources import find_data
from object_pose.workflows.calibrate_intrinsics import detect_in_files

CRITERIA = (
    Criterion("rms_px", 0.45, at_most=True),
    Criterion("cross_validation_px", 0.5, at_most=True),
    Criterion("translation_error_mm", 0.5, at_most=True),
    Criterion("rotation_error_deg", 0.05, at_most=True),
    Criterion("bad_samples_named", 1.0),
    Criterion("nees_consistent", 1.0),
    Criterion("real_translation_difference_mm", 5.0, at_most=True),
    Criterion("real_board_spread_mm", 2.5, at_most=True),
    Criterion("franka_refused", 1.0),
    Criterion("board_points_rms_px", 0.15, at_most=True),
    Criterion("depth_error_after_mm", 1.5, at_most=True),
    Criterion("bad_inputs_refused", 1.0),
)
_RUNS = 15  # of each mounting
_SAMPLES, _BAD = 20, 3
_CAMERA = Camera(1280, 720, 920.0, 920.0, 639.5, 359.5)
_SMALL_CAMERA = Camera(640, 480, 560.0, 560.0, 319.5, 239.5, (-0.08, 0.03, 0.0, 0.0, 0.0))
_BOARD = parse_board("charuco:9x6:0.03:0.022")
_KINDS = (
    "chessboard:9x6:0.025",
    "charuco:8x6:0.03:0.022",
    "apriltag:5x4:0.04:0.012",
    "circles:8x6:0.03",
    "asymmetric_circles:4x11:0.016",
)
# The camera on the gripper as the author of the data found it: x, y, z, then the quaternion w, x, y, z.
_AUTHORS_TRANSLATION = (0.33626606, -0.46412374, 0.02589135)
_AUTHORS_QUAT_WXYZ = (0.49294791, -0.51308154, 0.49594038, 0.49778794)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--runs", type=int, default=_RUNS, help="simulated calibrations of each mounting (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Run all checks, print their table and write summary.json; real data that is not here is left out."""
    figures: dict[str, Any] = {}
    missing: list[str] = []
    for part in (_chessboards, _real_hand_eye, _franka):
        try:
            figures |= part()
        except DataError as error:
            missing.append(str(error))
    figures |= _simulated(options.runs) | _boards() | _depth() | _bad_inputs()
    verdicts = check(figures, CRITERIA, required=not missing)
    met = all(verdict["met"] is not False for verdict in verdicts.values())
    summary = {**plain(figures, 5), "bars": plain(verdicts, 5), "met": met, "missing": missing}
    report(options, summary, options.output / "summary.json", criteria_table({"": verdicts}), *missing)
    return 0 if met else 1


def write_samples(folder: Path, board: Board, camera: Camera, simulated: SimulatedHandEye) -> None:
    """Write pictures of the board, and the robot's pose of each as x, y, z and a quaternion x, y, z, w."""
    for index, (T, pose) in enumerate(zip(simulated.T_camera_board, simulated.T_base_gripper)):
        write_grey(folder / f"{index}.png", board_picture(board, camera, T, seed=index))
        w, x, y, z = quat_wxyz_from_rotation(pose[:3, :3])
        text = ", ".join(f"{value:.9f}" for value in (*pose[:3, 3], x, y, z, w))
        (folder / f"{index}_robot_pose.txt").write_text(text)


def _chessboards() -> dict[str, Any]:
    """Both cameras of a stereo pair, each alone."""
    folder = find_data("chessboard")
    figures: dict[str, Any] = {}
    for side, prefix in (("left", ""), ("right", "right_")):
        views, missed = detect_in_files(parse_board("chessboard:9x6:0.025"), sorted(folder.glob(f"{side}*.jpg")))
        calibration = calibrate_intrinsics(views)
        figures |= {
            f"{prefix}rms_px": calibration.fit.rms_px,
            f"{prefix}cross_validation_px": calibration.cross_validation_px,
            f"{prefix}held_out_px": calibration.held_out_px,
            f"{prefix}model": calibration.camera.distortion_model,
            f"{prefix}images": len(calibration.views),
            f"{prefix}missed": missed,
        }
    return figures


def _views_and_poses(folder: Path, board: Board) -> tuple[list[BoardView], Array]:
    samples = read_samples(folder)
    views, _ = detect_in_files(board, [sample.image for sample in samples])
    poses = {sample.name: sample.T_base_gripper for sample in samples}
    return views, np.stack([poses[view.name] for view in views])


def _real_hand_eye() -> dict[str, Any]:
    """A camera 0.57 m from the flange, its intrinsics from the same images; beside the author's own solution."""
    board = parse_board("chessboard:11x9:0.0424")
    views, poses = _views_and_poses(find_data("hand_eye"), board)
    calibration = calibrate_hand_eye(calibrate_intrinsics(views).camera, board, views, poses)
    gate = calibration.gate(HandEyeConfig())
    turn = rotation_angle(calibration.X[:3, :3], rotation_from_quat_wxyz(_AUTHORS_QUAT_WXYZ))
    difference = calibration.X[:3, 3] - _AUTHORS_TRANSLATION
    return {
        "real_translation_difference_mm": float(np.linalg.norm(difference) * 1e3),
        "real_rotation_difference_deg": float(np.rad2deg(turn)),
        "real_board_spread_mm": float(calibration.board_spread_mm.max()),
        "real_board_spread_axes_mm": calibration.board_spread_mm.tolist(),
        "real_verdict": gate.verdict,
        "real_reasons": list(gate.reasons),
        "real_images": len(views),
        **_held_out(calibration, "real"),
    }


def _franka() -> dict[str, Any]:
    """Eight samples of another robot: too few for the gate."""
    folder = find_data("hand_eye_franka")
    board = parse_board("chessboard:9x6:0.0236")
    views, poses = _views_and_poses(folder, board)
    text = (folder / "franka_camera.xml").read_text()
    fx, fy, cx, cy = (float(re.findall(rf"<{name}>([^<]+)</{name}>", text)[0]) for name in ("px", "py", "u0", "v0"))
    calibration = calibrate_hand_eye(Camera(640, 480, fx, fy, cx, cy), board, views, poses)
    gate = calibration.gate(HandEyeConfig())
    return {
        "franka_refused": float(gate.verdict != PASSED),
        "franka_verdict": gate.verdict,
        "franka_reasons": list(gate.reasons),
        "franka_translation_m": calibration.X[:3, 3].tolist(),
        **_held_out(calibration, "franka"),
    }


def _held_out(calibration: HandEyeCalibration, name: str) -> dict[str, Any]:
    return {
        f"{name}_held_out_mm": calibration.held_out_mm,
        f"{name}_held_out_deg": calibration.held_out_deg,
        f"{name}_bootstrap_mm": calibration.bootstrap_mm,
        f"{name}_rejected": [sample.name for sample in calibration.rejected],
    }


def _simulated(runs: int) -> dict[str, Any]:
    """Robots of known accuracy with known truth: errors, bad samples, and whether covariances are right."""
    errors_mm, errors_deg, nees, named, blind = [], [], [], [], []
    seeds = [(mounting, seed) for mounting in MOUNTINGS for seed in range(runs)]
    for mounting, seed in progress(seeds, "simulated hand-eye", len(seeds), "calibration"):
        truth = simulate_hand_eye(_BOARD, _CAMERA, mounting, _SAMPLES, bad=_BAD, seed=seed)
        known = HandEyeConfig(mounting=mounting, robot_sigma_mm=0.1, robot_sigma_deg=0.02)
        result = calibrate_hand_eye(_CAMERA, _BOARD, truth.views, truth.T_base_gripper, known)
        error = log(inverse(result.X) @ truth.X)
        nees.append(float(error @ np.linalg.solve(result.covariance[:6, :6], error)))
        errors_mm.append(float(np.linalg.norm(result.X[:3, 3] - truth.X[:3, 3]) * 1e3))
        errors_deg.append(float(np.rad2deg(rotation_angle(result.X[:3, :3], truth.X[:3, :3]))))
        named.append({sample.name for sample in result.rejected} >= set(truth.bad))
        unknown = HandEyeConfig(mounting=mounting)
        estimated = calibrate_hand_eye(_CAMERA, _BOARD, truth.views, truth.T_base_gripper, unknown)
        blind.append({sample.name for sample in estimated.rejected} >= set(truth.bad))
    low, high = chi2.ppf((0.005, 0.995), 6 * len(nees)) / len(nees)
    return {
        "translation_error_mm": float(np.mean(errors_mm)),
        "rotation_error_deg": float(np.mean(errors_deg)),
        "translation_error_worst_mm": max(errors_mm),
        "rotation_error_worst_deg": max(errors_deg),
        "bad_samples_named": float(np.mean(named)),
        "bad_samples_named_noise_unknown": float(np.mean(blind)),
        "nees": float(np.mean(nees)),
        "nees_bounds": [float(low), float(high)],
        "nees_consistent": float(low <= np.mean(nees) <= high),
    }


def _boards() -> dict[str, Any]:
    """Each kind of board rendered whole, and cut by the image's border where its kind allows it."""
    by_kind = {}
    for text in progress(_KINDS, "boards", len(_KINDS), "board"):
        board = parse_board(text)
        squares = []
        for shift in ((0.0, 0.0), (0.1, 0.04)):
            T = pose_before(board, 0.42, np.array([0.35, -0.3]), 0.2, np.array(shift))
            views, _ = detect(board, [("view", board_picture(board, _SMALL_CAMERA, T))])
            is_cut = len(exact_view(board, _SMALL_CAMERA, T).pixels) < len(board.points_m)
            if not views and not (is_cut and "circles" in board.kind):
                squares.append(np.array([np.inf]))
            squares += [_squared_errors(board, T, view) for view in views]
        by_kind[board.kind] = float(np.sqrt(np.mean(np.concatenate(squares))))
    return {"board_points_rms_px": max(by_kind.values()), "board_points_px": by_kind}


def _squared_errors(board: Board, T: Array, view: BoardView) -> Array:
    """Return the squared errors (N,) of the points under the numbering that fits best."""
    found = []
    for hypothesis in view.hypotheses:
        p_camera = hypothesis @ T[:3, :3].T + T[:3, 3]
        expected = _SMALL_CAMERA.distort(_SMALL_CAMERA.project(p_camera))
        found.append(np.sum((view.pixels - expected) ** 2, axis=1))
    return min(found, key=lambda squares: float(squares.mean()))


def _depth() -> dict[str, Any]:
    """A depth camera that is 1 % short and 4 mm off, with a bias of its right half."""
    board, camera = parse_board("chessboard:9x6:0.05"), _SMALL_CAMERA
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    rays = camera.backproject(camera.undistort(np.stack([columns, rows], axis=-1)), np.ones(rows.shape))
    views, depths = [], []
    for index in range(16):
        shift = generator.uniform(-0.15, 0.15, 2)
        T = pose_before(board, generator.uniform(0.5, 1.2), generator.uniform(-0.4, 0.4, 2), 0.0, shift)
        true = (T[:3, 2] @ T[:3, 3]) / (rays @ T[:3, 2])
        measured = (true - 0.004) / 1.01 + 0.004 * (columns > 320) * true**2
        noisy = measured + generator.normal(0.0, 0.001, true.shape) * true**2
        views.append(exact_view(board, camera, T, f"{index:02d}", generator, 0.1))
        depths.append(np.where(true > 0, noisy, 0.0).astype(np.float32))
    result = calibrate_depth(camera, views, depths)
    return {
        "depth_scale": result.scale,
        "depth_offset_mm": result.offset_m * 1e3,
        "depth_error_before_mm": result.rms_before_mm,
        "depth_error_after_mm": result.rms_after_mm,
    }


def _bad_inputs() -> dict[str, Any]:
    """What users do wrong, by the command line: one line, exit code 2, and no file."""
    board = parse_board("charuco:9x6:0.03:0.022")
    seen = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_camera(place / "camera.yaml", _SMALL_CAMERA)
        good = simulate_hand_eye(board, _SMALL_CAMERA, samples=12, seed=1)
        one_axis = simulate_hand_eye(board, _SMALL_CAMERA, samples=6, seed=1, widest_tilt=0.0)
        for name, truth in (("good", good), ("one_axis", one_axis)):
            write_samples(_folder(place / name), board, _SMALL_CAMERA, truth)
        few = _folder(place / "few")
        blank = _folder(place / "blank")
        for index in range(2):
            for name in (f"{index}.png", f"{index}_robot_pose.txt"):
                (few / name).write_bytes((place / "good" / name).read_bytes())
                (blank / name).write_bytes((place / "good" / name).read_bytes())
            write_grey(blank / f"{index}.png", np.full((480, 640), 90, np.uint8))
        larger = "charuco:9x6:0.033:0.0242"
        cases: Mapping[str, tuple[Sequence[str], str]] = {
            "board not visible": ([str(blank), "--board", str(board)], "not visible"),
            "too few motions": ([str(few), "--board", str(board)], "samples"),
            "one-axis motions": ([str(place / "one_axis"), "--board", str(board)], "one axis"),
            "swapped direction": (
                [str(place / "good"), "--board", str(board), "--pose-direction", "base_in_gripper"],
                "inverted",
            ),
            "board size": ([str(place / "good"), "--board", larger], "smaller than stated"),
        }
        for name, (arguments, words) in progress(cases.items(), "bad input", len(cases), "case"):
            output = place / "output"
            common = ["--camera", str(place / "camera.yaml"), "--output", str(output)]
            code, line = _call("calibrate", "hand-eye", *arguments, *common)
            is_right = code == 2 and words in line and line.count("\n") == 1 and not output.exists()
            seen[name] = {"refused": is_right, "said": line.strip()}
    return {
        "bad_inputs_refused": float(np.mean([item["refused"] for item in seen.values()])),
        "bad_inputs": seen,
    }


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _call(*arguments: str) -> tuple[int, str]:
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        code = object_pose(list(arguments))
    return code, error.getvalue()


BENCHMARK = Benchmark("calibration_check", __doc__ or "", add_options, run, Path("out/calibration"))

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
