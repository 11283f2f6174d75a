"""Two real parts learned in an hour from their meshes and the camera alone, then found in renders and in real frames.

The frames lie in ``shared/data/rbt`` beside the checkout. What is interrupted goes on when the command is repeated;
what is done is only measured again. The figures stand beside those of own-parts-check.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark
from benchmarks.own_parts_check import rbt_figures, report_beside
from benchmarks.rbt_check import read_recording
from object_pose.cli.onboard import print_time_plan
from object_pose.cli.progress_bar import ProgressBar
from object_pose.evaluation.criteria import Criterion
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.resources import find_data
from object_pose.workflows.onboard import onboard
from object_pose.workflows.onboard_plan import OnboardConfig

CRITERIA = (
    Criterion("trained.rendered_recall", 0.90),
    Criterion("trained.rbt_recall_rgbd", 0.95),
    Criterion("trained.rbt_recall_rgb", 0.60),
    Criterion("trained.minutes", 60.0, at_most=True),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--minutes", type=float, default=60.0, help="for the whole of the onboarding")


def run(options: argparse.Namespace) -> int:
    """Onboard the dragon and the cube, find them, print the table and write summary.json."""
    data = find_data("rbt")
    config = OnboardConfig(
        tuple(data / "models" / f"obj_{number:06d}.ply" for number in (1, 2)),
        options.output / "rbt",
        unit="mm",
        accept_symmetries=True,
        camera=data / "camera.json",
        minutes=options.minutes,
        command="make onboard-check",
    )
    with ProgressBar() as bar:
        made = onboard(config, progress=bar, on_time_plan=print_time_plan)
    return report_beside(
        options, {"trained": _measured(config, made.minutes, made.steps_done)}, CRITERIA, required=True
    )


def _measured(config: OnboardConfig, minutes: float, steps: Any) -> dict[str, Any]:
    summary = json.loads((config.output / "summary.json").read_text())
    recording = read_recording(find_data("rbt"))
    estimator = PoseEstimator(config.model, profile="single_image")
    figures: dict[str, Any] = {
        "minutes": minutes,
        "steps": dict(steps),
        "rendered_recall": summary["recall_add_01d"],
        "rendered_accepted": summary["accepted"],
    }
    for kind, with_depth in (("rgbd", True), ("rgb", False)):
        found = rbt_figures(estimator, recording, with_depth)
        figures |= {f"{name}_{kind}": value for name, value in found.items()}
    return figures


BENCHMARK = Benchmark("onboard_check", __doc__ or "", add_options, run, Path("out/own_parts"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
