"""Cross-validation on real photographs: trains on all folds but one and tests on that one; long, and can be resumed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, checked, choose, failed, progress, report_checks
from object_pose.cli.calls import call
from object_pose.cli.folder_claim import claim
from object_pose.cli.options import add_config_options
from object_pose.core.errors import DataError
from object_pose.core.params import parameters
from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.reports.evaluation.report import write_report
from object_pose.evaluation.runner import TaskEvaluation, evaluate_task, pool
from object_pose.evaluation.samples import Samples, class_samples, mask_samples
from object_pose.io.datasets.class_folders import read_class_folders
from object_pose.io.datasets.mask_pairs import read_mask_pairs
from object_pose.io.datasets.samples import require_usable
from object_pose.io.datasets.splitting import split_fold, split_tiles
from object_pose.runtime.card import ModelCard
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.resources import find_data, find_model
from object_pose.training.config import TrainConfig

_PREFIX = "real_"
Options = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class CrossValidation:
    """``data`` in the development data is dealt into ``folds``; ``held_out`` yields what one of them keeps apart.

    ``recipe`` are the training options that suit the data, as (name, value). Every fold starts from the weights of the
    shipped model ``initial``, which saw renders only.
    """

    data: str
    description: str
    folds: int
    held_out: Callable[[Path, int, int, ModelCard], Samples]
    recipe: Options
    criteria: tuple[Criterion, ...]
    initial: str


def _held_out_images(data: Path, folds: int, fold: int, card: ModelCard) -> Samples:
    return class_samples(split_fold(require_usable(read_class_folders(data)), folds, fold)[1], card)


def _held_out_tiles(data: Path, folds: int, fold: int, card: ModelCard) -> Samples:
    return mask_samples(split_tiles(require_usable(read_mask_pairs(data)), folds, fold)[1])


REAL_FOLDS: dict[str, CrossValidation] = {
    "classify": CrossValidation(
        "magnetic_tiles",
        "magnetic tiles, 5 folds by file",
        5,
        _held_out_images,
        (("input-width", 320), ("input-height", 320), ("steps", 500), ("warmup-steps", 50), ("flips", True)),
        (Criterion("real_accuracy", 0.95),),
        initial="inspection.onnx",
    ),
    "segment": CrossValidation(
        "footprints",
        "aerial tiles of Kampala, 4 folds by tile column",
        4,
        _held_out_tiles,
        (
            ("steps", 200),
            ("batch-size", 8),
            ("learning-rate", 1e-3),
            ("warmup-steps", 20),
            ("ema-decay", 0.98),
            ("photometric", 0.5),
            ("rendered-share", 0.25),
        ),
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


def _cross_validate(task: str, folds: CrossValidation, options: argparse.Namespace) -> dict[str, Any]:
    try:
        data = find_data(folds.data)
    except DataError as error:
        return {"test": folds.description, **failed(str(error), folds.criteria)}
    runs = options.runs / task
    start = {"initial": str(find_model(folds.initial))}
    recipe = start | {name: str(value) for name, value in folds.recipe} | _given(options)
    claim(runs, "folds.json", {"folds": folds.folds, **recipe})
    evaluation = pool([_fold(task, folds, fold, data, runs / f"fold_{fold}", recipe) for fold in range(folds.folds)])
    write_report(evaluation, options.output / f"{_PREFIX}{task}")
    figures = {f"{_PREFIX}{name}": value for name, value in evaluation.figures.items()}
    return {"test": folds.description, "samples": len(evaluation.truths), **checked(figures, folds.criteria)}


def _fold(
    task: str, folds: CrossValidation, fold: int, data: Path, run_dir: Path, recipe: dict[str, str]
) -> TaskEvaluation:
    """Train on the other folds, unless that is done, and test on this one."""
    model = run_dir / "model.onnx"
    if not model.exists():
        place = ["--data", data, "--folds", folds.folds, "--fold", fold]
        call("train", task, "--output", run_dir, *place, *_words(recipe), "--resume")
        call("export", "--run", run_dir, "--output", model, "--data", f"{folds.description}, without fold {fold}")
    predictor = Predictor(model)
    predictor = predictor.with_options(predictor.task.scored_options)
    held_out = folds.held_out(data, folds.folds, fold, predictor.card)
    return evaluate_task(predictor, progress(held_out, f"{task}, fold {fold}", unit="image"))


def _words(recipe: dict[str, str]) -> list[str]:
    pairs = ([f"--{name}"] if value == str(True) else [f"--{name}", value] for name, value in recipe.items())
    return [word for pair in pairs for word in pair]


def _given(options: argparse.Namespace) -> dict[str, str]:
    """Return the training options that the user gave."""
    values = {item.name: getattr(options, item.name) for item in parameters(TrainConfig)}
    return {name.replace("_", "-"): str(value) for name, value in values.items() if value is not None}


BENCHMARK = Benchmark("real_folds", "cross-validation on real photographs", add_options, run, Path("out/models"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
