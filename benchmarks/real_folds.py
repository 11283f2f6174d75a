"""Cross-validation on real photographs: trains on all folds but one and tests on that one; long, and can be resumed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, checked, choose, failed, report_checks
from object_pose.cli.options import add_config_options
from object_pose.cli.progress_bar import ProgressBar
from object_pose.core.errors import DataError
from object_pose.core.params import parameters
from object_pose.evaluation.criteria import Criterion
from object_pose.runtime.resources import find_data, find_model
from object_pose.training.config import TrainConfig
from object_pose.workflows.cross_validate import CrossValidationConfig, cross_validate

_PREFIX = "real_"


@dataclass(frozen=True)
class RealFolds:
    """A data set of the development data, the number of its folds and the acceptance criteria of all together.

    ``options`` are the training options that suit the data. Every fold starts from the weights of the shipped model
    ``initial``, which was trained on renders only.
    """

    data: str
    description: str
    folds: int
    options: Mapping[str, object]
    criteria: tuple[Criterion, ...]
    initial: str


REAL_FOLDS: dict[str, RealFolds] = {
    "classify": RealFolds(
        "magnetic_tiles",
        "magnetic tiles, 5 folds by file",
        5,
        {"input_width": 320, "input_height": 320, "steps": 500, "warmup_steps": 50, "flips": True},
        (Criterion("real_accuracy", 0.95),),
        initial="inspection.onnx",
    ),
    "segment": RealFolds(
        "footprints",
        "aerial tiles of Kampala, 4 folds by tile column",
        4,
        {
            "steps": 200,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "warmup_steps": 20,
            "ema_decay": 0.98,
            "photometric": 0.5,
            "rendered_share": 0.25,
        },
        (Criterion("real_iou", 0.78), Criterion("real_precision", 0.85), Criterion("real_recall", 0.85)),
        initial="buildings.onnx",
    ),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(REAL_FOLDS)} (default: all)")
    parser.add_argument("--runs", type=Path, default=Path("runs/real"), help="folder for the folds' training runs")
    add_config_options(parser, TrainConfig, "training (default: as suits each task)")


def run(options: argparse.Namespace) -> int:
    """Train and test every fold, write real.json; 1 where a criterion is missed. Repeated, it resumes."""
    summary = {task: _cross_validate(task, REAL_FOLDS[task], options) for task in choose(options.tasks, REAL_FOLDS)}
    return report_checks(options, summary, options.output / "real.json")


def _cross_validate(task: str, folds: RealFolds, options: argparse.Namespace) -> dict[str, Any]:
    try:
        data = find_data(folds.data)
    except DataError as error:
        return {"test": folds.description, **failed(str(error), folds.criteria)}
    config = CrossValidationConfig(
        task,
        data,
        folds.folds,
        options.runs / task,
        {"initial": str(find_model(folds.initial)), **folds.options, **_given(options)},
        folds.description,
        options.output / f"{_PREFIX}{task}",
    )
    with ProgressBar() as bar:
        evaluation = cross_validate(config, bar)
    figures = {f"{_PREFIX}{name}": value for name, value in evaluation.figures.items()}
    return {"test": folds.description, "samples": len(evaluation.truths), **checked(figures, folds.criteria)}


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the training options that the user gave."""
    values = {item.name: getattr(options, item.name) for item in parameters(TrainConfig)}
    return {name: value for name, value in values.items() if value is not None}


BENCHMARK = Benchmark("real_folds", "cross-validation on real photographs", add_options, run, Path("out/models"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
