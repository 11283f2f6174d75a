"""The pose head beside PnP alone and beside Open3D, on the same detections and frames."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.table import Table

from benchmarks.baselines import MethodScore, Open3dMethod, PoseMethod, as_json, compare_methods, solver_method
from benchmarks.harness import Benchmark, progress, report
from object_pose.cli.model_options import add_estimator_options, model_path, open_predictor
from object_pose.cli.options import given_values
from object_pose.core.params import make_config
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.evaluation.rendered import rendered_frames
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.seeds import TEST


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--frames", type=int, default=50, help="rendered frames")
    parser.add_argument("--seed", type=int, default=TEST.seed(500_001), help="seed of the rendered frames")
    parser.add_argument("--objects", default="parts", help="objects to render: 'parts' or a folder of BOP models")
    parser.add_argument(
        "--open3d", action=argparse.BooleanOptionalAction, default=True, help="run Open3D, which is an optional extra"
    )
    add_estimator_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run all methods in turn on each frame, print the table, write the figures."""
    detector = open_predictor(options, model_path(options))
    objects, scene_objects = detector.card.objects, load_objects(options.objects)
    solver = given_values(options, PoseSolverConfig, "solver.")
    methods: dict[str, PoseMethod] = {
        "object_pose": solver_method(objects, make_config(PoseSolverConfig, solver)),
        "pnp": solver_method(objects, make_config(PoseSolverConfig, {"use_depth": False} | solver)),
    }
    if options.open3d:
        methods["open3d_fpfh_ransac_icp"] = Open3dMethod(scene_objects)
    frames = progress(rendered_frames(options.objects, options.frames, options.seed), "frames", options.frames)
    scores = compare_methods(
        frames, lambda frame: detector.predict(frame.rgb, depth=frame.aligned_depth), methods, objects
    )
    report(options, as_json(scores), options.output / "bench.json", _table(scores))
    return 0


def _table(scores: list[MethodScore]) -> Table:
    """Return a row for each method; times are of the pose step alone, detection is shared."""
    table = Table("method", "recall", "precision", "t p50 mm", "r p50 deg", "ms", "slower")
    for item in scores:
        score = item.score
        table.add_row(
            item.name,
            f"{score.recall_add_01d:.3f}",
            f"{score.precision:.3f}",
            f"{score.translation_error_mm_p50:.2f}",
            f"{score.rotation_error_deg_p50:.2f}",
            f"{item.milliseconds_p50:.1f}",
            f"{item.milliseconds_p50 / scores[0].milliseconds_p50:.1f}x",
        )
    return table


BENCHMARK = Benchmark("bench_pose", "the pose head beside PnP alone and Open3D", add_options, run, Path("out/pose"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
