"""Accuracy, covariances, scores and tracking of poses on unseen frames, each figure beside its acceptance criterion.

Rendered frames show up to ten parts at 0.4 to 0.8 m in light that training never draws; targets are visible to a tenth
or more. The depth camera's scale is calibrated there; ``uncalibrated_depth`` are the figures with scales that are wrong
by up to a hundredth. Every pose of a single image counts, whatever its score; recall is BOP's: as many of the
best-scored poses as there are targets. ``planner`` are the figures of the poses that a camera's subscribers get, which
are those above a score.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, check, criteria_table, plain, progress, report
from benchmarks.live_tracking import RATE_HZ, track_handled_scene
from benchmarks.lmo import RGBD_IMAGE, SCENE, find_lmo
from benchmarks.tracking_score import track_live_scene
from object_pose.cli.options import add_model_option, model_file
from object_pose.core.errors import DataError
from object_pose.core.metrics.bop import MIN_VISIBILITY
from object_pose.core.metrics.pose import FrameMatches
from object_pose.core.metrics.uncertainty import CovarianceScore, expected_calibration_error, score_covariances
from object_pose.core.pose.config import SINGLE_IMAGE
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.evaluation.bop_scorer import BopScorer
from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.pose_runner import LabelledFrame, PoseEvaluation, bop_frames, evaluate_pose
from object_pose.evaluation.rendered import rendered_frames
from object_pose.runtime.pose_estimator import FrameEstimate, PoseEstimator
from object_pose.runtime.resources import DATA_VARIABLE
from object_pose.simulation.parts.objects import PARTS, load_objects
from object_pose.simulation.scenes.live import LiveConfig, LiveScene
from object_pose.simulation.scenes.scene import MAX_DEPTH_SCALE_ERROR, TEST_SCENES
from object_pose.simulation.seeds import TEST
from object_pose.workflows.parallel import in_order, local_runner

CRITERIA = (
    Criterion("ar_bop", 0.85),
    Criterion("recall_add_01d", 0.96),
    Criterion("translation_error_mm.p50", 1.0, at_most=True),
    Criterion("rotation_error_deg.p50", 1.0, at_most=True),
    Criterion("ar_mspd_rgb", 0.80),
    Criterion("nees_within_95.translation", 0.90),
    Criterion("nees_within_95.rotation", 0.90),
    Criterion("ece", 0.05, at_most=True),
    Criterion("id_switches", 1.0, at_most=True),
    Criterion("lost_identities", 0.0, at_most=True),
    Criterion("jitter_mm", 0.3, at_most=True),
    Criterion("sequence_nees.translation", 0.75),
    Criterion("sequence_nees.rotation", 0.75),
    Criterion("track.recall", 0.95),
    Criterion("track.id_switches", 1.0, at_most=True),
    Criterion("track.lost_and_not_said", 0.0, at_most=True),
    Criterion("track.nees_within_95.translation", 0.90),
    Criterion("track.nees_within_95.rotation", 0.90),
    Criterion("track_color.nees_within_95.translation", 0.90),
    Criterion("track_color.nees_within_95.rotation", 0.90),
    Criterion("lmo_rgb_ar_mspd", 0.55),
    Criterion("lmo_rgb_recall_add_01d", 0.35),
    Criterion("rgbd_correct", 6.0),
)
_FRAMES_SEED = TEST.seed(100_000_001)
_SCENES = dataclasses.replace(TEST_SCENES, min_distance_m=0.4, max_distance_m=0.8, max_objects=10)
_SEQUENCE_SEED = TEST.seed(100_000_002)
_SEQUENCE_RATE_HZ = 15.0
# Wide enough to hide whole parts for a moment, which the default arm does not.
_ARM_RADIUS_M = 0.12
# A camera of up to 0.6 m/s and 95 degrees/s.
_LIVE_SEED, _FAST, _LIVE_ARM_RADIUS_M = TEST.seed(100_000_003), 6.0, 0.06
_UNCALIBRATED_SHARE = 4
_COLOR_PART = 3  # of the sequence's length
_DIGITS = 4
# A name in the summary and what measures it, in any process.
_Measurement = tuple[str, Callable[[], Any]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_model_option(parser, "parts.onnx", "model of the procedural parts")
    parser.add_argument("--lmo-model", type=model_file, default="lmo.onnx", help="model of LM-O's objects")
    parser.add_argument("--data", type=Path, help=f"LM-O folder (default: ${DATA_VARIABLE}/lmo, ../shared/data/lmo)")
    parser.add_argument("--frames", type=int, default=200, help="rendered frames (default: %(default)s)")
    parser.add_argument("--sequence-seconds", type=float, default=60.0, help="length of the tracked sequence, 0: none")
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="processes that measure; with more than one, frame_ms is longer (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Measure, write summary.json, print the criteria; 1 where one is not met."""
    data = options.data or _lmo_if_there()
    figures = dict(in_order(local_runner(options.workers)(_measure, _measurements(options, data))))
    summary = _rendered_json(*(figures.pop(name) for name in ("calibrated", "rgb", "uncalibrated")))
    summary |= figures.pop("sequence", {}) | figures.pop("lmo", {}) | figures
    verdicts = check(summary, CRITERIA, required=False)
    summary = plain(summary | {"bars": verdicts}, _DIGITS)
    report(options, summary, options.output / "summary.json", criteria_table({"": summary["bars"]}))
    return 0 if all(verdict["met"] is not False for verdict in verdicts.values()) else 1


