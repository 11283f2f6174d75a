"""``object-pose evaluate pose``: a model against labelled frames, as figures, pictures and BOP's CSV."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from object_pose.cli.pipeline_options import add_pipeline_options, pipeline_from_options
from object_pose.core.metrics import MIN_VISIBILITY, FrameMatches
from object_pose.evaluation.pose import (
    LabelledFrame,
    OnFrame,
    PoseEvaluation,
    bop_frames,
    bop_names,
    evaluate_pose,
    rendered_frames,
)
from object_pose.io.drawing import draw_poses
from object_pose.io.images import write_image
from object_pose.io.writers import bop_csv, write_json
from object_pose.runtime.pipeline import PipelineResult

EXAMPLES = """examples:
  object-pose evaluate pose --rendered 200 --seed 1000001
  object-pose evaluate pose --data lmo/test --model models/lmo.onnx --no-depth --output out/lmo
"""
_WORST_PICTURES = 12


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each task that can be evaluated."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    pose = tasks.add_parser("pose", help="6-DoF poses of known objects", description="6-DoF poses of known objects")
    source = pose.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="BOP scene, or a folder of them")
    source.add_argument("--rendered", type=int, metavar="N", help="evaluate on N rendered frames")
    pose.add_argument("--objects", default="parts", help="objects to render: 'parts' or a folder of BOP models")
    pose.add_argument("--seed", type=int, default=1_000_001, help="seed of the rendered frames")
    pose.add_argument(
        "--depth", action=argparse.BooleanOptionalAction, default=True, help="use depth where there is one"
    )
    pose.add_argument("--target-visibility", type=float, default=MIN_VISIBILITY, help="least visible share of a target")
    pose.add_argument(
        "--output", type=Path, help="folder for summary.json, results.csv and pictures of the worst frames"
    )
    pose.add_argument("--json", action="store_true", help="print JSON")
    add_pipeline_options(pose)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    pipeline = pipeline_from_options(options)
    labels = pipeline.detector.card.labels
    if options.data:
        frames = bop_frames(options.data, labels, options.depth)
    else:
        frames = rendered_frames(options.objects, options.rendered, options.seed)
    with ExitStack() as stack:
        on_frame = _output_writer(options.output, labels, stack) if options.output else None
        progress = tqdm(frames, total=options.rendered, unit="frame", disable=options.json)
        evaluation = evaluate_pose(pipeline, progress, options.target_visibility, on_frame)
    if options.output:
        write_json(options.output / "summary.json", evaluation.to_json())
    if options.json:
        print(json.dumps(evaluation.to_json()))
    else:
        print_evaluation(evaluation)
    return 0


def print_evaluation(evaluation: PoseEvaluation) -> None:
    """Print the score, per class and over all, as a table."""
    score = evaluation.score
    table = Table("class", "recall ADD(-S) 0.1d", title=f"{evaluation.frames} frames, {score.targets} targets")
    for name, recall in score.recall_per_class.items():
        table.add_row(name, f"{recall:.3f}")
    table.add_section()
    table.add_row("all", f"{score.recall_add_01d:.3f}")
    console = Console()
    console.print(table)
    console.print(
        f"precision {score.precision:.3f}; "
        f"translation {score.translation_error_mm_p50:.2f} mm (p95 {score.translation_error_mm_p95:.1f}); "
        f"rotation {score.rotation_error_deg_p50:.2f} deg (p95 {score.rotation_error_deg_p95:.1f})"
        + (f"; {evaluation.timings_ms['total']:.1f} ms a frame" if evaluation.timings_ms else "")
    )


def _output_writer(output: Path, labels: tuple[str, ...], stack: ExitStack) -> OnFrame:
    """Write the BOP CSV as frames pass, and pictures of those with most errors at the end."""
    csv = stack.enter_context(
        bop_csv(output / "results.csv", {name: number for number, name in bop_names(labels).items()})
    )
    worst: list[tuple[int, LabelledFrame, PipelineResult]] = []

    def on_frame(item: LabelledFrame, result: PipelineResult, matches: FrameMatches) -> None:
        csv.write(item.scene_id, item.image_id, result.results.poses, result.timings["total"] / 1e3)
        errors = len(matches.missed) + len(matches.false_poses) + sum(not m.is_correct for m in matches.matches)
        worst.append((errors, item, result))
        worst.sort(key=lambda entry: -entry[0])
        del worst[_WORST_PICTURES:]

    def draw() -> None:
        for errors, item, result in worst:
            picture = draw_poses(item.frame.rgb, result.results.poses, item.frame.camera, result.results.rejections)
            write_image(output / f"worst_{errors:02d}_errors_{item.scene_id:06d}_{item.image_id:06d}.png", picture)

    stack.callback(draw)
    return on_frame
