"""``object-pose evaluate TASK``: a model against labelled data; poses as figures, pictures and BOP's CSV."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from object_pose.cli.evaluate_tasks import add_task_options, run_task
from object_pose.cli.pipeline_options import add_pipeline_options, pipeline_from_options
from object_pose.core.metrics.pose import MIN_VISIBILITY, FrameMatches
from object_pose.core.vision.drawing import draw_poses
from object_pose.evaluation.pose_runner import (
    LabelledFrame,
    OnFrame,
    PoseEvaluation,
    bop_frames,
    bop_names,
    evaluate_pose,
    rendered_frames,
)
from object_pose.evaluation.scorers.bop import BopBin, BopScore, BopScorer, bop_meshes, bop_models_folder
from object_pose.evaluation.test_splits import POSE_FRAMES, TEST_SEED
from object_pose.io.images import write_image
from object_pose.io.writers import bop_csv, write_json
from object_pose.runtime.pose_estimator import FrameEstimate, PoseEstimator
from object_pose.simulation.parts.catalog import load_objects
from object_pose.simulation.scenes.scene import TEST_SCENES
from object_pose.tasks.registry import TASKS

EXAMPLES = """examples:
  object-pose evaluate pose --rendered 200 --seed 1000001
  object-pose evaluate oriented --output out/oriented --run runs/oriented
  object-pose evaluate detect --data workplace/val --model models/workplace.onnx --json
  object-pose evaluate pose --data lmo/test --model models/lmo.onnx --no-depth --output out/lmo
"""
_WORST_PICTURES = 12


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each task that can be evaluated."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for task in TASKS.values():
        if task.name != "pose":
            add_task_options(tasks.add_parser(task.name, help=task.summary, description=task.summary), task.name)
    pose = tasks.add_parser("pose", help="6-DoF poses of known objects", description="6-DoF poses of known objects")
    source = pose.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help="BOP scene, or a folder of them (default: the task's test split)")
    source.add_argument("--rendered", type=int, metavar="N", help="evaluate on N rendered frames")
    pose.add_argument("--objects", default="parts", help="objects to render: 'parts' or a folder of BOP models")
    pose.add_argument("--seed", type=int, default=1_000_001, help="seed of the rendered frames")
    pose.add_argument(
        "--depth", action=argparse.BooleanOptionalAction, default=True, help="use depth where there is one"
    )
    pose.add_argument("--target-visibility", type=float, default=MIN_VISIBILITY, help="least visible share of a target")
    pose.add_argument(
        "--output", type=Path, help="folder for summary.json, results.csv, recall.png and pictures of the worst frames"
    )
    pose.add_argument("--run", type=Path, dest="run_dir", help="run folder of 'train' whose losses are drawn, too")
    pose.add_argument("--json", action="store_true", help="print JSON")
    add_pipeline_options(pose)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    if options.task != "pose":
        return run_task(options)
    pipeline = pipeline_from_options(options)
    labels = pipeline.card.labels
    if options.data:
        frames = bop_frames(options.data, labels, options.depth)
    elif options.rendered:
        frames = rendered_frames(options.objects, options.rendered, options.seed, with_depth=options.depth)
    else:
        options.rendered = POSE_FRAMES
        frames = rendered_frames(options.objects, POSE_FRAMES, TEST_SEED, TEST_SCENES, options.depth)
    with ExitStack() as stack:
        on_frame = _output_writer(options.output, labels, stack) if options.output else None
        progress = tqdm(frames, total=options.rendered, unit="frame", disable=options.json)
        scorer = _bop_scorer(options, pipeline)
        evaluation = evaluate_pose(pipeline, progress, options.target_visibility, on_frame, scorer)
    if options.output:
        _write_summary(options.output, evaluation, options.run_dir)
    if options.json:
        print(json.dumps(evaluation.to_json()))
    else:
        print_evaluation(evaluation)
    return 0


def _bop_scorer(options: argparse.Namespace, pipeline: PoseEstimator) -> BopScorer:
    """Score as BOP does; VSD needs the objects' meshes, from the data's models folder or the rendered objects."""
    card = pipeline.card
    if options.rendered:
        return BopScorer(card.objects, lambda: [item.mesh for item in load_objects(options.objects)])
    models = bop_models_folder(options.data)
    return BopScorer(card.objects, bop_meshes(models, bop_names(card.labels)) if models else None)


def _write_summary(output: Path, evaluation: PoseEvaluation, run_dir: Path | None) -> None:
    # Only here, so that figures alone do not need matplotlib.
    from object_pose.evaluation.plots import loss_figure, save_figure
    from object_pose.evaluation.reports.pose_figures import bop_figure

    write_json(output / "summary.json", evaluation.to_json())
    if evaluation.bop and evaluation.bop.total.targets:
        save_figure(bop_figure(evaluation.bop), output / "recall.png")
    if run_dir:
        save_figure(loss_figure(run_dir), output / "losses.png")


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
    if evaluation.bop:
        print_bop(evaluation.bop, console)


def print_bop(score: BopScore, console: Console) -> None:
    """Print BOP's average recalls per object, over distance and over visibility."""
    table = Table("targets of 10 % visibility", "n", "ADD(-S)", "VSD", "MSSD", "MSPD", "AR", title="BOP average recall")
    rows = [
        list(score.per_object.items()),
        [(_interval(item, "m") + " away", item.group) for item in score.by_distance_m],
        [(_interval(item, "") + " visible", item.group) for item in score.by_visibility],
        [("all", score.total)],
    ]
    for section in rows:
        for name, group in section:
            figures = (group.recall_add_01d, group.ar_vsd, group.ar_mssd, group.ar_mspd, group.ar_bop)
            table.add_row(name, str(group.targets), *("-" if value is None else f"{value:.3f}" for value in figures))
        table.add_section()
    console.print(table)
    if score.total.ar_bop is None:
        console.print("VSD, and with it AR, needs measured depth in every frame and the objects' meshes")


def _interval(item: BopBin, unit: str) -> str:
    return f"{item.low:g} to {min(item.high, 1.0) if not unit else item.high:g} {unit}".strip()


def _output_writer(output: Path, labels: tuple[str, ...], stack: ExitStack) -> OnFrame:
    """Write the BOP CSV as frames pass, and pictures of those with most errors at the end."""
    csv = stack.enter_context(
        bop_csv(output / "results.csv", {name: number for number, name in bop_names(labels).items()})
    )
    worst: list[tuple[int, LabelledFrame, FrameEstimate]] = []

    def on_frame(item: LabelledFrame, result: FrameEstimate, matches: FrameMatches) -> None:
        csv.write(item.scene_id, item.image_id, result.results.poses, result.timings_ms["total"] / 1e3)
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
