"""Parts that nothing was trained on: prepared from their CAD files and found in depth, simulated and real.

The real frames lie in ``shared/data`` beside the checkout: one RGB-D frame of LM-O, 40 of an RGB-D recording.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import Benchmark, check, criteria_table, plain, progress, report
from benchmarks.lmo import RGBD_IMAGE, SCENE, find_lmo
from benchmarks.rbt_check import Recording, read_recording, share_of_diameter
from object_pose.core.metrics.pose import ADD_SHARE, FrameMatches, match_frame, score_frames
from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.pose_runner import MIN_SCORE, bop_frames
from object_pose.evaluation.rendered import rendered_frames
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.resources import find, find_data
from object_pose.simulation.parts.objects import PARTS, load_bop_objects
from object_pose.simulation.parts.procedural import PART_NAMES
from object_pose.simulation.scenes.scene import TEST_SCENES
from object_pose.simulation.seeds import TEST
from object_pose.workflows.prepare_parts import PreparePartsConfig, prepare_parts

_SEED = TEST.seed(77_000_021)
MIN_VISIBILITY = 0.6
_LMO_MIN_VISIBILITY = 0.1  # LM-O calls every object visible above a tenth a target
_RBT_NAMES = ("dragon", "cube")
CRITERIA = (
    Criterion("prepare_s", 20.0, at_most=True),
    Criterion("untrained.recall_add_01d", 0.85),
    Criterion("untrained.precision", 0.95),
    Criterion("untrained.ms_per_frame", 1500.0, at_most=True),
    Criterion("untrained.lmo_rgbd_correct", 5),
    Criterion("untrained.rbt_recall", 0.90),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--frames", type=int, default=60, help="rendered frames of the six parts")
    parser.add_argument("--seed", type=int, default=_SEED, help="seed of the rendered frames")
    parser.add_argument("--only", choices=("rendered", "lmo", "rbt"), help="one of the three sets of frames")


def run(options: argparse.Namespace) -> int:
    """Prepare the parts, find them, print the table and write summary.json."""
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {"prepare_s": 0.0, "untrained": {}}
    parts = {"rendered": _rendered, "lmo": _lmo, "rbt": _rbt}
    for name, measure in parts.items():
        if options.only in (None, name):
            prepare_s, found = measure(options)
            figures["prepare_s"] = max(figures["prepare_s"], prepare_s)
            figures["untrained"] |= found
    return report_beside(options, figures, CRITERIA, required=options.only is None)


def report_beside(
    options: argparse.Namespace, figures: dict[str, Any], criteria: Sequence[Criterion], required: bool
) -> int:
    """Report figures and write them into summary.json beside those of the other check of own parts."""
    path = options.output / "summary.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    verdicts = check(figures, criteria, required=required)
    met = all(verdict["met"] is not False for verdict in verdicts.values())
    bars = {**before.get("bars", {}), **verdicts}
    summary = {**before, **figures, "bars": bars, "met": all(verdict["met"] is not False for verdict in bars.values())}
    report(options, plain(summary, 4), path, criteria_table({"": verdicts}))
    return 0 if met else 1


def open_parts(files: Sequence[Path], unit: str, profile: str = "live") -> tuple[PoseEstimator, float]:
    """Return the estimator of parts, and what the slowest of them took to be prepared, nothing kept from before."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_parts(PreparePartsConfig(tuple(files), unit), Path(folder))
        return PoseEstimator(prepared.path, profile=profile), max(prepared.prepare_s.values())


def _rendered(options: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    files = [find("models", f"meshes/{name}.stl") for name in PART_NAMES]
    estimator, prepare_s = open_parts(files, "m")
    frames = rendered_frames(PARTS, options.frames, options.seed, TEST_SCENES)
    matches: list[FrameMatches] = []
    times_ms = []
    for item in progress(frames, "rendered", options.frames):
        found = estimator.register(item.frame)
        times_ms.append(found.timings_ms["total"])
        matches.append(match_frame(found.results.poses, item.truths, estimator.card.objects, MIN_VISIBILITY))
    score = score_frames(matches)
    return prepare_s, {
        "recall_add_01d": score.recall_add_01d,
        "precision": score.precision,
        "translation_error_mm_p50": score.translation_error_mm_p50,
        "rotation_error_deg_p50": score.rotation_error_deg_p50,
        "recall_per_class": score.recall_per_class,
        "targets": score.targets,
        # The first frame compiles what is not kept yet.
        "ms_per_frame": median(times_ms[1:] or times_ms),
    }


def _lmo(options: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    data = find_lmo()
    objects = [item.model for item in load_bop_objects(data / "models")]
    files = [data / "models" / f"{model.name}.ply" for model in objects]
    estimator, prepare_s = open_parts(files, "mm", profile="single_image")
    labels = [model.name for model in objects]
    (target,) = (item for item in bop_frames(data / SCENE, labels) if item.image_id == RGBD_IMAGE)
    found = estimator.register(target.frame)
    matched = match_frame(found.results.poses, target.truths, objects, _LMO_MIN_VISIBILITY)
    return prepare_s, {
        "lmo_rgbd_correct": sum(match.is_correct for match in matched.matches),
        "lmo_ms": found.timings_ms["total"],
        "lmo": {match.truth.class_name: [match.add_share, match.pose.score] for match in matched.matches},
    }


def _rbt(options: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    data = find_data("rbt")
    recording = read_recording(data)
    files = [data / "models" / f"obj_{number:06d}.ply" for number in (1, 2)]
    estimator, prepare_s = open_parts(files, "mm", profile="single_image")
    return prepare_s, rbt_figures(estimator, recording)


def rbt_figures(estimator: PoseEstimator, recording: Recording, with_depth: bool = True) -> dict[str, Any]:
    """Return how often each object of the recording is found in its frames, each taken alone."""
    correct, accepted = (np.zeros((len(recording.frames), len(_RBT_NAMES)), dtype=bool) for _ in range(2))
    false_poses, times_ms = 0, []
    for row, frame in enumerate(progress(recording.frames, "rbt" if with_depth else "rbt, colour alone")):
        found = estimator.register(frame if with_depth else replace(frame, depth_m=None))
        times_ms.append(found.timings_ms["total"])
        for class_id, name in enumerate(_RBT_NAMES):
            poses = [pose for pose in found.results.poses if pose.class_id == class_id]
            for pose in sorted(poses, key=lambda pose: -pose.score)[:1]:
                truth, model = recording.truths[row, class_id], recording.objects[class_id]
                is_right = share_of_diameter(pose.T_camera_object, truth, model, name) < ADD_SHARE
                correct[row, class_id] = is_right
                accepted[row, class_id] = is_right and pose.score >= MIN_SCORE
                false_poses += not is_right and pose.score >= MIN_SCORE
    return {
        # There is one of each: its pose of the highest score counts.
        "rbt_recall": float(correct.mean()),
        "rbt_recall_per_class": dict(zip(_RBT_NAMES, correct.mean(axis=0).tolist())),
        "rbt_recall_accepted": float(accepted.mean()),
        "rbt_false_poses": false_poses,
        "rbt_ms": median(times_ms),
    }


BENCHMARK = Benchmark("own_parts_check", __doc__ or "", add_options, run, Path("out/own_parts"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