def _measurements(options: argparse.Namespace, data: Path | None) -> list[_Measurement]:
    """Return what is measured, each on its own, the longest first."""
    model, frames, seconds = options.model, options.frames, options.sequence_seconds
    fewer = max(frames // _UNCALIBRATED_SHARE, 1)
    measurements: list[_Measurement] = [
        ("rgb", partial(_run_rendered, model, False, frames, _FRAMES_SEED, 0.0, "RGB only")),
        ("calibrated", partial(_run_rendered, model, True, frames, _FRAMES_SEED, 0.0, "RGB-D")),
    ]
    if data is not None:
        next(bop_frames(data / SCENE, ()))  # the user learns at once of a folder that holds none
        measurements.append(("lmo", partial(check_lmo, options.lmo_model, data)))
    if seconds > 0.0:
        measurements += [
            ("track", partial(check_live_tracking, model, seconds)),
            ("sequence", partial(check_tracking, model, seconds)),
            ("track_color", partial(check_live_tracking, model, seconds / _COLOR_PART, with_depth=False)),
        ]
    scale, title = MAX_DEPTH_SCALE_ERROR, "RGB-D, depth scale wrong"
    return [*measurements, ("uncalibrated", partial(_run_rendered, model, True, fewer, _FRAMES_SEED, scale, title))]


def _measure(measurement: _Measurement) -> tuple[str, Any]:
    name, work = measurement
    return name, work()


def _lmo_if_there() -> Path | None:
    """Return where LM-O lies, or say that its figures are left out."""
    try:
        return find_lmo()
    except DataError as error:
        print(f"without real frames: {error}", file=sys.stderr)
        return None


def _rendered_json(calibrated: _Run, rgb: _Run, uncalibrated: _Run) -> dict[str, Any]:
    """Return the figures of rendered frames: RGB-D, the same RGB only, and miscalibrated depth."""
    assert calibrated.evaluation.bop and rgb.evaluation.bop
    return {
        **calibrated.to_json(),
        "seed": _FRAMES_SEED,
        "depth_scale_error": 0.0,
        "lighting": _SCENES.lighting,
        **{f"ar_{name}": getattr(calibrated.evaluation.bop.total, f"ar_{name}") for name in ("vsd", "mssd", "mspd")},
        "ar_mspd_rgb": rgb.evaluation.bop.total.ar_mspd,
        "rgb": rgb.to_json(),
        "uncalibrated_depth": {"depth_scale_error": MAX_DEPTH_SCALE_ERROR, **uncalibrated.to_json()},
        "by_distance_m": calibrated.evaluation.bop.to_json()["by_distance_m"],
        "by_visibility": calibrated.evaluation.bop.to_json()["by_visibility"],
    }


def check_lmo(model: Path, data: Path) -> dict[str, Any]:
    """Measure a model of LM-O's objects on its real frames: all in colour alone, and the one with depth."""
    colour_pipeline, depth_pipeline = (_single_image_pipeline(model, use) for use in (False, True))
    frames = list(bop_frames(data / SCENE, colour_pipeline.card.labels))
    colour = _run(colour_pipeline, frames, "LM-O, RGB", len(frames))
    rgbd = _run(depth_pipeline, [frame for frame in frames if frame.image_id == RGBD_IMAGE], "LM-O, RGB-D", 1)
    assert colour.evaluation.bop
    return {
        "lmo_frames": colour.evaluation.frames,
        "lmo_rgb_ar_mspd": colour.evaluation.bop.total.ar_mspd,
        "lmo_rgb_ar_mssd": colour.evaluation.bop.total.ar_mssd,
        "lmo_rgb_recall_add_01d": colour.evaluation.bop.total.recall_add_01d,
        "lmo_rgb_planner": colour.for_planner(),
        "rgbd_correct": sum(match.is_correct for frame in rgbd.matches for match in frame.matches),
        "rgbd_targets": rgbd.evaluation.score.targets,
    }


def check_tracking(model: Path, seconds: float, seed: int = _SEQUENCE_SEED) -> dict[str, Any]:
    """Track the simulated camera's scene: switches a minute, identities lost by short occlusions, jitter."""
    pipeline = PoseEstimator(model, tracker_config=TrackerConfig())
    scene = LiveScene(seed, LiveConfig(arm_radius_m=_ARM_RADIUS_M))
    steps = track_live_scene(pipeline, scene, seconds, _SEQUENCE_RATE_HZ)
    *_, scorer = progress(steps, "sequence", round(seconds * _SEQUENCE_RATE_HZ))
    score = scorer.score()
    return {
        "sequence_seconds": score.seconds,
        "sequence_recall": score.recall,
        "id_switches": score.id_switches_per_minute,
        "short_occlusions": score.short_occlusions,
        # Without an occlusion nothing was tried, so nothing is passed either.
        "lost_identities": score.lost_identities if score.short_occlusions else None,
        "jitter_mm": score.jitter_mm_p95,
        # Of three directions: less than a quarter of that, and sigma is twice the error.
        "sequence_nees": {"translation": score.translation.mean_of_3, "rotation": score.rotation.mean_of_3},
        "sequence_within_95": {"translation": score.translation.within_95, "rotation": score.rotation.within_95},
    }


def check_live_tracking(model: Path, seconds: float, seed: int = _LIVE_SEED, with_depth: bool = True) -> dict[str, Any]:
    """Track every frame beside late detections: a fast camera of unknown motion, and parts that come and go."""
    estimator = PoseEstimator(model, tracker_config=TrackerConfig())
    scene = LiveScene(seed, LiveConfig(motion=_FAST, handling=True, arm_radius_m=_LIVE_ARM_RADIUS_M))
    steps = track_handled_scene(estimator, scene, seconds, with_depth=with_depth)
    title = "live tracking" if with_depth else "live tracking, colour alone"
    *_, scorer = progress(steps, title, round(seconds * RATE_HZ))
    score = scorer.score()
    return {
        "seconds": score.seconds,
        "recall": score.recall,
        "precision": score.precision,
        "id_switches": score.id_switches_per_minute,
        "lost_and_not_said": score.lost_and_not_said,
        "beyond_covariance": score.beyond_covariance,
        "nees_within_95": {"translation": score.translation_within_95, "rotation": score.rotation_within_95},
        "translation_error_mm_p50": score.translation_error_mm_p50,
    }


@dataclass(frozen=True)
class _Run:
    """One model over one set of frames."""

    evaluation: PoseEvaluation
    matches: tuple[FrameMatches, ...]
    covariances: CovarianceScore

    @property
    def ece(self) -> float:
        """How far scores are from the share of poses that are correct."""
        checked = [(match.pose.score, match.is_correct) for frame in self.matches for match in frame.matches]
        checked += [(pose.score, False) for frame in self.matches for pose in frame.false_poses]
        return expected_calibration_error([score for score, _ in checked], [right for _, right in checked])

    def for_planner(self) -> dict[str, float | None]:
        """What of it a planner is given, which takes poses from the score on that a camera's poses must have."""
        return self.evaluation.accepted_json()

    def to_json(self) -> dict[str, Any]:
        score, covariances, bop = self.evaluation.score, self.covariances, self.evaluation.bop
        assert bop
        return {
            "frames": self.evaluation.frames,
            "targets": score.targets,
            "ar_bop": bop.total.ar_bop,
            "recall_add_01d": bop.total.recall_add_01d,
            "planner": self.for_planner(),
            "translation_error_mm": {"p50": score.translation_error_mm_p50, "p95": score.translation_error_mm_p95},
            "rotation_error_deg": {"p50": score.rotation_error_deg_p50, "p95": score.rotation_error_deg_p95},
            "nees_within_95": {
                "translation": covariances.translation_within_95,
                "rotation": covariances.rotation_within_95,
            },
            "sigma_p50": {
                "translation_mm": covariances.translation_sigma_mm_p50,
                "rotation_deg": covariances.rotation_sigma_deg_p50,
            },
            "ece": self.ece,
            "frame_ms": self.evaluation.timings_ms["total"],
            "per_object": {name: dataclasses.asdict(group) for name, group in bop.per_object.items()},
        }


def _run_rendered(model: Path, use_depth: bool, frames: int, seed: int, scale_error: float, title: str) -> _Run:
    pipeline = _single_image_pipeline(model, use_depth)
    items = rendered_frames(PARTS, frames, seed, _SCENES, depth_scale_error=scale_error)
    scorer = BopScorer(pipeline.card.objects, lambda: [item.mesh for item in load_objects(PARTS)])
    return _run(pipeline, items, title, frames, scorer)


def _run(
    pipeline: PoseEstimator, frames: Iterable[LabelledFrame], title: str, count: int, bop: BopScorer | None = None
) -> _Run:
    matches: list[FrameMatches] = []
    objects = pipeline.card.objects

    def keep(item: LabelledFrame, result: FrameEstimate, found: FrameMatches) -> None:
        matches.append(found)

    evaluation = evaluate_pose(
        pipeline, progress(frames, title, count), MIN_VISIBILITY, keep, bop or BopScorer(objects)
    )
    pairs = [match for frame in matches for match in frame.matches]
    covariances = score_covariances(pairs, [model.symmetry for model in objects])
    return _Run(evaluation, tuple(matches), covariances)


def _single_image_pipeline(model: Path, use_depth: bool) -> PoseEstimator:
    solver = dataclasses.replace(SINGLE_IMAGE.solver, use_depth=use_depth)
    return PoseEstimator(model, solver_config=solver, profile="single_image")


BENCHMARK = Benchmark("pose_check", "accuracy, covariances and tracking of poses", add_options, run, Path("out/pose"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
