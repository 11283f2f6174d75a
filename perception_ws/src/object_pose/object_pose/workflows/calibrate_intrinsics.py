"""Camera intrinsics from images of a board: a camera_info file and a report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from object_pose.calibration.boards import Board, BoardView, detect
from object_pose.calibration.coverage import Coverage, blurred, coverage, guidance
from object_pose.calibration.intrinsics import IntrinsicsCalibration, IntrinsicsConfig, calibrate_intrinsics
from object_pose.core.arrays import Image
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.distortion import EQUIDISTANT
from object_pose.core.vision.image import to_grey
from object_pose.evaluation.reports.calibration.report import (
    CalibrationPage,
    ReportTable,
    bars_picture,
    map_picture,
    points_on_image,
    points_picture,
    residual_picture,
    write_report,
)
from object_pose.io.bag_samples import BagImagesConfig, bag_images
from object_pose.io.bag_storage.opening import is_bag
from object_pose.io.camera_info import write_camera
from object_pose.io.images import list_images, read_image, write_image
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported

_LENS_NAMES, _FISHEYE_NAMES = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"), ("k1", "k2", "k3", "k4")
_COMMON_CROSS_VALIDATION_PX = 0.2
_STEP_NS, _MOST_IMAGES = 200_000_000, 60  # of a bag


@dataclass(frozen=True)
class IntrinsicsJob:
    """A folder of images of a board or a bag, and where the results go: ``output``/``name``.yaml and .html."""

    images: Path
    board: Board
    name: str = "camera"
    output: Path = Path("calibration/intrinsics")
    config: IntrinsicsConfig = field(default_factory=IntrinsicsConfig)
    command: str = ""
    bag: BagImagesConfig = field(default_factory=BagImagesConfig)


@dataclass(frozen=True)
class IntrinsicsResult:
    """The calibration, what the images cover, names of images without a board and of blurred ones, the files."""

    calibration: IntrinsicsCalibration
    coverage: Coverage
    missed: tuple[str, ...]
    blurred: tuple[str, ...]
    camera_file: Path
    report: Path


def detect_in_files(
    board: Board, paths: Sequence[Path], progress: ProgressCallback = ignore_progress
) -> tuple[list[BoardView], list[str]]:
    """Find the board in image files; raises ``CalibrationError`` where none shows it, ``DataError`` for a bad file."""
    images = reported(paths, progress, "find the board", len(paths), "image")
    views, missed = detect(board, ((path.stem, read_grey(path)) for path in images))
    if not views:
        raise CalibrationError(
            f"the board is not visible in any of {len(paths)} images",
            f"is it {board}, in good light and at least a third of it in the image?",
        )
    return views, missed


def read_grey(path: Path) -> Image:
    """Read an image file as grey values (H, W)."""
    return to_grey(read_image(path))


def run_intrinsics(job: IntrinsicsJob, progress: ProgressCallback = ignore_progress) -> IntrinsicsResult:
    """Calibrate, and write the camera and the report; raises ``CalibrationError``, and then writes nothing.

    Of a bag those images are used that add to the ones before them; they are kept in ``output``/``name``_images.
    """
    if not is_bag(job.images):
        return _run(job, list_images(job.images), progress)
    kept = job.output / f"{job.name}_images"
    with TemporaryDirectory(prefix="object_pose_") as temporary:
        folder = Path(temporary) / "images"
        result = _run(job, _useful_images(job, folder, progress), progress)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)
    return result


def _useful_images(job: IntrinsicsJob, folder: Path, progress: ProgressCallback) -> list[Path]:
    """Write the images of a bag that are sharp and show the board as none before them; return their files."""
    views: list[BoardView] = []
    last_ns: int | None = None
    images = bag_images(job.images, job.bag.color_topic)
    for stamp_ns, _, decode in reported(images, progress, "look for the board", unit="image"):
        if last_ns is not None and 0 <= stamp_ns - last_ns < _STEP_NS:
            continue
        last_ns, rgb = stamp_ns, decode()
        name = f"{stamp_ns * 1e-9:.3f}"
        found, _ = detect(job.board, [(name, to_grey(rgb))])
        if found and guidance(found[0], views).is_useful:
            views += found
            write_image(folder / f"{name}.png", rgb)
        if len(views) == _MOST_IMAGES:
            break
    if not views:
        raise CalibrationError(f"the board is not visible in any image of {job.images}", f"is it {job.board}?")
    return list_images(folder)


def _run(job: IntrinsicsJob, paths: Sequence[Path], progress: ProgressCallback) -> IntrinsicsResult:
    views, missed = detect_in_files(job.board, paths, progress)
    calibration = calibrate_intrinsics(views, job.config)
    result = IntrinsicsResult(
        calibration,
        coverage(calibration.views, calibration.camera),
        tuple(missed),
        tuple(blurred(views)),
        job.output / f"{job.name}.yaml",
        job.output / f"{job.name}.html",
    )
    write_report(result.report, _page(job, result, {path.stem: path for path in paths}))
    write_camera(result.camera_file, calibration.camera, job.name)
    return result


def advice(result: IntrinsicsResult) -> list[str]:
    """Return what the user should know or do, the most important first."""
    calibration = result.calibration
    found = []
    if calibration.cross_validation_px > _COMMON_CROSS_VALIDATION_PX:
        found.append(
            f"Two halves of the images differ by {calibration.cross_validation_px:.2f} px; below "
            f"{_COMMON_CROSS_VALIDATION_PX} px the camera is well known. More images help."
        )
    if result.missed:
        found.append(f"No board was found in {', '.join(result.missed)}.")
    if calibration.rejected:
        found.append(f"These images do not fit the others and are not used: {', '.join(calibration.rejected)}.")
    if result.blurred:
        found.append(f"These images are blurred: {', '.join(result.blurred)}.")
    missing = result.coverage.missing()
    places = [view.place for view in missing if view.place]
    if places:
        found.append(f"Show the board at the {', '.join(places)} of the image.")
    return found + [f"{view.advice[0].upper()}{view.advice[1:]}." for view in missing if not view.place]


def _page(job: IntrinsicsJob, result: IntrinsicsResult, files: dict[str, Path]) -> CalibrationPage:
    calibration, camera = result.calibration, result.calibration.camera
    views, fit = calibration.views, calibration.fit
    pixels = [view.pixels for view in views]
    rms = [float(np.sqrt(np.mean(np.sum(own**2, axis=1)))) for own in fit.residuals_px]
    worst = int(np.argmax(rms))
    largest = 6.0 * float(np.median(calibration.sigma_px))
    sigmas = np.sqrt(np.diag(calibration.covariance))
    worst_picture, scaled = points_on_image(
        read_image(files[views[worst].name]), pixels[worst], pixels[worst] + fit.residuals_px[worst]
    )
    lens = _FISHEYE_NAMES if camera.distortion_model == EQUIDISTANT else _LENS_NAMES
    names = ["fx", "fy", "cx", "cy", *lens[: len(camera.distortion)]]
    values = [camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion]
    return CalibrationPage(
        f"Intrinsics of {job.name}",
        f"{len(views)} images of {job.board}, {camera.width}x{camera.height}",
        [
            ("reprojection error", f"{fit.rms_px:.3f} px"),
            ("two halves differ by", f"{calibration.cross_validation_px:.3f} px"),
            ("lens model", camera.distortion_model),
            ("regions covered", f"{result.coverage.seen_share:.0%}"),
            ("edge width", f"{calibration.edge_width_px:.1f} px"),
        ],
        advice(result),
        [
            (points_picture(pixels, result.coverage.points, camera.wh), "Where the board's points were seen"),
            (residual_picture(pixels, fit.residuals_px, camera.wh), "Reprojection errors"),
            (
                map_picture(calibration.sigma_px, camera.wh, "px", largest),
                "Uncertainty of the projection of a far point (standard deviation, worst direction)",
            ),
            (
                map_picture(calibration.difference_px, camera.wh, "px", largest),
                "Difference of the cameras of two halves of the images",
            ),
            (
                bars_picture([view.name for view in views], rms, [True] * len(views), "error, px"),
                "Reprojection error of each image",
            ),
            (worst_picture, f"{views[worst].name}, the image of the largest error: points found in green, {scaled}"),
        ],
        [
            ReportTable(
                "Parameters",
                ("parameter", "value", "standard deviation"),
                [(name, f"{value:.5f}", f"{sigma:.5f}") for name, value, sigma in zip(names, values, sigmas)],
            ),
            ReportTable(
                "Lens models",
                ("model", "held-out error, px"),
                [(model, f"{error:.4f}") for model, error in calibration.held_out_px.items()],
                "The reprojection error of images that were not used; the simplest within 3 % of the best is taken.",
            ),
        ],
        [job.command] if job.command else [],
    )
