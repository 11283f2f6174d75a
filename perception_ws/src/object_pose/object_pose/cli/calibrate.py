"""``object-pose calibrate``: intrinsics, depth and hand-eye from images of a board, and checks of the result."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from object_pose.calibration.boards import GRAMMAR, Board, parse_board
from object_pose.calibration.hand_eye import REFUSED, HandEyeConfig
from object_pose.calibration.intrinsics import IntrinsicsConfig
from object_pose.calibration.simulated import board_print
from object_pose.calibration.verify import DISTANCES_M
from object_pose.cli.options import add_config_options, config_from_options
from object_pose.cli.progress_bar import ProgressBar
from object_pose.core.errors import ConfigError
from object_pose.evaluation.reports.calibration.report import ReportTable
from object_pose.io.bag_frames import OPTICAL_FRAME, RecordingConfig
from object_pose.io.bag_samples import BagImagesConfig, BagSamplesConfig
from object_pose.io.images import write_grey
from object_pose.io.robot_samples import DIRECTIONS, GRIPPER_IN_BASE
from object_pose.io.static_transforms import transform_to_mapping
from object_pose.workflows import calibrate_hand_eye, calibrate_intrinsics
from object_pose.workflows.calibrate_depth import DepthJob, run_depth
from object_pose.workflows.calibrate_hand_eye import HandEyeJob, run_hand_eye, verify_hand_eye
from object_pose.workflows.calibrate_intrinsics import IntrinsicsJob, run_intrinsics

EXAMPLES = """examples:
  object-pose calibrate board --board charuco:9x6:0.03:0.022:DICT_5X5_100 --output board.png
  object-pose calibrate intrinsics photos --board chessboard:9x6:0.025 --name wrist
  object-pose calibrate depth recording --board chessboard:9x6:0.025 --camera calibration/intrinsics/wrist.yaml
  object-pose calibrate hand-eye samples --board chessboard:9x6:0.025 --camera calibration/intrinsics/wrist.yaml
  object-pose calibrate hand-eye robot_bag --board chessboard:9x6:0.025 --base-frame base_link --tool-frame tool0
  object-pose calibrate verify calibration/hand_eye/wrist.yaml --touched touched.yaml --samples samples
