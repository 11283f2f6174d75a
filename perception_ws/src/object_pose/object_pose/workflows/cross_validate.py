"""Cross-validation: for each fold of a data set a model is trained on the others and tested on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from object_pose.core.errors import ConfigError
from object_pose.evaluation.runner import TaskEvaluation, evaluate_task, pool
from object_pose.evaluation.samples import Samples, class_samples, mask_samples
from object_pose.io.datasets.class_folders import read_class_folders
from object_pose.io.datasets.mask_pairs import read_mask_pairs
from object_pose.io.datasets.samples import require_usable
from object_pose.io.datasets.splitting import split_fold, split_tiles
from object_pose.io.files import claim_folder
from object_pose.runtime.card import ModelCard
from object_pose.runtime.predictor import Predictor
from object_pose.workflows.export import CardText, export_run
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported
from object_pose.workflows.train import make_job, train


@dataclass(frozen=True)
class CrossValidationConfig:
    """A task's data set on disk, the number of folds, the folder of their training runs, the training options by name.

    ``description`` says on the models' cards what the data are; ``output`` is the folder of the report.
    """

    task: str
    data: Path
    folds: int
    runs: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    output: Path | None = None


def cross_validate(config: CrossValidationConfig, progress: ProgressCallback = ignore_progress) -> TaskEvaluation:
    """Train and test every fold and return the evaluation of all of them together; folds that are done stay.

    Raises ``ConfigError`` for a task whose data cannot be dealt into folds, or a folder of runs with other options.
    """
    if config.task not in _HELD_OUT:
        raise ConfigError(f"data of the task {config.task} have no folds", f"known: {', '.join(_HELD_OUT)}")
    claim_folder(config.runs, "folds.json", {"folds": config.folds, **config.options})
    evaluation = pool([_validate_fold(config, fold, progress) for fold in range(config.folds)])
    if config.output:
        from object_pose.evaluation.reports.evaluation.report import write_report

        write_report(evaluation, config.output)
    return evaluation


def _validate_fold(config: CrossValidationConfig, fold: int, progress: ProgressCallback) -> TaskEvaluation:
    """Train on the other folds, unless that is done, and test on this one."""
    run_dir = config.runs / f"fold_{fold}"
    model = run_dir / "model.onnx"
    if not model.exists():
        place = {"data": str(config.data), "folds": config.folds, "fold": fold}
        job = make_job(config.task, run_dir, {**config.options, **place})
        train(dataclasses.replace(job, stage=f"train fold {fold}"), resume=True, progress=progress)
        about = f"{config.description or config.data.name}, without fold {fold}"
        export_run(run_dir, model, text=CardText(data=about))
    predictor = Predictor(model)
    predictor = predictor.with_decoding(predictor.task.scored_options)
    held_out = _HELD_OUT[config.task](config.data, config.folds, fold, predictor.card)
    return evaluate_task(predictor, reported(held_out, progress, f"test fold {fold}", unit="image"))


def _held_out_images(data: Path, folds: int, fold: int, card: ModelCard) -> Samples:
    return class_samples(split_fold(require_usable(read_class_folders(data)), folds, fold)[1], card)


def _held_out_tiles(data: Path, folds: int, fold: int, card: ModelCard) -> Samples:
    return mask_samples(split_tiles(require_usable(read_mask_pairs(data)), folds, fold)[1])


_HELD_OUT: dict[str, Callable[[Path, int, int, ModelCard], Samples]] = {
    "classify": _held_out_images,
    "segment": _held_out_tiles,
}
