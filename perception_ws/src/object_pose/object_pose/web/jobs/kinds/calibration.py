"""Jobs that calibrate cameras, depth and hand-eye, and verify the latter."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from object_pose.calibration.boards import GRAMMAR, parse_board
from object_pose.calibration.hand_eye import HandEyeConfig
from object_pose.calibration.intrinsics import IntrinsicsConfig
from object_pose.core.errors import DataError
from object_pose.core.params import parameters
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.robot_samples import DIRECTIONS, GRIPPER_IN_BASE
from object_pose.io.static_transforms import transform_to_mapping
from object_pose.web.jobs.kinds.kind import CAMERA, Inputs, Kind, file_option, file_stem, given, number, path_of
from object_pose.web.jobs.options import KindDescription, Option, from_parameters, text
from object_pose.workflows.calibrate_depth import DepthJob, run_depth
from object_pose.workflows.calibrate_hand_eye import HandEyeJob, run_hand_eye, verify_hand_eye
from object_pose.workflows.calibrate_intrinsics import IntrinsicsJob, run_intrinsics
from object_pose.workflows.progress import ProgressCallback

_BOARD = Option(text("board", GRAMMAR), required=True)
_NAME = Option(text("name", "name of the camera and of the files", "camera"))

_INTRINSICS = KindDescription(
    "calibrate-intrinsics",
    "Calibrate a camera",
    "Intrinsics and lens distortion from images of a board.",
    (
        file_option("images", "images of the board, or a zip of them", required=True, many=True),
        _BOARD,
        _NAME,
        *from_parameters(parameters(IntrinsicsConfig)),
    ),
)


def _one_folder(paths: Sequence[str], folder: Path) -> Path:
    """Return the folder that is named, or one with the files that are; raises ``DataError`` for a mixture."""
    sources = [Path(path) for path in paths]
    if len(sources) == 1 and sources[0].is_dir():
        return sources[0]
    if any(path.is_dir() for path in sources):
        raise DataError("images and zips of images are mixed", "give either")
    folder.mkdir(exist_ok=True)
    for index, path in enumerate(sources):
        shutil.copyfile(path, folder / f"{index:04d}{path.suffix}")
    return folder


def _intrinsics(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    board, name = parse_board(inputs["board"]), file_stem(inputs.get("name", "camera"))
    config = given(IntrinsicsConfig, inputs)
    images = _one_folder(inputs["images"], output / "images")
    result = run_intrinsics(IntrinsicsJob(images, board, name, output, config), progress)
    calibration = result.calibration
    return {
        "rms_px": calibration.fit.rms_px,
        "cross_validation_px": calibration.cross_validation_px,
        "images": len(calibration.views),
        "rejected": [*calibration.rejected, *result.missed],
        "camera": result.camera_file.name,
        "report": result.report.name,
    }


_HAND_EYE = KindDescription(
    "calibrate-hand-eye",
    "Calibrate hand-eye",
    "Where the camera sits on the robot, or beside it, from images of a board with the robot's poses.",
    (
        file_option("samples", "zip of images with samples.yaml", required=True),
        _BOARD,
        _NAME,
        CAMERA,
        Option(text("direction", "what the robot's poses are of", GRIPPER_IN_BASE, tuple(DIRECTIONS))),
        Option(text("parent_frame", "ROS frame of gripper or base")),
        Option(text("child_frame", "ROS frame of the camera", "camera_color_optical_frame")),
        *from_parameters(parameters(HandEyeConfig), ("mounting",)),
    ),
)


def _hand_eye(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    direct = ("direction", "parent_frame", "child_frame")
    result = run_hand_eye(
        HandEyeJob(
            Path(inputs["samples"]),
            parse_board(inputs["board"]),
            path_of(inputs, "camera"),
            name=file_stem(inputs.get("name", "camera")),
            output=output,
            config=given(HandEyeConfig, inputs),
            **{name: inputs[name] for name in direct if name in inputs},
        ),
        progress,
    )
    calibration = result.calibration
    return {
        "verdict": result.gate.verdict,
        "reasons": list(result.gate.reasons),
        "transform": transform_to_mapping(calibration.X),
        "held_out_mm": calibration.held_out_mm,
        "held_out_deg": calibration.held_out_deg,
        "samples": len(calibration.used),
        "rejected": [*(sample.name for sample in calibration.rejected), *result.missed],
        "file": result.file.name,
        "report": result.report.name,
    }


_DEPTH = KindDescription(
    "calibrate-depth",
    "Calibrate depth",
    "Scale, offset and bias of a depth camera, from RGB-D frames of a board.",
    (
        file_option("source", "RGB-D frames: 'recording:NAME', or a zip of a folder with rgb and depth", required=True),
        _BOARD,
        _NAME,
        CAMERA,
        *from_parameters(parameters(RecordingConfig)),
    ),
)


def _depth(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    board, name = parse_board(inputs["board"]), file_stem(inputs.get("name", "camera"))
    recording = given(RecordingConfig, inputs)
    result = run_depth(
        DepthJob(Path(inputs["source"]), board, path_of(inputs, "camera"), name, output, recording), progress
    )
    calibration = result.calibration
    return {
        "scale": calibration.scale,
        "offset_mm": calibration.offset_m * 1e3,
        "rms_before_mm": calibration.rms_before_mm,
        "rms_after_mm": calibration.rms_after_mm,
        "file": result.file.name,
        "report": result.report.name,
    }


_VERIFY = KindDescription(
    "calibrate-verify",
    "Verify hand-eye",
    "Errors to expect of a calibration, and those at points that the robot touched.",
    (
        file_option("calibration", "result of calibrate-hand-eye: 'job:ID/camera.yaml'", ".yaml,.yml", required=True),
        file_option("samples", "zip of images of the board that was touched, with samples.yaml"),
        file_option("touched", "YAML of touched points: 'point: [x, y, z]', metres in the base", ".yaml,.yml"),
        Option(number("distance_m", 0.6, "distance of the expected error", 0.05, 10.0)),
    ),
)


def _verify(inputs: Inputs, _output: Path, progress: ProgressCallback) -> dict[str, Any]:
    distances = [inputs.get("distance_m", 0.6)]
    samples, touched = path_of(inputs, "samples"), path_of(inputs, "touched")
    result = verify_hand_eye(Path(inputs["calibration"]), distances, samples, touched, progress=progress)
    return {
        "verdict": result.stored.verdict,
        "expected": [vars(item) for item in result.grasp_errors],
        "touched": [
            {"point": item.point, "error_mm": item.error_mm.tolist(), "distance_mm": item.distance_mm}
            for item in result.touches
        ],
    }


KINDS = (
    Kind(_INTRINSICS, _intrinsics),
    Kind(_HAND_EYE, _hand_eye),
    Kind(_DEPTH, _depth),
    Kind(_VERIFY, _verify),
)
