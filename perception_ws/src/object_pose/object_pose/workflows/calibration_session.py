"""A calibration that is taken image by image, with guidance: what a camera node, a page and a program share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from object_pose.calibration.boards import BoardView, detect
from object_pose.calibration.coverage import Coverage, Guidance, WantedView, coverage, guidance
from object_pose.calibration.hand_eye import calibrate_hand_eye
from object_pose.calibration.hand_eye_start import MIN_SAMPLES
from object_pose.calibration.next_poses import NextPose, next_poses
from object_pose.core.arrays import Array, Image
from object_pose.core.errors import CalibrationError, ConfigError
from object_pose.core.vision.drawing import Canvas
from object_pose.core.vision.image import to_grey
from object_pose.io.camera_info import read_camera
from object_pose.io.images import list_images, read_image, write_image
from object_pose.io.robot_samples import GRIPPER_IN_BASE, LIST_NAME, RobotSample, read_samples, write_samples
from object_pose.workflows.calibrate_hand_eye import HandEyeJob, HandEyeResult, run_hand_eye
from object_pose.workflows.calibrate_intrinsics import IntrinsicsJob, IntrinsicsResult, run_intrinsics
from object_pose.workflows.progress import ProgressCallback, ignore_progress

_LIVE_BOOTSTRAPS = 20
_SEEN, _WANTED, _COVERED = (64, 196, 255), (255, 138, 61), (76, 200, 80)


@dataclass(frozen=True)
class Capture:
    """One image of a session: whether the board was ``found``, where, and what to do next.

    ``is_useful`` says whether it would add to the images that were kept, ``kept_as`` under which name it was.
    ``coverage`` is that of the kept images, this one included if it was kept; None before the first.
    """

    rgb: Image
    view: BoardView | None
    guidance: Guidance
    coverage: Coverage | None
    T_base_gripper: Array | None = None
    kept_as: str = ""
    images: int = 0
    next_poses: tuple[NextPose, ...] = ()

    @property
    def found(self) -> bool:
        """Whether the board was found."""
        return self.view is not None

    @property
    def is_useful(self) -> bool:
        """Whether keeping the image helps."""
        return self.guidance.is_useful

    @property
    def pixels(self) -> Array:
        """The board's points (N, 2) in the image, empty where it was not found."""
        return self.view.pixels if self.view else np.zeros((0, 2))

    @property
    def advice(self) -> str:
        """What to do next; empty where nothing is missing."""
        return self.guidance.advice

    @property
    def wanted(self) -> WantedView | None:
        """The view to show next."""
        return self.guidance.wanted


