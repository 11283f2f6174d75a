"""A recorded live run, evaluated offline: the same to the bit, as good as live, and how fast."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, checked, report_checks
from object_pose.cli.processes import child_processes, end_processes
from object_pose.core.pose.config import PROFILES
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.evaluation.criteria import Criterion
from object_pose.io.bags import describe_bag, read_bag
from object_pose.ros.transport import topics
from object_pose.runtime.estimator_settings import EstimatorSettings
from object_pose.runtime.predictor import PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.workflows.evaluate_bag import (
    BagEvaluationConfig,
    BagReportConfig,
    evaluate_recorded_bag,
    report_on_bags,
)
from object_pose.workflows.parallel import local_runner

_MODEL = "parts.onnx"
_FIXED_FRAME = "world"
_REGISTER_INTERVAL_S = 0.1  # as often as the nodes do while objects are tracked
_STARTED_WITHIN_S = 120.0
_RESULTS = ("results.jsonl", "results.csv")
_CRITERIA = (
    Criterion("identical", 1.0),
    Criterion("recall_difference", 0.01, at_most=True),
    Criterion("precision_difference", 0.01, at_most=True),
    Criterion("frames", 30),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=float, default=8.0, help="how long is recorded (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second of the camera (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Record, evaluate three times, compare."""
    bag = options.output / "live"
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    _record(bag, options.seconds, options.rate)
    figures = _figures(bag, options.output)
    return report_checks(options, {"bag": checked(figures, _CRITERIA)}, options.output / "summary.json")


def _record(bag: Path, seconds: float, rate: float) -> None:
    """Record every frame of the pipeline on the simulated camera, once poses come."""
    with child_processes() as start:
        pipeline = start("object_pose.cli.main", "run", "--rate", rate, "--fixed-frame", _FIXED_FRAME)
        wait = start(
            "object_pose.ros.demo.planner_probe", "--seconds", 1, "--start-within", _STARTED_WITHIN_S, pipe=True
        )
        wait.communicate()
        recorder = start("object_pose.cli.main", "bag", "record", bag, "--seconds", seconds)
        recorder.wait()
        end_processes({"pipeline": pipeline, "recorder": recorder})


def _figures(bag: Path, output: Path) -> dict[str, Any]:
    profile = PROFILES["live"]
    settings = EstimatorSettings(
        find_model(_MODEL),
        PredictorConfig(decoding=profile.decoding),
        profile.solver,
        TrackerConfig(register_interval_s=_REGISTER_INTERVAL_S),
    )
    copy = shutil.copytree(bag, output / "copy")
    first = report_on_bags(BagReportConfig((bag,), output / "first", settings, fixed_frame=_FIXED_FRAME))["live"]
    both = BagReportConfig((bag, copy), output / "again", settings, fixed_frame=_FIXED_FRAME)
    report_on_bags(both, runner=local_runner(2))
    same = all(
        (output / "first" / "live" / name).read_bytes() == (output / "again" / folder / name).read_bytes()
        for name in _RESULTS
        for folder in ("live", "copy")
    )
    shutil.rmtree(copy)
    live = evaluate_recorded_bag(
        BagEvaluationConfig(bag, detections_topic=topics.recorded(topics.KEYPOINTS), geometry=_MODEL)
    ).accepted
    offline = first["evaluation"]["accepted"]
    counts = {item.name: item.count for item in describe_bag(bag).topics}
    return {
        "identical": same,
        "frames": first["frames"],
        "frames_of_camera": counts[topics.recorded(topics.COLOR)],
        "frames_with_live_poses": sum(1 for _ in read_bag(bag, [topics.recorded(topics.OBJECT_POSES)])),
        "speed_over_realtime": first["speed_over_realtime"],
        "frame_ms_p50": first["frame_ms_p50"],
        "live_recall": live.recall_add_01d,
        "offline_recall": offline["recall_add_01d"],
        "live_precision": live.precision,
        "offline_precision": offline["precision"],
        "recall_difference": abs(live.recall_add_01d - offline["recall_add_01d"]),
        "precision_difference": abs(live.precision - offline["precision"]),
    }


BENCHMARK = Benchmark(
    "bag_check",
    "A recorded live run, evaluated offline: the same to the bit, as good as live, and how fast",
    add_options,
    run,
    Path("out/bag"),
)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
