"""Depth of a camera against the plane of a board: a file with scale, offset and bias, and a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from object_pose.calibration.boards import Board, detect
from object_pose.calibration.depth import DepthCalibration, calibrate_depth
from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.geometry.camera import Camera
from object_pose.core.vision.image import to_grey
from object_pose.evaluation.reports.calibration.report import (
    CalibrationPage,
    ReportTable,
    bars_picture,
    map_picture,
    write_report,
)
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.camera_info import read_camera_info
from object_pose.io.cameras.recorded import brings_camera, open_frames
from object_pose.io.files import replacing
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported


@dataclass(frozen=True)
class DepthJob:
    """RGB-D frames of a board in any form that ``predict`` reads, and where the results go: ``output``/``name``.*."""

    source: Path
    board: Board
    camera: Path | None = None
    name: str = "camera"
    output: Path = Path("calibration/depth")
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    command: str = ""


@dataclass(frozen=True)
class DepthResult:
    """The calibration, names of frames without a board, and the files."""

    calibration: DepthCalibration
    missed: tuple[str, ...]
    file: Path
    report: Path


def run_depth(job: DepthJob, progress: ProgressCallback = ignore_progress) -> DepthResult:
    """Calibrate and write the results; raises an error that names what is wrong, and then writes nothing."""
    if job.camera is None and not brings_camera(job.source):
        raise CalibrationError(f"{job.source} does not hold the camera's intrinsics", "name them with --camera")
    info = read_camera_info(job.camera) if job.camera else None
    camera = info.camera() if info else None
    frames = open_frames(job.source, None, camera, job.recording, info.depth_scale if info else None)
    images: list[tuple[str, Image]] = []
    depths: dict[str, DepthImage] = {}
    for item in reported(frames, progress, "read frames"):
        if item.frame.depth_m is None:
            raise DataError(f"{item.name} of {job.source} has no depth", "a folder needs 'rgb' and 'depth'")
        camera = item.frame.camera
        images.append((item.name, to_grey(item.frame.rgb)))
        depths[item.name] = item.frame.depth_m
    views, missed = detect(job.board, images)
    if not views or camera is None:
        raise CalibrationError(f"the board is not visible in any of {len(images)} frames", f"is it {job.board}?")
    calibration = calibrate_depth(camera, views, [depths[view.name] for view in views])
    result = DepthResult(calibration, tuple(missed), job.output / f"{job.name}.yaml", job.output / f"{job.name}.html")
    write_report(result.report, _page(job, result, camera))
    with replacing(result.file) as temporary:
        temporary.write_text(yaml.safe_dump(_document(calibration), sort_keys=False, default_flow_style=None))
    return result


def _document(calibration: DepthCalibration) -> dict[str, object]:
    return {
        "image_width": calibration.image_wh[0],
        "image_height": calibration.image_wh[1],
        # depth = scale * measured + offset_m - bias * measured^2, the bias that of the pixel's cell of the image
        "scale": calibration.scale,
        "offset_m": calibration.offset_m,
        "bias": [[round(float(value), 6) for value in row] for row in np.nan_to_num(calibration.bias)],
        "scale_sigma": calibration.scale_sigma,
        "offset_sigma_m": calibration.offset_sigma_m,
        "rms_before_mm": calibration.rms_before_mm,
        "rms_after_mm": calibration.rms_after_mm,
        "frames": list(calibration.names),
    }


def _page(job: DepthJob, result: DepthResult, camera: Camera) -> CalibrationPage:
    calibration = result.calibration
    findings = []
    if calibration.offset_sigma_m == 0.0:
        findings.append("All boards are at one distance: scale and offset cannot be told apart, the offset is 0.")
    if np.isnan(calibration.bias).any():
        share = float(np.mean(np.isnan(calibration.bias)))
        findings.append(f"{share:.0%} of the image had no board in it: no bias is known there.")
    if result.missed:
        findings.append(f"No board was found in {', '.join(result.missed)}.")
    rows = zip(calibration.names, calibration.distances_m, calibration.bias_mm, calibration.noise_mm)
    return CalibrationPage(
        f"Depth of {job.name}",
        f"{len(calibration.names)} frames of {job.board}, {camera.width}x{camera.height}",
        [
            ("scale", f"{calibration.scale:.4f} ± {calibration.scale_sigma:.4f}"),
            ("offset, mm", f"{calibration.offset_m * 1e3:.2f} ± {calibration.offset_sigma_m * 1e3:.2f}"),
            ("error before, mm", f"{calibration.rms_before_mm:.2f}"),
            ("error after, mm", f"{calibration.rms_after_mm:.2f}"),
        ],
        findings,
        [
            (map_picture(calibration.bias * 1e3, camera.wh, "mm at 1 m"), "Bias of the image's parts"),
            (
                bars_picture(calibration.names, list(calibration.bias_mm), [True] * len(calibration.names), "mm"),
                "Error that is left in each frame",
            ),
        ],
        [
            ReportTable(
                "Frames",
                ("frame", "distance, m", "error left, mm", "noise, mm"),
                [(name, f"{far:.3f}", f"{bias:+.2f}", f"{noise:.2f}") for name, far, bias, noise in rows],
            )
        ],
        [job.command] if job.command else [],
    )
