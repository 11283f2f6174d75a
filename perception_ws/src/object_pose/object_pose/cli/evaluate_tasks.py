"""``object-pose evaluate TASK`` for every task whose results are images' own: figures, a table, pictures and plots."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from object_pose.cli.predictor_options import add_predictor_options, open_predictor
from object_pose.core.errors import ConfigError
from object_pose.evaluation.reports.evaluation import write_report
from object_pose.evaluation.runner import TaskEvaluation, evaluate_task
from object_pose.evaluation.samples import Samples, read_samples, rendered_samples
from object_pose.evaluation.test_splits import TEST_SEED, find_split
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.resources import find_model


def add_task_options(parser: argparse.ArgumentParser, task: str) -> None:
    """Add the options that evaluating any task has; without --data or --rendered it takes the task's test split."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help="labelled data set (default: the task's test split)")
    source.add_argument("--rendered", type=int, metavar="N", help="evaluate on N simulated samples")
    parser.add_argument("--seed", type=int, default=TEST_SEED, help="seed of the simulated samples")
    parser.add_argument("--output", type=Path, help="folder for summary.json, pictures of worst and best cases, plots")
    parser.add_argument("--run", type=Path, dest="run_dir", help="run folder of 'train' whose losses are drawn, too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_predictor_options(parser, find_split(task).model)


def run_task(options: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    if options.run_dir and not options.output:
        raise ConfigError("--run draws losses, but there is no folder for them", "name one with --output")
    predictor = open_predictor(options, find_model(options.model or find_split(options.task).model), scored=True)
    if predictor.task.name != options.task:
        raise ConfigError(f"{predictor.path} is a model of the task {predictor.task.name}, not of {options.task}")
    progress = tqdm(_samples(options, predictor), total=options.rendered, unit="image", disable=options.json)
    evaluation = evaluate_task(predictor, progress)
    if options.output:
        write_report(evaluation, options.output, options.run_dir)
    if options.json:
        print(json.dumps(evaluation.to_json()))
    else:
        print_evaluation(evaluation)
    return 0


def _samples(options: argparse.Namespace, predictor: Predictor) -> Samples:
    if options.data:
        return read_samples(options.task, options.data, predictor.card)
    if options.rendered:
        return rendered_samples(options.task, options.rendered, options.seed, predictor.card)
    return find_split(options.task).samples(predictor.card)


def print_evaluation(evaluation: TaskEvaluation) -> None:
    """Print the figures as a table."""
    table = Table("figure", "value", title=f"{evaluation.task}: {len(evaluation.truths)} samples")
    for name, value in evaluation.figures.items():
        table.add_row(name, f"{value:.4f}")
    console = Console()
    console.print(table)
    console.print(f"{evaluation.image_ms:.1f} ms an image")