class CalibrationSession:
    """Images of a board taken one by one into the folder of a job, and the job run on them.

    A folder that holds images already is continued. A session of a ``HandEyeJob`` takes the robot's pose with each
    image, and with the job's ``camera`` says which pose is worth going to next. Not for several threads at once.
    """

    def __init__(self, job: IntrinsicsJob | HandEyeJob) -> None:
        self.job = job
        self.folder = job.samples if isinstance(job, HandEyeJob) else job.images
        if isinstance(job, HandEyeJob) and job.direction != GRIPPER_IN_BASE:
            raise ConfigError("a session keeps poses of the gripper in the base", "give it those")
        self._camera = read_camera(job.camera) if isinstance(job, HandEyeJob) and job.camera else None
        self._views: dict[str, BoardView] = {}
        self._poses: dict[str, Array] = {}
        self._next_poses: tuple[NextPose, ...] = ()
        self._problem = ""
        self._continue()

    @property
    def is_hand_eye(self) -> bool:
        """Whether each image needs the robot's pose."""
        return isinstance(self.job, HandEyeJob)

    @property
    def names(self) -> list[str]:
        """The names of the images that were kept."""
        return list(self._views)

    @property
    def coverage(self) -> Coverage | None:
        """What the kept images cover; None before the first."""
        return coverage(list(self._views.values()), self._camera) if self._views else None

    def look(self, rgb: Image, T_base_gripper: Array | None = None) -> Capture:
        """Look for the board in an image (H, W, 3), which is not kept; raises ``CalibrationError`` for another size."""
        self._check_size(rgb)
        name = f"{self._next_number():03d}"
        views, _ = detect(self.job.board, [(name, to_grey(rgb))])
        view = views[0] if views else None
        found = self._planned(guidance(view, list(self._views.values()), self._camera))
        return Capture(rgb, view, found, self.coverage, T_base_gripper, "", len(self._views), self._next_poses)

    def keep(self, capture: Capture) -> Capture:
        """Keep what ``look`` found; raises ``CalibrationError`` where there is no board, or no pose of the robot."""
        if capture.view is None:
            raise CalibrationError("the image does not show the board", f"is it {self.job.board}?")
        if self.is_hand_eye and capture.T_base_gripper is None:
            raise CalibrationError("the robot's pose of the image is not known", "hand-eye calibration needs it")
        name = f"{self._next_number():03d}"
        write_image(self.folder / f"{name}.png", capture.rgb)
        self._views[name] = replace(capture.view, name=name)
        if self.is_hand_eye and capture.T_base_gripper is not None:
            self._poses[name] = capture.T_base_gripper
            self._write_list()
        self._plan()
        covered = coverage(list(self._views.values()), self._camera)
        wanted = next(iter(covered.missing()), None)
        return replace(
            capture,
            guidance=self._planned(Guidance(True, wanted.advice if wanted else "", wanted)),
            coverage=covered,
            kept_as=name,
            images=len(self._views),
            next_poses=self._next_poses,
        )

    def add(self, rgb: Image, T_base_gripper: Array | None = None) -> Capture:
        """Keep an image that shows the board; tell what was found, and what to do next, of any."""
        capture = self.look(rgb, T_base_gripper)
        return self.keep(capture) if capture.found else capture

    def drop(self, name: str) -> None:
        """Remove a kept image; raises ``CalibrationError`` where there is none of this name."""
        if name not in self._views:
            raise CalibrationError(f"image {name} was not kept", f"there are: {', '.join(self._views) or 'none'}")
        (self.folder / f"{name}.png").unlink(missing_ok=True)
        del self._views[name]
        if self._poses.pop(name, None) is not None:
            self._write_list()
        self._plan()

    def solve(self, progress: ProgressCallback = ignore_progress) -> IntrinsicsResult | HandEyeResult:
        """Run the job on the kept images, as ``object-pose calibrate`` does; raises as that does."""
        if not self._views:
            raise CalibrationError("no image was taken", "show the board")
        if isinstance(self.job, HandEyeJob):
            return run_hand_eye(self.job, progress)
        return run_intrinsics(self.job, progress)

    def _continue(self) -> None:
        """Take up the images that the folder holds."""
        if not self.folder.is_dir():
            return
        if isinstance(self.job, HandEyeJob):
            samples = read_samples(self.folder) if (self.folder / LIST_NAME).exists() else []
            self._poses = {sample.name: sample.T_base_gripper for sample in samples}
            paths = [sample.image for sample in samples]
        else:
            paths = [path for path in self.folder.iterdir() if path.suffix == ".png"]
            paths = list_images(self.folder) if paths else []
        for path in paths:
            gray = to_grey(read_image(path))
            self._views |= {view.name: view for view in detect(self.job.board, [(path.stem, gray)])[0]}
        self._plan()

    def _planned(self, found: Guidance) -> Guidance:
        """Return guidance with what the hand-eye calibration of the moment asks for, once there is one."""
        if not found.is_useful:
            return found
        if self._problem:
            return replace(found, advice=self._problem)
        if self._next_poses:
            return Guidance(True, f"next pose worth taking: {self._next_poses[0]}")
        return found

    def _check_size(self, rgb: Image) -> None:
        first = next(iter(self._views.values()), None)
        wanted = first.image_wh if first else self._camera.wh if self._camera else None
        wh = rgb.shape[1], rgb.shape[0]
        if wanted is not None and wh != wanted:
            raise CalibrationError(
                f"the image is {wh[0]}x{wh[1]}, others are {wanted[0]}x{wanted[1]}", "a camera has one resolution"
            )

    def _next_number(self) -> int:
        taken = [int(name) for name in self._views if name.isdigit()]
        return 1 + max(taken, default=-1)

    def _write_list(self) -> None:
        samples = [RobotSample(self.folder / f"{name}.png", pose) for name, pose in self._poses.items()]
        write_samples(self.folder, samples)

    def _plan(self) -> None:
        """Calibrate hand-eye for the moment, to know which pose is worth going to next."""
        self._next_poses, self._problem = (), ""
        if not isinstance(self.job, HandEyeJob) or self._camera is None or len(self._views) < MIN_SAMPLES:
            return
        config = replace(self.job.config, bootstraps=_LIVE_BOOTSTRAPS)
        names = [name for name in self._views if name in self._poses]
        poses = np.stack([self._poses[name] for name in names])
        try:
            found = calibrate_hand_eye(self._camera, self.job.board, [self._views[n] for n in names], poses, config)
            self._next_poses = tuple(next_poses(found, self._camera, self.job.board))
        except CalibrationError as error:
            self._problem = str(error)


def draw_capture(capture: Capture, job: IntrinsicsJob | HandEyeJob, advice: str = "") -> Image:
    """Return the image of a capture with the points found, the regions covered and the view to show next.

    ``advice`` takes the place of the capture's own.
    """
    canvas = Canvas(capture.rgb)
    height, width = capture.rgb.shape[:2]
    if capture.coverage is not None:
        rows, columns = capture.coverage.points.shape
        size = np.array([width / columns, height / rows])
        for row, column in np.argwhere(capture.coverage.is_covered):
            corner = size * [column, row]
            canvas.rectangle(np.concatenate([corner + 3.0, corner + size - 3.0]), _COVERED, 1.0)
    for pixel in capture.pixels:
        canvas.dot(pixel, _SEEN)
    if capture.wanted is not None:
        contour = capture.wanted.contour(job.board, (width, height))
        for start, end in zip(contour, np.roll(contour, -1, axis=0)):
            canvas.line(start, end, _WANTED, 3.0)
    if advice or capture.advice:
        canvas.tag(advice or capture.advice, np.array([4.0, float(height)]), _WANTED)
    return canvas.finish()


def capture_to_json(capture: Capture, job: IntrinsicsJob | HandEyeJob) -> Mapping[str, Any]:
    """Return what a page shows of a capture; pixels are those of its image."""
    height, width = capture.rgb.shape[:2]
    wanted, covered = capture.wanted, capture.coverage
    return {
        "found": capture.found,
        "useful": capture.is_useful,
        "kept_as": capture.kept_as or None,
        "images": capture.images,
        "size_wh": [width, height],
        "corners": np.round(capture.pixels, 2).tolist(),
        "advice": capture.advice,
        "wanted": None if wanted is None else np.round(wanted.contour(job.board, (width, height)), 1).tolist(),
        "coverage": None
        if covered is None
        else {
            "points": covered.points.tolist(),
            "covered": covered.is_covered.tolist(),
            "share": covered.seen_share,
            "missing": [view.advice for view in covered.missing()],
        },
        "next_poses": [
            {
                "T_base_gripper": pose.T_base_gripper.tolist(),
                "text": str(pose),
                "sigma_mm_before": pose.sigma_mm[0],
                "sigma_mm_after": pose.sigma_mm[1],
            }
            for pose in capture.next_poses
        ],
    }
