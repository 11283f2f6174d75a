"""``object-pose evaluate TASK``: a model against labelled data or simulated samples."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from object_pose.cli.model_options import (
    add_estimator_options,
    add_predictor_options,
    estimator_from_options,
    estimator_settings,
    model_path,
    open_predictor,
    predictor_settings,
)
from object_pose.cli.progress_bar import ProgressBar
from object_pose.cli.runner_options import add_runner_options, chosen_runner
from object_pose.cli.store_option import add_store_option, chosen_store
from object_pose.core.errors import ObjectPoseError
from object_pose.core.metrics.pose import MIN_VISIBILITY
from object_pose.evaluation.bop_scorer import BopBin, BopScore
from object_pose.evaluation.pose_runner import MIN_SCORE, PoseEvaluation
from object_pose.evaluation.runner import TaskEvaluation
from object_pose.evaluation.samples import TEST_COUNTS, TEST_SEED
from object_pose.tasks.registry import TASKS
from object_pose.workflows.evaluate import (
    EvaluateConfig,
    PoseEvaluateConfig,
    estimate_over,
    evaluate_model,
    evaluate_poses,
    predict_over,
)
from object_pose.workflows.progress import ignore_progress

logger = logging.getLogger(__name__)

EXAMPLES = """examples:
  object-pose evaluate pose --rendered 200
  object-pose evaluate oriented --output out/oriented --run runs/oriented
  object-pose evaluate detect --data workplace/val --model models/workplace.onnx --json
  object-pose evaluate pose --data lmo/test --model models/lmo.onnx --no-depth --output out/lmo
  object-pose evaluate pose --data lmo/test --model models/lmo.onnx --workers 4      (or --ray ADDRESS, a cluster)

Without --data and --rendered the samples are the task's simulated test split; 'detect' has none.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for task in TASKS.values():
        sub = tasks.add_parser(task.name, help=task.summary, description=task.summary)
        is_pose = task.name == "pose"
        data = "BOP scene, or a folder of them" if is_pose else "labelled data set"
        default = " (default: the task's simulated test split)" if task.name in TEST_COUNTS else ""
        source = sub.add_mutually_exclusive_group()
        source.add_argument("--data", type=Path, help=f"{data}{default}")
        source.add_argument("--rendered", type=int, default=0, metavar="N", help="evaluate on N simulated samples")
        sub.add_argument(
            "--seed", type=int, default=TEST_SEED, help="seed of the simulated samples (default: %(default)s)"
        )
        sub.add_argument("--output", type=Path, help="folder for summary.json, report.html, pictures and plots")
        sub.add_argument("--run", type=Path, dest="run_dir", help="run folder of 'train' whose losses are drawn, too")
        sub.add_argument("--json", action="store_true", help="print JSON")
        add_runner_options(sub, "frames" if is_pose else "images")
        add_store_option(sub, "store")
        if is_pose:
            _add_pose_options(sub)
        else:
            add_predictor_options(sub, task.default_model)


def _add_pose_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--objects", default="parts", help="objects to render: 'parts' or a folder of BOP models")
    parser.add_argument(
        "--depth", action=argparse.BooleanOptionalAction, default=True, help="use depth where there is one"
    )
    parser.add_argument(
        "--target-visibility", type=float, default=MIN_VISIBILITY, help="least visible share of a target"
    )
    parser.add_argument(
        "--times",
        action="store_true",
        help="write the time of each image into the result files, as submissions to BOP do",
    )
    add_estimator_options(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    evaluation = _evaluate_poses(options) if options.task == "pose" else _evaluate_model(options)
    _track(options, evaluation.to_json())
    if options.json:
        print(json.dumps(evaluation.to_json()))
    elif isinstance(evaluation, PoseEvaluation):
        print_pose_evaluation(evaluation)
    else:
        _print_evaluation(evaluation)
    return 0


def _track(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Log the evaluation in the store that the user or the environment names; one that is away costs a warning."""
    store = chosen_store(options.store)
    if store is None:
        return
    from object_pose.mlops.tracking import log_evaluation

    given = {name: str(getattr(options, name)) for name in ("rendered", "seed") if getattr(options, name)}
    model = model_path(options, TASKS[options.task].default_model)
    try:
        log_evaluation(store, options.task, figures, given, model, options.data, options.output)
    except ObjectPoseError as error:
        logger.warning("the evaluation is not in the store: %s", error)


def _evaluate_model(options: argparse.Namespace) -> TaskEvaluation:
    config = EvaluateConfig(options.data, options.rendered, options.seed, options.output, options.run_dir)
    model = model_path(options, TASKS[options.task].default_model)
    predictor = open_predictor(options, model, scored=True)
    with ProgressBar() as bar, chosen_runner(options) as runner:
        predict = None if runner.is_local else predict_over(runner, predictor_settings(options, predictor, scored=True))
        return evaluate_model(predictor, config, ignore_progress if options.json else bar, predict)


def _evaluate_poses(options: argparse.Namespace) -> PoseEvaluation:
    config = PoseEvaluateConfig(
        options.data,
        options.rendered,
        options.seed,
        options.output,
        options.run_dir,
        options.objects,
        options.depth,
        options.target_visibility,
        options.times,
    )
    estimator = estimator_from_options(options, profile="single_image")
    with ProgressBar() as bar, chosen_runner(options) as runner:
        settings = estimator_settings(options, profile="single_image")
        estimate = None if runner.is_local else estimate_over(runner, settings)
        return evaluate_poses(estimator, config, ignore_progress if options.json else bar, estimate)


def _print_evaluation(evaluation: TaskEvaluation) -> None:
    table = Table("figure", "value", title=f"{evaluation.task}: {len(evaluation.truths)} samples")
    for name, value in evaluation.figures.items():
        table.add_row(name, f"{value:.4f}")
    console = Console()
    console.print(table)
    console.print(f"{evaluation.image_ms:.1f} ms an image")


def print_pose_evaluation(evaluation: PoseEvaluation) -> None:
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
        f"accepted poses (score from {MIN_SCORE:g}): recall {evaluation.accepted.recall_add_01d:.3f}, "
        f"precision {evaluation.accepted.precision:.3f}; "
        f"translation {score.translation_error_mm_p50:.2f} mm (p95 {score.translation_error_mm_p95:.1f}); "
        f"rotation {score.rotation_error_deg_p50:.2f} deg (p95 {score.rotation_error_deg_p95:.1f})"
        + (f"; {evaluation.timings_ms['total']:.1f} ms a frame" if evaluation.timings_ms else "")
    )
    if evaluation.bop:
        _print_bop(evaluation.bop, console)


def _print_bop(score: BopScore, console: Console) -> None:
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
