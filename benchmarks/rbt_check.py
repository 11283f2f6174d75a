"""Two real objects tracked through a recorded sequence from their first true poses, without any detection.

The sequence lies in ``shared/data/rbt`` beside the checkout: a dragon and a textured cube before a moving RGB-D camera.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import Benchmark, check, criteria_table, plain, progress, report
from benchmarks.motion import Motion
from object_pose.core.arrays import Array, Mask
from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.metrics.pose import ADD_SHARE
from object_pose.core.object_model import ObjectModel
from object_pose.core.tracking.aligner import FrameAligner
from object_pose.core.tracking.view_model import ViewModel
from object_pose.evaluation.criteria import Criterion
from object_pose.io.bop import MM, read_bop_scene
from object_pose.runtime.resources import DATA_VARIABLE, find_data
from object_pose.simulation.parts.objects import load_bop_objects

SCENE = "test/000001"
_NAMES = {1: "dragon", 2: "cube"}
# The cube's mesh has no colours: each of its 24 rotations is as good as any other.
_MANY_ROTATIONS = "cube"
_RATE_HZ = 30.0
# How well the first true poses are known: metres and radians.
_START_SIGMAS = np.repeat([0.001, 0.02], 3)
_DEPTH, _COLOR = "depth", "color"
_SHARES = {_DEPTH: {"dragon": 0.99, "cube": 0.99}, _COLOR: {"dragon": 0.90, "cube": 0.90}}
_DEPTH_P90_MM, _SPREAD_MM, _SPREAD_DEG = 7.0, 3.0, 2.5
CRITERIA = (
    *(Criterion(f"{mode}.{name}.tracked_share", share) for mode in _SHARES for name, share in _SHARES[mode].items()),
    *(Criterion(f"{_DEPTH}.{name}.p90_translation_mm", _DEPTH_P90_MM, at_most=True) for name in _NAMES.values()),
    Criterion(f"{_DEPTH}.relative_spread.p90_mm", _SPREAD_MM, at_most=True),
    Criterion(f"{_DEPTH}.relative_spread.p90_deg", _SPREAD_DEG, at_most=True),
)


@dataclass(frozen=True)
class Recording:
    """F frames, and the true poses (F, N, 4, 4) of the N ``objects``, at the moments of their depth images."""

    frames: Sequence[Frame]
    objects: Sequence[ObjectModel]
    truths: Array


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--data", type=Path, help=f"sequence (default: ${DATA_VARIABLE}/rbt, ../shared/data/rbt)")
    parser.add_argument("--only", choices=(_DEPTH, _COLOR), help="track with depth and colour, or with colour alone")


def run(options: argparse.Namespace) -> int:
    """Track with depth and without it, print the table and write summary.json."""
    cv2.setNumThreads(1)  # figures of time are of one core
    recording = read_recording(options.data or find_data("rbt"))
    models = [ViewModel.of(model) for model in recording.objects]
    modes = [options.only] if options.only else list(_SHARES)
    figures: dict[str, Any] = {}
    for mode in modes:
        tracked = track(recording, models, mode == _DEPTH)
        figures[mode] = score(recording, tracked.poses, tracked.is_tracked, tracked.times_ms)
    verdicts = check(figures, CRITERIA, required=options.only is None)
    met = all(verdict["met"] is not False for verdict in verdicts.values())
    summary = plain({**figures, **_overall(figures[modes[0]]), "bars": verdicts, "met": met}, 4)
    report(options, summary, options.output / "summary.json", criteria_table({"": verdicts}), *_times(figures))
    return 0 if met else 1


def read_recording(folder: Path) -> Recording:
    """Read the sequence and its models; raises ``DataError`` where they are not as expected."""
    objects = [item.model for item in load_bop_objects(folder / "models", _NAMES)]
    frames = [item.frame for item in read_bop_scene(folder / SCENE, {})]
    file = folder / SCENE / "scene_gt.json"
    try:
        truths = json.loads(file.read_text())
        poses = [[_pose(truths[str(index)], object_id) for object_id in _NAMES] for index in range(len(frames))]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{file} has no pose of each object in every frame: {error!r}") from error
    return Recording(frames, objects, np.array(poses))


def _pose(items: Sequence[dict[str, Any]], object_id: int) -> Array:
    (item,) = (item for item in items if item["obj_id"] == object_id)
    return se3.make_transform(np.reshape(item["cam_R_m2c"], (3, 3)), np.array(item["cam_t_m2c"]) * MM)


@dataclass(frozen=True)
class Tracked:
    """Poses (F, N, 4, 4) with covariances (F, N, 6, 6), whether they were tracked (F, N), times (F - 1,) in ms."""

    poses: Array
    covariances: Array
    is_tracked: Mask
    times_ms: Array


def track(recording: Recording, models: Sequence[ViewModel], with_depth: bool) -> Tracked:
    """Track through the recording, with depth or by colour alone.

    The first poses are the true ones. Nothing is found anew: an object that is lost is looked for where it is expected.
    """
    aligner = FrameAligner(models)
    count = len(models)
    class_ids, covariances = np.arange(count), np.tile(np.diag(_START_SIGMAS**2), (count, 1, 1))
    motion = Motion.starting(recording.truths[0], covariances)
    aligner.learn(recording.frames[0], class_ids, motion.poses)
    poses, is_tracked, times_ms, found = [motion.poses], [np.ones(count, dtype=bool)], [], [covariances]
    for frame in progress(recording.frames[1:], "depth and colour" if with_depth else "colour"):
        seen = frame if with_depth else replace(frame, depth_m=None)
        start = time.perf_counter()
        expected = motion.predicted(1.0 / _RATE_HZ)
        aligned = aligner.align(seen, class_ids, expected.poses, expected.information)
        motion = expected.aligned(aligned.T_camera_object, aligned.covariance, aligned.is_tracked)
        times_ms.append((time.perf_counter() - start) * 1e3)
        poses.append(motion.poses)
        is_tracked.append(aligned.is_tracked)
        found.append(motion.covariances[:, :6, :6])
    return Tracked(np.array(poses), np.array(found), np.array(is_tracked), np.array(times_ms))


def score(recording: Recording, poses: Array, is_tracked: Mask, times_ms: Array) -> dict[str, Any]:
    """Return the figures of poses (F, N, 4, 4); the first ones were given and do not count."""
    figures: dict[str, Any] = {}
    for index, (name, model) in enumerate(zip(_NAMES.values(), recording.objects)):
        pairs = zip(poses[1:, index], recording.truths[1:, index])
        errors = np.array([_errors(pose, truth, model, name == _MANY_ROTATIONS) for pose, truth in pairs])
        figures[name] = {
            "tracked_share": float(np.mean(errors[:, 0] < ADD_SHARE * model.diameter)),
            "p90_translation_mm": float(np.percentile(errors[:, 1], 90)) * 1e3,
            "p90_rotation_deg": float(np.degrees(np.percentile(errors[:, 2], 90))),
            "said_lost": int(np.count_nonzero(~is_tracked[1:, index])),
        }
    figures["relative_spread"] = _spread(se3.inverse(poses[1:, 1]) @ poses[1:, 0])
    # The first frame compiles what is not kept yet.
    figures["ms_per_frame"] = float(np.median(times_ms[1:]))
    return figures


def share_of_diameter(pose: Array, truth: Array, model: ObjectModel, name: str) -> float:
    """Return ADD of a pose (4, 4) of the object of a name, as a share of its diameter."""
    return _errors(pose, truth, model, name == _MANY_ROTATIONS)[0] / model.diameter


def _errors(pose: Array, truth: Array, model: ObjectModel, many_rotations: bool) -> tuple[float, float, float]:
    """Return ADD in metres, and the errors of translation and rotation in metres and radians."""
    candidates = [truth @ turn for turn in _rotations()] if many_rotations else [truth]
    nearest = min(candidates, key=lambda item: se3.rotation_angle(pose[:3, :3], item[:3, :3]))
    offsets = se3.apply(pose, model.points_object) - se3.apply(nearest, model.points_object)
    translation = float(np.linalg.norm(pose[:3, 3] - nearest[:3, 3]))
    add = float(np.mean(np.linalg.norm(offsets, axis=1)))
    return add, translation, se3.rotation_angle(pose[:3, :3], nearest[:3, :3])


def _rotations() -> list[Array]:
    """Return the 24 rotations (4, 4) of a cube."""
    signed = itertools.product(itertools.permutations(np.eye(3)), itertools.product((1.0, -1.0), repeat=3))
    matrices = [np.array(rows) * np.array(signs)[:, None] for rows, signs in signed]
    return [se3.make_transform(matrix) for matrix in matrices if np.linalg.det(matrix) > 0.0]


def _spread(relative: Array) -> dict[str, float]:
    """Return how far the poses (F, 4, 4) of one object before another are from their mean, in 9 of 10 frames."""
    left, _, right = np.linalg.svd(relative[:, :3, :3].mean(axis=0))
    mean = left @ right
    offsets = np.linalg.norm(relative[:, :3, 3] - relative[:, :3, 3].mean(axis=0), axis=1)
    turns = [se3.rotation_angle(mean, item[:3, :3]) for item in relative]
    return {"p90_mm": float(np.percentile(offsets, 90)) * 1e3, "p90_deg": float(np.degrees(np.percentile(turns, 90)))}


def _overall(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that are not of one object."""
    return {name: figures[name] for name in ("relative_spread", "ms_per_frame")}


def _times(figures: dict[str, Any]) -> list[str]:
    return [f"{mode}: {item['ms_per_frame']:.2f} ms a frame of {len(_NAMES)} objects" for mode, item in figures.items()]


BENCHMARK = Benchmark("rbt_check", __doc__ or "", add_options, run, Path("out/rbt"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
