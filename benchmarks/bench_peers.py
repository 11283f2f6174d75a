"""Parts registered and tracked from their meshes, beside OpenCV's surface_matching and Open3D, on the same frames.

Peers that are not installed are left out with the reason. They are told which parts are in a frame, and get its points
without tables and walls: neither is part of their times.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from rich.table import Table

from benchmarks.baselines import Open3dMethod
from benchmarks.harness import Benchmark, plain, progress, report
from benchmarks.own_parts_check import MIN_VISIBILITY, open_parts
from benchmarks.rbt_check import Recording, read_recording, score, track
from object_pose.core.arrays import Array, Mask
from object_pose.core.errors import ConfigError, DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.matching.matcher import MatchScene, PartMatcher
from object_pose.core.matching.oriented_depth import even_points
from object_pose.core.matching.part_model import PartModel
from object_pose.core.metrics.pose import FrameMatches, PoseScore, match_frame, score_frames
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.config import DepthConfig
from object_pose.core.pose.depth_evidence import DepthNoise, make_depth_view
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.view_model import ViewModel
from object_pose.evaluation.pose_runner import LabelledFrame
from object_pose.evaluation.rendered import rendered_frames
from object_pose.runtime.part_registration import PartRegistration
from object_pose.runtime.resources import find, find_data
from object_pose.simulation.parts.objects import PARTS, load_bop_objects, part_objects
from object_pose.simulation.parts.procedural import PART_NAMES
from object_pose.simulation.scenes.scene import TEST_SCENES
from object_pose.simulation.seeds import TEST

_SEED = TEST.seed(77_100_021)
_SPACING_M = 0.004  # of the points that peers get
_SURFACE_MATCHING = "opencv_surface_matching"
# OpenCV's own example: sampling and distance steps relative to the diameter, angles, share of reference points.
_PPF_STEP, _PPF_ANGLES, _PPF_REFERENCES, _PPF_DISTANCE = 0.05, 30, 1.0 / 5.0, 0.03
_PPF_REFINED = 20
_PPF_UNIT = 1e3  # it finds more in millimetres (docs/decisions/0023-parts-without-training.md)
_ICP = (100, 0.005, 2.5, 4)  # iterations, tolerance, rejection scale and levels
_LEAST_FITNESS, _LEAST_POINTS = 0.1, 25
_AROUND = 0.7  # of a tracked part, in diameters, that a peer's ICP gets

Registration = Callable[["Shot"], Sequence[ObjectPose]]
Alignment = Callable[[int, Array, Array], Array]


@dataclass(frozen=True)
class Shot:
    """A frame with how many of each part it shows, and its points (N, 3) and normals (N, 3) off planes."""

    frame: Frame
    counts: Mapping[int, int]
    points: Array
    normals: Array


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--frames", type=int, default=12, help="rendered frames to register parts in")
    parser.add_argument("--tracked", type=int, default=150, help="recorded frames to track parts through")
    parser.add_argument("--seed", type=int, default=_SEED, help="seed of the rendered frames")


def run(options: argparse.Namespace) -> int:
    """Register and track with every method that is installed, print the tables and write summary.json."""
    cv2.setNumThreads(1)
    skipped = {"visp": _why_no_visp()}
    registered = _registered(options, skipped)
    tracked = _tracked(options, skipped)
    summary = plain({"registration": registered, "tracking": tracked, "skipped": skipped}, 4)
    notes = [f"{name}: left out, {reason}" for name, reason in skipped.items()]
    report(options, summary, options.output / "summary.json", *_tables(registered, tracked), *notes)
    return 0


class SurfaceMatching:
    """OpenCV contrib's point pair features and ICP (Drost et al. 2010); raises ``ConfigError`` where it is missing."""

    def __init__(self, models: Sequence[Array]) -> None:
        if not hasattr(cv2, "ppf_match_3d"):
            raise ConfigError(
                "OpenCV is without contrib", "install opencv-contrib-python-headless in a venv of its own"
            )
        self._ppf: Any = cv2.ppf_match_3d  # type: ignore[attr-defined, unused-ignore]
        self._models = [np.ascontiguousarray(model, dtype=np.float32) for model in models]
        self._detectors: dict[int, Any] = {}

    def register(self, class_id: int, points: Array, normals: Array) -> list[Array]:
        """Return poses (4, 4), those with most votes first, as in OpenCV's example."""
        scene = np.ascontiguousarray(np.concatenate([points * _PPF_UNIT, normals], axis=1), dtype=np.float32)
        model = self._models[class_id] * np.repeat([_PPF_UNIT, 1.0], 3).astype(np.float32)
        if class_id not in self._detectors:
            self._detectors[class_id] = self._ppf.PPF3DDetector(_PPF_STEP, _PPF_STEP, _PPF_ANGLES)
            self._detectors[class_id].trainModel(model)
        found = self._detectors[class_id].match(scene, _PPF_REFERENCES, _PPF_DISTANCE)[:_PPF_REFINED]
        self._ppf.ICP(*_ICP).registerModelToScene(model, scene, found)
        poses = [np.asarray(item.pose) for item in found]
        return [se3.make_transform(pose[:3, :3], pose[:3, 3] / _PPF_UNIT) for pose in poses]

    def align(self, class_id: int, points: Array, start: Array) -> Array:
        """Return a pose (4, 4) aligned with points (N, 3) from a start near it."""
        count, scene = len(points), np.ascontiguousarray(points, dtype=np.float32)
        if count < _LEAST_POINTS:
            return start
        _, scene = self._ppf.computeNormalsPC3d(scene, min(12, count), True, (0.0, 0.0, 0.0))
        model = self._ppf.transformPCPose(self._models[class_id], start)
        _, _, step = self._ppf.ICP(*_ICP).registerModelToScene(model, np.ascontiguousarray(scene))
        return np.asarray(step) @ start


