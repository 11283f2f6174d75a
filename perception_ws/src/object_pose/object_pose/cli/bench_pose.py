"""``object-pose bench-pose``: our pose head beside PnP alone and beside Open3D, on the same detections and frames."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from object_pose.cli.options import config_from_options
from object_pose.cli.pipeline_options import add_pipeline_options, model_path
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.evaluation.baselines import (
    MethodScore,
    Open3dMethod,
    PoseMethod,
    as_json,
    compare_methods,
    solver_method,
)
from object_pose.evaluation.pose_runner import rendered_frames
from object_pose.io.writers import write_json
from object_pose.runtime.predictor import Detector, DetectorConfig
from object_pose.simulation.parts.catalog import load_objects

EXAMPLES = """examples:
  object-pose bench-pose --frames 100
  object-pose bench-pose --no-open3d
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``bench-pose``."""
    parser.add_argument("--frames", type=int, default=50, help="rendered frames")
    parser.add_argument("--seed", type=int, default=2_000_500_001, help="seed of the rendered frames")
    parser.add_argument("--objects", default="parts", help="objects to render: 'parts' or a folder of BOP models")
    parser.add_argument("--output", type=Path, default=Path("out/pose/bench.json"), help="file for the figures")
    parser.add_argument(
        "--open3d", action=argparse.BooleanOptionalAction, default=True, help="run Open3D, which is an optional extra"
    )
    add_pipeline_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run all methods in turn on each frame, print the table, write the figures."""
    detector = Detector(model_path(options), config_from_options(options, DetectorConfig))
    objects, scene_objects = detector.card.objects, load_objects(options.objects)
    methods: dict[str, PoseMethod] = {
        "object_pose": solver_method(objects, config_from_options(options, PoseSolverConfig)),
        "pnp": solver_method(objects, config_from_options(options, PoseSolverConfig, {"use_depth": False})),
    }
    if options.open3d:
        methods["open3d_fpfh_ransac_icp"] = Open3dMethod(scene_objects)
    frames = tqdm(rendered_frames(options.objects, options.frames, options.seed), total=options.frames, unit="frame")
    scores = compare_methods(
        frames, lambda frame: detector.detect(frame.rgb, depth=frame.aligned_depth), methods, objects
    )
    write_json(options.output, as_json(scores))
    print_methods(scores)
    return 0


def print_methods(scores: list[MethodScore]) -> None:
    """Print one row per method; times are of the pose step alone, detection is shared."""
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
    Console().print(table)
