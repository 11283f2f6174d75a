"""``object-pose real-folds``: cross-validation on real photographs; long, as it trains, and can be interrupted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from object_pose.cli.calls import call
from object_pose.cli.folder_claim import claim
from object_pose.cli.judgements import finish
from object_pose.cli.options import add_config_options
from object_pose.core.errors import ConfigError, DataError
from object_pose.core.params import parameters
from object_pose.evaluation.bars import failed, judge
from object_pose.evaluation.real_folds import PREFIX, REAL_FOLDS, CrossValidation
from object_pose.evaluation.reports.evaluation import write_report
from object_pose.evaluation.runner import TaskEvaluation, evaluate_task, pool
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.resources import find_data, find_model
from object_pose.training.config import TrainConfig

EXAMPLES = """examples:
  object-pose real-folds
  object-pose real-folds segment --initial runs/buildings --threads 2
  object-pose real-folds segment --steps 3000 --threads 2 --runs runs/real_long
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``real-folds``."""
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(REAL_FOLDS)} (default: all)")
    parser.add_argument("--runs", type=Path, default=Path("runs/real"), help="folder for the folds' training runs")
    parser.add_argument("--output", type=Path, default=Path("out/models"), help="folder for real.json and pictures")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_options(parser, TrainConfig, "training (default: as suits each task)")


def run(options: argparse.Namespace) -> int:
    """Train and test every fold, write real.json; 1 where a bar is missed. Repeated, it goes on where it was."""
    unknown = [task for task in options.tasks if task not in REAL_FOLDS]
    if unknown:
        raise ConfigError(f"there are no folds of {', '.join(unknown)}", f"known: {', '.join(REAL_FOLDS)}")
    tasks = options.tasks or list(REAL_FOLDS)
    summary = {task: _cross_validate(task, REAL_FOLDS[task], options) for task in tasks}
    return finish(summary, options.output / "real.json", options.json)


def _cross_validate(task: str, folds: CrossValidation, options: argparse.Namespace) -> dict[str, Any]:
    try:
        data = find_data(folds.data)
    except DataError as error:
        return {"test": folds.description, **failed(str(error), folds.bars)}
    runs = options.runs / task
    start = {"initial": str(find_model(folds.initial))}
    recipe = start | {name: str(value) for name, value in folds.recipe} | _given(options)
    claim(runs, "folds.json", {"folds": folds.folds, **recipe})
    evaluation = pool([_fold(task, folds, fold, data, runs / f"fold_{fold}", recipe) for fold in range(folds.folds)])
    write_report(evaluation, options.output / f"{PREFIX}{task}")
    figures = {f"{PREFIX}{name}": value for name, value in evaluation.figures.items()}
    return {"test": folds.description, "samples": len(evaluation.truths), **judge(figures, folds.bars)}


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
    return evaluate_task(predictor, tqdm(held_out, desc=f"{task}, fold {fold}", unit="image"))


def _words(recipe: dict[str, str]) -> list[str]:
    pairs = ([f"--{name}"] if value == str(True) else [f"--{name}", value] for name, value in recipe.items())
    return [word for pair in pairs for word in pair]


def _given(options: argparse.Namespace) -> dict[str, str]:
    """Return the training options that the user gave."""
    values = {item.name: getattr(options, item.name) for item in parameters(TrainConfig)}
    return {name.replace("_", "-"): str(value) for name, value in values.items() if value is not None}