def _registered(options: argparse.Namespace, skipped: dict[str, str]) -> dict[str, Any]:
    """Return the figures of each method on rendered bench scenes of the six parts."""
    files = [find("models", f"meshes/{name}.stl") for name in PART_NAMES]
    estimator, _ = open_parts(files, "m", profile="single_image")
    assert isinstance(estimator.registration, PartRegistration)
    parts = estimator.registration.parts
    objects = [part.model for part in parts]
    methods: dict[str, Registration] = {"object_pose": lambda shot: estimator.register(shot.frame).results.poses}
    if matching := _installed(_SURFACE_MATCHING, lambda: SurfaceMatching(_surfaces(parts)), skipped):
        methods[_SURFACE_MATCHING] = lambda shot: [
            _as_pose(objects[class_id], class_id, pose, rank)
            for class_id, count in shot.counts.items()
            for rank, pose in enumerate(matching.register(class_id, shot.points, shot.normals)[:count])
        ]
    if open3d := _installed("open3d", lambda: Open3dMethod(part_objects(PART_NAMES)), skipped):
        methods["open3d_fpfh_ransac_icp"] = lambda shot: _by_clusters(open3d, shot, objects)
    frames = rendered_frames(PARTS, options.frames, options.seed, TEST_SCENES)
    matches: dict[str, list[FrameMatches]] = {name: [] for name in methods}
    times_ms: dict[str, list[float]] = {name: [] for name in methods}
    matcher = PartMatcher(parts)
    for item in progress(frames, "registration", options.frames):
        shot = _shot(item, matcher)
        for name, method in methods.items():
            start = time.perf_counter()
            poses = method(shot)
            times_ms[name].append((time.perf_counter() - start) * 1e3)
            matches[name].append(match_frame(_best(poses, shot.counts), item.truths, objects, MIN_VISIBILITY))
    return {name: _figures(score_frames(matches[name]), times_ms[name]) for name in methods}


def _tracked(options: argparse.Namespace, skipped: dict[str, str]) -> dict[str, Any]:
    """Return the figures of each method on a recording of two parts, from their true first poses."""
    try:
        data = find_data("rbt")
    except (ConfigError, DataError) as error:
        skipped["tracking"] = str(error)
        return {}
    whole, items = read_recording(data), load_bop_objects(data / "models")
    count = options.tracked
    recording = Recording(whole.frames[:count], whole.objects, whole.truths[:count])
    views = [ViewModel.of(model) for model in recording.objects]
    ours = track(recording, views, with_depth=True)
    figures = {"object_pose": score(recording, ours.poses, ours.is_tracked, ours.times_ms)}
    surfaces = [view.surface.astype(np.float64) for view in views]
    aligners: dict[str, Alignment] = {}
    if matching := _installed(_SURFACE_MATCHING, lambda: SurfaceMatching(surfaces), skipped):
        aligners["opencv_icp"] = matching.align
    if open3d := _installed("open3d", lambda: Open3dMethod(items), skipped):
        aligners["open3d_icp"] = lambda class_id, points, start: open3d.align(class_id, points, start)[0]
    for name, align in aligners.items():
        figures[name] = score(recording, *_track_with(align, recording, name))
    return figures


def _track_with(align: Alignment, recording: Recording, name: str) -> tuple[Array, Mask, Array]:
    """Return the poses (F, N, 4, 4), that all are tracked (F, N), and what a frame took (F - 1,) in ms."""
    poses, times_ms = [recording.truths[0]], []
    for frame in progress(recording.frames[1:], name):
        start = time.perf_counter()
        moved = [
            align(row, _points_around(frame, pose, model), pose)
            for row, (pose, model) in enumerate(zip(poses[-1], recording.objects))
        ]
        times_ms.append((time.perf_counter() - start) * 1e3)
        poses.append(np.stack(moved))
    return np.array(poses), np.ones((len(poses), len(recording.objects)), dtype=bool), np.array(times_ms)


