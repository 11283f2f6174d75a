"""``object-pose models-check``: every shipped model on its test split, held against its bars."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from object_pose.cli.judgements import finish
from object_pose.core.errors import ObjectPoseError
from object_pose.evaluation.bars import failed, judge
from object_pose.evaluation.reports.evaluation import write_report
from object_pose.evaluation.runner import evaluate_task
from object_pose.evaluation.test_splits import TEST_SPLITS, Split, find_split
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.resources import find_model

EXAMPLES = """examples:
  object-pose models-check
  object-pose models-check oriented detect --output out/models
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``models-check``."""
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TEST_SPLITS)} (default: all)")
    parser.add_argument("--output", type=Path, default=Path("out/models"), help="folder for summary.json and pictures")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Check each task's model, write summary.json, print a table; 1 where a bar is missed or could not be tried."""
    splits = {task: find_split(task) for task in options.tasks or TEST_SPLITS}
    summary = {task: _check(task, split, options.output) for task, split in splits.items()}
    return finish(summary, options.output / "summary.json", options.json)


def _check(task: str, split: Split, output: Path) -> dict[str, Any]:
    """Evaluate one model; what is missing is said in its place and leaves the others alone."""
    about = {"model": split.model, "test": split.description}
    try:
        predictor = Predictor(find_model(split.model))
        predictor = predictor.with_options(predictor.task.scored_options)
        evaluation = evaluate_task(predictor, tqdm(split.samples(predictor.card), desc=task, unit="image"))
    except ObjectPoseError as error:
        return about | failed(str(error), split.bars)
    write_report(evaluation, output / task)
    figures = evaluation.figures | {"parameters": float(predictor.card.parameters)}
    return {**about, "samples": len(evaluation.truths), **judge(figures, split.bars)}