"""
_MM_PER_INCH = 25.4
_MM = 1e3


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_board(actions.add_parser("board", help="a picture of a board to print"))
    _add_intrinsics(actions.add_parser("intrinsics", help="lens and focal length from images of a board"))
    _add_depth(actions.add_parser("depth", help="scale, offset and bias of depth against a board"))
    _add_hand_eye(actions.add_parser("hand-eye", help="where the camera is on the gripper, or beside the robot"))
    _add_verify(actions.add_parser("verify", help="a hand-eye calibration against touched points, and what to expect"))


def run(options: argparse.Namespace) -> int:
    """Do what the sub-command says; 1 where a calibration is refused."""
    code: int = options.act(options)
    return code


def _board(text: str) -> Board:
    try:
        return parse_board(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_shared(parser: argparse.ArgumentParser, folder: str) -> None:
    parser.add_argument("--board", type=_board, required=True, help=GRAMMAR)
    parser.add_argument("--name", default="camera", help="name of the result's files (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path("calibration") / folder, help="folder of results (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_board(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", type=_board, required=True, help=GRAMMAR)
    parser.add_argument("--output", type=Path, required=True, help="image file; print it at 100 %%")
    parser.add_argument("--dpi", type=float, default=300.0, help="pixels an inch (default: %(default)s)")
    parser.set_defaults(act=_draw_board)


def _add_intrinsics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", type=Path, help="folder of images of one camera, or a bag")
    _add_shared(parser, "intrinsics")
    add_config_options(parser, IntrinsicsConfig, "calibration")
    add_config_options(parser, BagImagesConfig, "bag")
    parser.set_defaults(act=_intrinsics)


def _add_depth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="RGB-D frames: folder with rgb and depth, BOP scene or bag")
    _add_shared(parser, "depth")
    parser.add_argument("--camera", type=Path, help="camera_info YAML, where the source does not bring its own")
    add_config_options(parser, RecordingConfig, "frames")
    parser.set_defaults(act=_depth)


def _add_hand_eye(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("samples", type=Path, help="folder of images with the robot's pose of each, or a bag")
    _add_shared(parser, "hand_eye")
    parser.add_argument(
        "--camera", type=Path, help="camera_info YAML (default: the bag's, or calibrated from the same images)"
    )
    _add_direction(parser)
    parser.add_argument(
        "--base-frame", default="base_link", help="the robot's base on /tf and in --urdf (default: %(default)s)"
    )
    parser.add_argument("--tool-frame", default="tool0", help="what the poses are of there (default: %(default)s)")
    parser.add_argument(
        "--child-frame", default="", help=f"ROS frame of the camera (default: the bag's, or {OPTICAL_FRAME})"
    )
    parser.add_argument("--urdf", type=Path, help="robot description: calibrate the offsets of its joints, too")
    add_config_options(parser, HandEyeConfig, "calibration")
    add_config_options(parser, BagSamplesConfig, "bag")
    parser.set_defaults(act=_hand_eye)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("calibration", type=Path, help="YAML file of 'calibrate hand-eye'")
    parser.add_argument("--touched", type=Path, help="YAML of touched points: 'point: [x, y, z]', metres in the base")
    parser.add_argument("--samples", type=Path, help="images of the board that was touched, with the robot's poses")
    _add_direction(parser)
    parser.add_argument(
        "--distance",
        type=float,
        nargs="+",
        default=list(DISTANCES_M),
        help="metres (default: 0.3 0.6 1)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=_verify)


def _add_direction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pose-direction", choices=DIRECTIONS, default=GRIPPER_IN_BASE, help="what the robot's poses are of"
    )


def _draw_board(options: argparse.Namespace) -> int:
    if not 10.0 <= options.dpi <= 2400.0:
        raise ConfigError(f"--dpi {options.dpi:g} is outside [10, 2400]")
    picture, _ = board_print(options.board, options.dpi / _MM_PER_INCH * _MM)
    write_grey(options.output, picture)
    print(f"{options.board}: {options.output}, {picture.shape[1]}x{picture.shape[0]} pixels at {options.dpi:g} dpi")
    return 0


def _intrinsics(options: argparse.Namespace) -> int:
    config = config_from_options(options, IntrinsicsConfig)
    bag = config_from_options(options, BagImagesConfig)
    job = IntrinsicsJob(options.images, options.board, options.name, options.output, config, options.command, bag)
    with ProgressBar(terminal_only=True) as bar:
        result = run_intrinsics(job, bar)
    calibration = result.calibration
    if options.json:
        figures = {
            "camera": str(result.camera_file),
            "model": calibration.camera.distortion_model,
            "rms_px": calibration.fit.rms_px,
            "cross_validation_px": calibration.cross_validation_px,
            "held_out_px": {
                name: error if np.isfinite(error) else None for name, error in calibration.held_out_px.items()
            },
            "rejected": [*calibration.rejected, *result.missed],
        }
        print(json.dumps(figures))
        return 0
    print(
        f"{calibration.camera.distortion_model}: {calibration.fit.rms_px:.3f} px in {len(calibration.views)} images, "
        f"two halves differ by {calibration.cross_validation_px:.3f} px"
    )
    for sentence in calibrate_intrinsics.advice(result):
        print(f"- {sentence}")
    print(f"camera: {result.camera_file}\nreport: {result.report}")
    return 0


def _depth(options: argparse.Namespace) -> int:
    recording = config_from_options(options, RecordingConfig)
    job = DepthJob(
        options.source, options.board, options.camera, options.name, options.output, recording, options.command
    )
    with ProgressBar(terminal_only=True) as bar:
        result = run_depth(job, bar)
    calibration = result.calibration
    if options.json:
        figures = {
            "file": str(result.file),
            "scale": calibration.scale,
            "offset_mm": calibration.offset_m * _MM,
            "rms_before_mm": calibration.rms_before_mm,
            "rms_after_mm": calibration.rms_after_mm,
        }
        print(json.dumps(figures))
        return 0
    print(
        f"depth = {calibration.scale:.4f} * measured {calibration.offset_m * _MM:+.2f} mm and a bias of each part "
        f"of the image: {calibration.rms_before_mm:.2f} -> {calibration.rms_after_mm:.2f} mm"
    )
    print(f"file: {result.file}\nreport: {result.report}")
    return 0


def _hand_eye(options: argparse.Namespace) -> int:
    job = HandEyeJob(
        options.samples,
        options.board,
        options.camera,
        options.pose_direction,
        options.name,
        options.output,
        options.base_frame,
        options.tool_frame,
        options.child_frame,
        options.urdf,
        config_from_options(options, HandEyeConfig),
        config_from_options(options, BagSamplesConfig),
        options.command,
    )
    with ProgressBar(terminal_only=True) as bar:
        result = run_hand_eye(job, bar)
    calibration = result.calibration
    if options.json:
        figures = {
            "file": str(result.file),
            "launch": str(result.launch) if result.launch else None,
            "verdict": result.gate.verdict,
            "reasons": list(result.gate.reasons),
            "transform": transform_to_mapping(calibration.X),
            "held_out_mm": calibration.held_out_mm,
            "held_out_deg": calibration.held_out_deg,
            "samples": [sample.name for sample in calibration.used],
            "rejected": [*(sample.name for sample in calibration.rejected), *result.missed],
        }
        print(json.dumps(figures))
    else:
        print(
            f"{result.gate.verdict}: held-out error {calibration.held_out_mm:.2f} mm, {calibration.held_out_deg:.3f} "
            f"degrees in {len(calibration.used)} of {len(calibration.samples)} samples"
        )
        for sentence in calibrate_hand_eye.advice(result):
            print(f"- {sentence}")
        _print_table(calibrate_hand_eye.grasp_table(result.grasp_errors))
        files = [result.file, *([result.launch] if result.launch else []), result.report]
        print("\n".join(str(file) for file in files))
    return 1 if result.gate.verdict == REFUSED else 0


def _verify(options: argparse.Namespace) -> int:
    if not all(0.0 < distance < 100.0 for distance in options.distance):
        raise ConfigError("distances must be between 0 and 100 m")
    with ProgressBar(terminal_only=True) as bar:
        result = verify_hand_eye(
            options.calibration, options.distance, options.samples, options.touched, options.pose_direction, bar
        )
    if options.json:
        figures = {
            "verdict": result.stored.verdict,
            "expected": [vars(item) for item in result.grasp_errors],
            "touched": [
                {"point": item.point, "error_mm": item.error_mm.tolist(), "distance_mm": item.distance_mm}
                for item in result.touches
            ],
        }
        print(json.dumps(figures))
    else:
        print(f"the calibration was {result.stored.verdict}")
        _print_table(calibrate_hand_eye.grasp_table(result.grasp_errors))
        rows = [
            (str(item.point), *(f"{value:+.2f}" for value in item.error_mm), f"{item.distance_mm:.2f}")
            for item in result.touches
        ]
        if rows:
            header = ("point", "x, mm", "y, mm", "z, mm", "distance, mm")
            _print_table(ReportTable("Touched points: seen minus touched", header, rows))
    return 1 if result.stored.verdict == REFUSED else 0


def _print_table(table: ReportTable) -> None:
    shown = Table(*table.header, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    Console().print(shown)