def _points_around(frame: Frame, pose: Array, model: ObjectModel) -> Array:
    """Return the points (N, 3) that a frame measured near a part."""
    assert frame.depth_m is not None
    centre, reach = se3.apply(pose, model.box_center[None])[0], _AROUND * model.diameter
    rows, columns = np.nonzero(np.abs(frame.depth_m - centre[2]) < reach)
    pixels = np.stack([columns, rows], axis=1).astype(np.float64)
    points = frame.camera.backproject(frame.camera.undistort(pixels), frame.depth_m[rows, columns].astype(np.float64))
    return np.asarray(points[np.linalg.norm(points - centre, axis=1) < reach])


def _shot(item: LabelledFrame, matcher: PartMatcher) -> Shot:
    assert item.frame.depth_m is not None
    depth, ids = DepthConfig(), [truth.class_id for truth in item.truths]
    noise = DepthNoise(depth.noise_floor_m, depth.noise_at_1m)
    scene: MatchScene = matcher.prepare(make_depth_view(item.frame.depth_m, item.frame.camera, noise))
    index = even_points(scene.oriented, scene.free, _SPACING_M)
    points, normals = (
        of.reshape(-1, 3)[index].astype(np.float64) for of in (scene.oriented.points, scene.oriented.normals)
    )
    return Shot(item.frame, {class_id: ids.count(class_id) for class_id in sorted(set(ids))}, points, normals)


def _by_clusters(method: Open3dMethod, shot: Shot, objects: Sequence[ObjectModel]) -> list[ObjectPose]:
    """Return a pose of each part in each cluster of points where it fits at all."""
    poses = []
    for cluster in method.clusters(shot.points):
        for class_id in shot.counts:
            pose, fitness = method.register(class_id, cluster)
            if fitness > _LEAST_FITNESS:
                poses.append(replace(_as_pose(objects[class_id], class_id, pose, 0), score=min(fitness, 1.0)))
    return poses


def _best(poses: Sequence[ObjectPose], counts: Mapping[int, int]) -> list[ObjectPose]:
    """Return as many poses of each part as there are in the frame, the best ones."""
    by_score = sorted(poses, key=lambda pose: -pose.score)
    return [
        pose for class_id, count in counts.items() for pose in [p for p in by_score if p.class_id == class_id][:count]
    ]


def _as_pose(model: ObjectModel, class_id: int, pose: Array, rank: int) -> ObjectPose:
    nothing = float("nan")
    measured = np.full((6, 6), nothing), model.box_center, model.box_size, np.zeros(4), nothing, nothing, nothing, True
    return ObjectPose(class_id, model.name, 1.0 / (1.0 + rank), pose, *measured)


def _surfaces(parts: Sequence[PartModel]) -> list[Array]:
    return [part.views.surface.astype(np.float64) for part in parts]


def _installed(name: str, make: Callable[[], Any], skipped: dict[str, str]) -> Any:
    """Return what ``make`` makes; None where it is not installed, which is noted."""
    try:
        return make()
    except ConfigError as error:
        skipped[name] = str(error)
        return None


def _why_no_visp() -> str:
    try:
        importlib.import_module("visp")
    except ImportError as error:
        return f"{error}; Debian's libvisp has no Python module"
    return "its generic tracker needs a CAO model of each part by hand"


def _figures(of: PoseScore, times_ms: Sequence[float]) -> dict[str, Any]:
    return {
        "recall_add_01d": of.recall_add_01d,
        "recall_per_class": of.recall_per_class,
        "precision": of.precision,
        "translation_error_mm_p50": of.translation_error_mm_p50,
        "rotation_error_deg_p50": of.rotation_error_deg_p50,
        "targets": of.targets,
        # The first frame compiles what is not kept yet.
        "ms_per_frame": median(times_ms[1:] or times_ms),
    }


def _tables(registered: dict[str, Any], tracked: dict[str, Any]) -> list[Table]:
    registration = Table("registration", "recall", "precision", "t p50 mm", "r p50 deg", "ms a frame")
    for name, item in registered.items():
        shares = f"{item['recall_add_01d']:.3f}", f"{item['precision']:.3f}"
        errors = f"{item['translation_error_mm_p50']:.2f}", f"{item['rotation_error_deg_p50']:.2f}"
        registration.add_row(name, *shares, *errors, f"{item['ms_per_frame']:.0f}")
    tracking = Table("tracking", "dragon, cube", "t p90 mm", "ms a frame")
    for name, item in tracked.items():
        of = [item[part] for part in ("dragon", "cube")]
        of_parts = [", ".join(f"{part[key]:.2f}" for part in of) for key in ("tracked_share", "p90_translation_mm")]
        tracking.add_row(name, *of_parts, f"{item['ms_per_frame']:.1f}")
    return [registration, tracking]


BENCHMARK = Benchmark("bench_peers", __doc__ or "", add_options, run, Path("out/peers"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
