"""Training runs to ONNX models with their cards: a detector, its RoI head inside, or several models made one."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from object_pose.core.errors import ConfigError
from object_pose.core.params import make_config
from object_pose.io.files import replacing
from object_pose.io.run_folder import RunFolder
from object_pose.runtime.card import ModelCard
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.predictor import load_card
from object_pose.simulation.parts.objects import load_objects
from object_pose.training.onnx.ensemble import write_ensemble
from object_pose.training.onnx.export import (
    Exportable,
    average_models,
    copy_roi_head,
    difference_from_torch,
    embed_roi_head,
    export_onnx,
    replace_card,
)
from object_pose.training.tasks.registry import find_task
from object_pose.training.tasks.roi_head import exported_roi_head


@dataclass(frozen=True)
class CardText:
    """What the exporting person says on the card; an empty text keeps what the card has."""

    version: str = "1"
    data: str = ""
    metric: str = ""
    licence: str = ""

    def on(self, card: ModelCard) -> ModelCard:
        """Return the card with these texts."""
        texts = {name: value for name, value in dataclasses.asdict(self).items() if value}
        return dataclasses.replace(card, **texts)


@dataclass(frozen=True)
class ExportedModel:
    """A model file; ``difference`` is the largest between torch and ONNX Runtime, relative to the output's range.

    It is None where nothing was compared: for what was made of models, or a file that was there already.
    """

    path: Path
    size_bytes: int
    sha256: str
    difference: float | None


def export_run(
    run_dir: Path, output: Path, *, roi_head: Path | None = None, task: str = "", text: CardText = CardText()
) -> ExportedModel:
    """Export a training run, with the RoI head of another run inside where one is named.

    Raises ``DataError`` where a folder is no training run, ``ConfigError`` where the run is not of ``task`` and
    ``ModelError`` where torch and ONNX Runtime disagree; ``output`` appears only when all is well.
    """
    settings = RunFolder(run_dir).settings()
    if task and settings.task != task:
        raise ConfigError(f"{run_dir} is a run of the task {settings.task}, not of {task}")
    exportable, _ = _exportable(run_dir)
    card = text.on(dataclasses.replace(exportable.card, name=output.stem, command=settings.command, seed=settings.seed))
    with replacing(output) as temporary:
        difference = export_onnx(dataclasses.replace(exportable, card=card), temporary)
        if roi_head is not None:
            difference = max(difference, _embed(roi_head, temporary))
    return describe_file(output, difference)


def export_with_roi_head(detector: Path, roi_head: Path, output: Path, *, text: CardText = CardText()) -> ExportedModel:
    """Put the RoI head of a run, or of another model file, into an exported detector.

    The objects on its card become those of the run; a file's head must know the same, and is written anew as the
    runtime reads it fastest. Raises ``ConfigError`` where it does not.
    """
    card = load_card(detector)
    objects = card.objects
    if roi_head.is_file():
        if load_card(roi_head).labels != card.labels:
            raise ConfigError(f"{roi_head} and {detector} know other objects", "name a model of the same objects")
    else:
        _, (training, *_) = _exportable(roi_head)
        objects = tuple(item.model for item in load_objects(training.objects))
    with replacing(output) as temporary:
        shutil.copyfile(detector, temporary)
        difference = _embed(roi_head, temporary)
        replace_card(temporary, text.on(dataclasses.replace(card, objects=objects)))
    return describe_file(output, difference)


def export_retrained(run_dir: Path, earlier: Path, output: Path, *, text: CardText = CardText()) -> ExportedModel:
    """Export a run that went on from an earlier model's weights: objects and RoI head stay those of that model."""
    exportable, _ = _exportable(run_dir)
    settings, card = RunFolder(run_dir).settings(), load_card(earlier)
    card = text.on(dataclasses.replace(card, command=settings.command, seed=settings.seed))
    with replacing(output) as temporary:
        difference = export_onnx(dataclasses.replace(exportable, card=card), temporary)
        copy_roi_head(earlier, temporary)
    return describe_file(output, difference)


def export_average(models: list[Path], output: Path, *, text: CardText = CardText()) -> ExportedModel:
    """Write the mean of exported models that were trained on from one another, with the card of the first."""
    cards = [load_card(path) for path in models]  # says of a file that it is no model of ours
    with replacing(output) as temporary:
        average_models(models, temporary)
        replace_card(temporary, text.on(cards[0]))
    return describe_file(output, None)


def export_ensemble(models: list[Path], output: Path, *, text: CardText = CardText()) -> ExportedModel:
    """Write exported mask models as one that answers with the mean of their answers, with the card of the first.

    Raises ``ConfigError`` where they are fewer than two, of another task, of different classes, or do not read and
    give the same.
    """
    if len(models) < 2:
        raise ConfigError("one model is no ensemble", "name two or more")
    cards = [load_card(path) for path in models]
    for path, card in zip(models, cards):
        if card.task != "segment":
            raise ConfigError(f"{path} is of the task {card.task}", "only answers of mask models can be averaged")
        if card.labels != cards[0].labels:
            raise ConfigError(f"{path} and {models[0]} know other classes", "name models of the same classes")
    with replacing(output) as temporary:
        write_ensemble(models, temporary)
        parameters = sum(card.parameters for card in cards)
        replace_card(temporary, text.on(dataclasses.replace(cards[0], name=output.stem, parameters=parameters)))
    return describe_file(output, None)


def difference_from_run(run_dir: Path, model: Path) -> float:
    """Return the largest relative difference between a run's network and a model file exported from it."""
    return difference_from_torch(_exportable(run_dir)[0], model)


def describe_file(path: Path, difference: float | None = None) -> ExportedModel:
    """Return the size and digest of a model file."""
    return ExportedModel(path, path.stat().st_size, file_sha256(path), difference)


def _exportable(run_dir: Path) -> tuple[Exportable, tuple[Any, ...]]:
    """Return a run's network ready to export, and the option dataclasses it was trained with."""
    settings = RunFolder(run_dir).settings()
    task = find_task(settings.task)
    configs: tuple[Any, ...] = tuple(make_config(kind, settings.configs[kind.__name__]) for kind in task.configs)
    return task.exportable(run_dir, *configs), configs


def _embed(source: Path, detector: Path) -> float:
    """Export the RoI head of a run or a file into the detector's file; return its difference of torch and ONNX."""
    exportable = exported_roi_head(source) if source.is_file() else _exportable(source)[0]
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "roi_head.onnx"
        difference = export_onnx(exportable, head)
        embed_roi_head(detector, head)
    return difference
