"""Hand-eye calibration of samples on disk: the transform, a launch file that publishes it, bad samples, a report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from object_pose.calibration.boards import Board, BoardView, parse_board
from object_pose.calibration.coverage import coverage
from object_pose.calibration.hand_eye import (
    PASSED,
    REFUSED,
    Gate,
    HandEyeCalibration,
    HandEyeConfig,
    calibrate_hand_eye,
)
from object_pose.calibration.hand_eye_start import EYE_IN_HAND, MOUNTINGS
from object_pose.calibration.intrinsics import IntrinsicsConfig, calibrate_intrinsics
from object_pose.calibration.next_poses import NextPose, next_poses
from object_pose.calibration.robot_arm import Arm, joint_twists, parse_urdf
from object_pose.calibration.verify import GraspError, Touch, expected_grasp_errors, touch_off
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError, ConfigError, DataError
from object_pose.core.geometry.camera import Camera
from object_pose.evaluation.reports.calibration.report import (
    CalibrationPage,
    ReportTable,
    bars_picture,
    correlation_picture,
    points_on_image,
    points_picture,
    residual_picture,
    write_report,
)
from object_pose.io.bag_frames import OPTICAL_FRAME
from object_pose.io.bag_samples import BagSamplesConfig, extract_samples
from object_pose.io.bag_storage.opening import is_bag
from object_pose.io.camera_info import read_camera, write_camera
from object_pose.io.files import load_yaml, parse_yaml, read_text, replacing
from object_pose.io.images import read_image
from object_pose.io.robot_samples import GRIPPER_IN_BASE, RobotSample, read_samples
from object_pose.io.static_transforms import (
    transform_from_mapping,
    transform_to_mapping,
    write_static_transform_launch,
)
from object_pose.workflows.calibrate_intrinsics import detect_in_files
from object_pose.workflows.progress import ProgressCallback, ignore_progress


@dataclass(frozen=True)
class HandEyeJob:
    """Samples (see ``io.robot_samples``) or a bag, how they were taken, and where results go: ``output``/``name``.*.

    Without a ``camera`` its intrinsics are the bag's, or come from the same images. ``urdf`` asks for joint offsets;
    the samples then need joint positions. ``base_frame`` and ``tool_frame`` are links of the description and frames
    of /tf, ``child_frame`` that of the camera; '' is that of the bag's images, or realsense-ros's.
    """

    samples: Path
    board: Board
    camera: Path | None = None
    direction: str = GRIPPER_IN_BASE
    name: str = "camera"
    output: Path = Path("calibration/hand_eye")
    base_frame: str = "base_link"
    tool_frame: str = "tool0"
    child_frame: str = ""
    urdf: Path | None = None
    config: HandEyeConfig = field(default_factory=HandEyeConfig)
    bag: BagSamplesConfig = field(default_factory=BagSamplesConfig)
    command: str = ""

    @property
    def parent_frame(self) -> str:
        """The frame in which the camera is fixed: the tool's or the base's."""
        return self.tool_frame if self.config.mounting == EYE_IN_HAND else self.base_frame


@dataclass(frozen=True)
class HandEyeResult:
    """The calibration with its gate, what to expect and do next, and the files that were written.

    ``launch`` is None where the gate refuses the calibration.
    """

    calibration: HandEyeCalibration
    camera: Camera
    gate: Gate
    missed: tuple[str, ...]
    grasp_errors: tuple[GraspError, ...]
    next_poses: tuple[NextPose, ...]
    joints: tuple[str, ...]
    file: Path
    launch: Path | None
    rejected_file: Path | None
    report: Path


def run_hand_eye(job: HandEyeJob, progress: ProgressCallback = ignore_progress) -> HandEyeResult:
    """Calibrate and write the results; raises an error that names what is wrong, and then writes nothing.

    The samples of a bag are kept in ``output``/``name``_samples.
    """
    if not is_bag(job.samples):
        return _run(job, job.samples, progress)
    kept = job.output / f"{job.name}_samples"
    with TemporaryDirectory(prefix="object_pose_") as temporary:
        folder = Path(temporary) / "samples"
        taken = extract_samples(job.samples, folder, job.base_frame, job.tool_frame, job.bag)
        camera = job.camera
        if camera is None and taken.camera is not None:
            camera = Path(temporary) / "camera.yaml"
            write_camera(camera, taken.camera, job.name)
        child = job.child_frame or taken.camera_frame
        result = _run(replace(job, camera=camera, child_frame=child), folder, progress)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)
    return result


def _run(job: HandEyeJob, folder: Path, progress: ProgressCallback) -> HandEyeResult:
    samples = read_samples(folder, job.direction)
    arm = _arm(job)
    camera, views, shown, missed = _views(job, samples, progress)
    twists = None
    if arm is not None:
        joints = [sample.joints for sample in shown]
        if any(own is None for own in joints):
            raise DataError(f"{job.samples} has samples without joint positions", "list 'joints' in samples.yaml")
        twists = joint_twists(arm, job.config.mounting, [own for own in joints if own is not None])
    poses = np.stack([sample.T_base_gripper for sample in shown])
    calibration = calibrate_hand_eye(camera, job.board, views, poses, job.config, twists)
    noise = calibration.noise
    gate = calibration.gate(job.config)
    files = {suffix: job.output / f"{job.name}{suffix}" for suffix in (".yaml", ".launch.py", ".html")}
    result = HandEyeResult(
        calibration,
        camera,
        gate,
        tuple(missed),
        tuple(
            expected_grasp_errors(
                calibration.X,
                calibration.covariance[:6, :6],
                calibration.mounting,
                noise.robot_m,
                noise.robot_rad,
                camera,
                noise.pixel_px,
            )
        ),
        tuple(next_poses(calibration, camera, job.board)),
        tuple(arm.moving if arm else ()),
        files[".yaml"],
        None if gate.verdict == REFUSED else files[".launch.py"],
        job.output / f"{job.name}_rejected.yaml" if calibration.rejected or missed else None,
        files[".html"],
    )
    _write(job, result, shown)
    return result


def advice(result: HandEyeResult) -> list[str]:
    """Return what the user should know or do, the most important first."""
    calibration, gate = result.calibration, result.gate
    found = [] if gate.verdict == PASSED else [f"The calibration is {gate.verdict}: {'; '.join(gate.reasons)}."]
    if calibration.rejected:
        names = ", ".join(sample.name for sample in calibration.rejected)
        found.append(
            f"These samples do not fit the others and are not used: {names}. "
            "Was the robot still, and is its pose that of the image?"
        )
    if result.missed:
        found.append(f"No board was found in {', '.join(result.missed)}.")
    found += [
        f"The samples hardly tell {first} and {second} apart (correlation {value:+.2f}): vary the rotations."
        for first, second, value in calibration.strong_correlations()[:3]
    ]
    return found + [f"Next pose worth taking: {pose}." for pose in result.next_poses]


def _arm(job: HandEyeJob) -> Arm | None:
    if job.urdf is None:
        return None
    try:
        text = read_text(job.urdf)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"robot description {job.urdf} cannot be read", str(error)) from error
    return parse_urdf(text, job.base_frame, job.tool_frame)


def _views(
    job: HandEyeJob, samples: Sequence[RobotSample], progress: ProgressCallback
) -> tuple[Camera, list[BoardView], list[RobotSample], list[str]]:
    """Return camera, views, the samples of these, and the names of images without a board."""
    views, missed = detect_in_files(job.board, [sample.image for sample in samples], progress)
    by_name = {sample.name: sample for sample in samples}
    if job.camera is not None:
        camera = read_camera(job.camera)
        wrong = next((view for view in views if view.image_wh != camera.wh), None)
        if wrong is not None:
            raise CalibrationError(
                f"{wrong.name} is {wrong.image_wh[0]}x{wrong.image_wh[1]}, its camera {camera.width}x{camera.height}",
                "use the intrinsics of this resolution",
            )
    else:
        camera = calibrate_intrinsics(views, IntrinsicsConfig()).camera
    return camera, views, [by_name[view.name] for view in views], missed


def _write(job: HandEyeJob, result: HandEyeResult, shown: Sequence[RobotSample]) -> None:
    calibration = result.calibration
    images = {sample.name: sample.image for sample in shown}
    write_report(result.report, _page(job, result, images))
    write_camera(job.output / f"{job.name}_camera.yaml", result.camera, job.name)
    _write_yaml(result.file, _document(job, result))
    if result.launch is not None:
        comment = f"Hand-eye calibration of {job.name}, {result.gate.verdict}: see {result.report.name}."
        write_static_transform_launch(result.launch, job.parent_frame, _child_frame(job), calibration.X, comment)
    else:
        (job.output / f"{job.name}.launch.py").unlink(missing_ok=True)
    if result.rejected_file is not None:
        reasons = {sample.name: f"chi-square {sample.chi_square:.0f}" for sample in calibration.rejected}
        reasons |= dict.fromkeys(result.missed, "no board found")
        _write_yaml(result.rejected_file, {"samples": str(job.samples), "rejected": reasons})


def _write_yaml(path: Path, document: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(document), sort_keys=False, default_flow_style=None))


def _child_frame(job: HandEyeJob) -> str:
    return job.child_frame or OPTICAL_FRAME


def _document(job: HandEyeJob, result: HandEyeResult) -> dict[str, Any]:
    calibration = result.calibration
    offsets = np.rad2deg(calibration.joint_offsets_rad)
    return {
        "mounting": calibration.mounting,
        "verdict": result.gate.verdict,
        "reasons": list(result.gate.reasons),
        "parent_frame": job.parent_frame,
        "child_frame": _child_frame(job),
        "transform": transform_to_mapping(calibration.X),
        # Of the right twist (x, y, z, rotation x, y, z) of the transform, in metres and radians, by rows.
        "covariance": [float(value) for value in calibration.covariance[:6, :6].ravel()],
        "board": str(job.board),
        "board_transform": transform_to_mapping(calibration.Y),
        "held_out": {"mm": calibration.held_out_mm, "deg": calibration.held_out_deg},
        "bootstrap": {"mm": calibration.bootstrap_mm, "deg": calibration.bootstrap_deg},
        "noise": {
            "pixel_px": calibration.noise.pixel_px,
            "robot_m": calibration.noise.robot_m,
            "robot_rad": calibration.noise.robot_rad,
        },
        "joint_offsets_deg": {name: float(value) for name, value in zip(result.joints, offsets)},
        "samples": [sample.name for sample in calibration.used],
        "rejected": [sample.name for sample in calibration.rejected],
    }


def _page(job: HandEyeJob, result: HandEyeResult, images: Mapping[str, Path]) -> CalibrationPage:
    calibration, samples = result.calibration, result.calibration.samples
    used = [sample.used for sample in samples]
    names = [sample.name for sample in samples]
    views = calibration.views
    pixels = [view.pixels for view, good in zip(views, used) if good]
    errors = [own for own, good in zip(calibration.residuals_px, used) if good]
    worst = int(np.argmax([sample.rms_px if sample.used else -1.0 for sample in samples]))
    worst_picture, scaled = points_on_image(
        read_image(images[names[worst]]), views[worst].pixels, views[worst].pixels + calibration.residuals_px[worst]
    )
    figures = [
        (residual_picture(pixels, errors, result.camera.wh), "Errors of the robot's poses in the image"),
        (points_picture(pixels, coverage(views, result.camera).points, result.camera.wh), "Where the board was seen"),
        (
            bars_picture(names, [sample.held_out_mm for sample in samples], used, "mm"),
            "Held-out error of each sample in position; red ones are not used",
        ),
        (
            bars_picture(names, [sample.held_out_deg for sample in samples], used, "degrees"),
            "Held-out error of each sample in orientation",
        ),
        (correlation_picture(calibration.correlations, calibration.parameter_names), "Correlations of the parameters"),
        (
            worst_picture,
            f"{names[worst]}, the used sample of the largest error: points found in green, the robot's {scaled}",
        ),
    ]
    frames = "the gripper" if calibration.mounting == EYE_IN_HAND else "the robot's base"
    x, y, z = calibration.X[:3, 3]
    return CalibrationPage(
        f"Hand-eye calibration of {job.name}: {result.gate.verdict}",
        f"The camera is at ({x:.4f}, {y:.4f}, {z:.4f}) m in {frames}; {len(calibration.used)} samples of {job.board}.",
        [
            ("held-out error", f"{calibration.held_out_mm:.2f} mm"),
            ("held-out error", f"{calibration.held_out_deg:.3f}°"),
            ("standard deviation", f"{np.linalg.norm(calibration.sigma_mm):.2f} mm"),
            ("bootstrap", f"{calibration.bootstrap_mm:.2f} mm"),
            ("samples used", f"{len(calibration.used)} of {len(samples)}"),
        ],
        advice(result),
        figures,
        _tables(result),
        [job.command] if job.command else [],
    )


def _tables(result: HandEyeResult) -> list[ReportTable]:
    calibration = result.calibration
    rows = [
        (
            sample.name,
            "yes" if sample.used else "no",
            f"{sample.chi_square:.1f}",
            f"{sample.held_out_mm:.2f}",
            f"{sample.held_out_deg:.3f}",
            f"{sample.image_rms_px:.2f}",
            f"{sample.rms_px:.2f}",
        )
        for sample in calibration.samples
    ]
    parameters = zip(("x", "y", "z"), calibration.sigma_mm, calibration.sigma_deg)
    return [
        ReportTable(
            "Samples",
            ("sample", "used", "chi-square", "held-out, mm", "held-out, °", "image alone, px", "by the robot, px"),
            rows,
            "Excess is chi-square with 6 degrees of freedom for a good sample; a held-out error is that of the board's "
            "centre as the other samples predict it.",
        ),
        ReportTable(
            "Standard deviations",
            ("axis", "translation, mm", "rotation, °"),
            [(axis, f"{mm:.3f}", f"{deg:.4f}") for axis, mm, deg in parameters],
        ),
        grasp_table(result.grasp_errors),
        ReportTable(
            "Next poses",
            ("distance, m", "tilt about x, y, °", "roll, °", "gripper in base, m", "expected"),
            [
                (
                    f"{pose.distance_m:.2f}",
                    f"{pose.tilt_deg[0]:+.0f}, {pose.tilt_deg[1]:+.0f}",
                    f"{pose.roll_deg:+.0f}",
                    ", ".join(f"{value:.3f}" for value in pose.T_base_gripper[:3, 3]),
                    f"{pose.sigma_mm[0]:.2f} -> {pose.sigma_mm[1]:.2f} mm",
                )
                for pose in result.next_poses
            ],
            "Those that lower the uncertainty at the board's distance most; reachability is not checked.",
        ),
    ]


def grasp_table(errors: Sequence[GraspError]) -> ReportTable:
    """Return the table of the errors to expect at grasp points."""
    return ReportTable(
        "Error to expect at a grasp point",
        ("distance from the camera, m", "hand-eye, mm", "robot, mm", "image, mm", "95 % within, mm"),
        [
            (
                f"{item.distance_m:g}",
                f"{item.hand_eye_mm:.2f}",
                f"{item.robot_mm:.2f}",
                f"{item.image_mm:.2f}",
                f"{item.p95_mm:.2f}",
            )
            for item in errors
        ],
    )


@dataclass(frozen=True)
class StoredHandEye:
    """A hand-eye calibration as its file holds it."""

    mounting: str
    verdict: str
    X: Array
    covariance: Array
    board: Board
    pixel_px: float
    robot_m: float
    robot_rad: float
    camera: Camera


def read_hand_eye(path: Path) -> StoredHandEye:
    """Read a result of ``run_hand_eye`` with its camera beside it; raises ``CalibrationError`` naming what is wrong."""
    try:
        values = load_yaml(path, CalibrationError)
    except FileNotFoundError as error:
        raise CalibrationError(f"hand-eye calibration {path} does not exist") from error
    try:
        covariance = np.array(values["covariance"], dtype=np.float64).reshape(6, 6)
        noise = {name: float(values["noise"][name]) for name in ("pixel_px", "robot_m", "robot_rad")}
        mounting, verdict, board = str(values["mounting"]), str(values["verdict"]), str(values["board"])
        if mounting not in MOUNTINGS or not np.all(np.isfinite(covariance)):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CalibrationError(f"{path} is no hand-eye calibration", "it comes from 'calibrate hand-eye'") from error
    X = transform_from_mapping(values.get("transform"), f"{path}, transform")
    camera = read_camera(path.with_name(f"{path.stem}_camera.yaml"))
    return StoredHandEye(mounting, verdict, X, covariance, parse_board(board), **noise, camera=camera)


@dataclass(frozen=True)
class VerifyResult:
    """What a check of a calibration gave: errors to expect at distances, and at points that the robot touched."""

    stored: StoredHandEye
    grasp_errors: tuple[GraspError, ...]
    touches: tuple[Touch, ...]


def verify_hand_eye(
    file: Path,
    distances_m: Sequence[float],
    samples: Path | None = None,
    touched: Path | None = None,
    direction: str = GRIPPER_IN_BASE,
    progress: ProgressCallback = ignore_progress,
) -> VerifyResult:
    """Check a stored calibration: with ``touched``, against points of the board that the robot touched.

    ``samples`` are then images of that board with the robot's poses. Raises an error naming what is wrong.
    """
    stored = read_hand_eye(file)
    errors = expected_grasp_errors(
        stored.X,
        stored.covariance,
        stored.mounting,
        stored.robot_m,
        stored.robot_rad,
        stored.camera,
        stored.pixel_px,
        distances_m,
    )
    if touched is None:
        return VerifyResult(stored, tuple(errors), ())
    if samples is None:
        raise ConfigError("touched points need images of the board", "name them with --samples")
    points = read_touched_points(touched)
    taken = read_samples(samples, direction)
    views, _ = detect_in_files(stored.board, [sample.image for sample in taken], progress)
    poses = {sample.name: sample.T_base_gripper for sample in taken}
    gripper = np.stack([poses[view.name] for view in views])
    touches = touch_off(stored.camera, stored.board, stored.mounting, stored.X, views, gripper, points)
    return VerifyResult(stored, tuple(errors), tuple(touches))


def read_touched_points(path: Path) -> dict[int, Array]:
    """Read points of the board, by their ids, that the tool's tip touched: ``0: [x, y, z]`` lines, metres in base."""
    try:
        values = parse_yaml(read_text(path))
        points = {int(index): np.array(place, dtype=np.float64).reshape(3) for index, place in dict(values).items()}
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path} must hold lines 'point: [x, y, z]' in metres in the base", str(error)) from error
    if not points or not all(np.all(np.isfinite(place)) for place in points.values()):
        raise ConfigError(f"{path} holds no points, or one that is not finite")
    return points
