"""What a retraining request leads to: collect, train from the champion, gate, and promote or report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from object_pose.core.errors import ConfigError, DataError
from object_pose.core.params import parameter
from object_pose.io.bop import bop_names, bop_scenes, labelled_scenes, read_bop_scene, scene_files
from object_pose.io.datasets.content_hash import data_version, write_dvc_file
from object_pose.io.datasets.opening import open_dataset
from object_pose.io.datasets.samples import BoxDataset, LabelledBoxes
from object_pose.io.datasets.writing import write_yolo, write_yolo_names
from object_pose.io.files import new_folder
from object_pose.io.retraining_request import RetrainingRequest
from object_pose.io.writers import write_json
from object_pose.mlops.promotion import Promotion, promote_candidate
from object_pose.mlops.registry import CHAMPION, Registry
from object_pose.mlops.tracking import TrackedTraining, log_run
from object_pose.runtime.card import ModelCard
from object_pose.runtime.predictor import load_card
from object_pose.simulation.parts.objects import load_objects
from object_pose.workflows.export import CardText, export_retrained
from object_pose.workflows.gate_requirements import GateConfig
from object_pose.workflows.progress import ProgressCallback, ignore_progress
from object_pose.workflows.train import make_job, train

_DATA, _RUN, _MODEL, _GATE = "data", "run", "model.onnx", "gate"


@dataclass(frozen=True)
class RetrainConfig:
    """How much is trained, and from what."""

    steps: int = parameter(2000, "optimiser steps from the champion's weights", minimum=1, maximum=10_000_000)
    max_minutes: float = parameter(0.0, "time limit of the training, 0 for none", minimum=0.0, maximum=1e6)
    learning_rate: float = parameter(2e-4, "peak learning rate of AdamW", minimum=1e-7, maximum=1.0)
    data_share: float = parameter(
        0.3,
        "share of samples from the request's frames; the others are rendered (models of poses)",
        minimum=0.0,
        maximum=1.0,
    )
    min_frames: int = parameter(4, "labelled frames below which nothing is trained", minimum=1, maximum=100_000)


@dataclass(frozen=True)
class RetrainJob:
    """A request, the ``name`` in the registry whose champion is trained on with it, and the folder of what is made.

    ``truth`` has frames of the same kind whose truth is known: a BOP scene or a folder of them, for a detector labelled
    boxes. ``options`` of the training go before those that the champion was trained with, as far as its run says them.
    """

    name: str
    request: RetrainingRequest
    output: Path
    truth: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def retrain(
    registry: Registry,
    job: RetrainJob,
    config: RetrainConfig = RetrainConfig(),
    gate: GateConfig | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Promotion:
    """Train a champion on with a request's frames, and promote what passes the gate; close the request.

    The job's folder holds data with their version, run, model and the gate's report; the same call goes on with a
    training that was broken off. Raises ``DataError`` where too few frames are labelled, ``ConfigError`` where the
    champion is of another task than the request, or of one that no request labels.
    """
    champion = registry.find(f"{job.name}@{CHAMPION}")
    earlier = registry.pull(champion, job.output / "champion")
    card = load_card(earlier)
    collect = _collector(card, job.request)
    options = _champion_options(card, registry.training_options(champion)) | dict(job.options)
    if card.task == "pose":
        _check_objects(card, options)
    data = _collected(collect, job, card.labels, config.min_frames)
    options |= _own_options(card, config) | {"initial": str(earlier), "data": str(data)}
    command = f"object-pose retrain {job.request.path} --name {job.name}"
    training = make_job(card.task, job.output / _RUN, options, command)
    train(training, resume=True, progress=progress, callbacks=[TrackedTraining(registry.store)])
    text = CardText(data=f"{job.name}/{champion.version}, and {data_version(data).digest} of {job.request.path.name}")
    model = export_retrained(training.run_dir, earlier, job.output / _MODEL, text=text).path
    added = registry.add(job.name, model, log_run(registry.store, training.run_dir))
    name, report_dir = f"{job.name}/{added.version}", job.output / _GATE
    promotion = promote_candidate(
        registry, name, None, gate, run_dir=training.run_dir, report_dir=report_dir, progress=progress
    )
    job.request.closed({"model": name, "promoted": promotion.report.passed, "report": str(report_dir)})
    write_json(job.output / "result.json", promotion.report.to_json())
    return promotion


def _champion_options(card: ModelCard, trained_with: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the champion was trained with; its card knows its input size where no run does."""
    width, height = card.input_wh
    return {"input_width": width, "input_height": height, **trained_with}


def _own_options(card: ModelCard, config: RetrainConfig) -> dict[str, Any]:
    """Return the options of a training on from the champion."""
    options = {"steps": config.steps, "max_minutes": config.max_minutes, "learning_rate": config.learning_rate}
    return options | ({"data_share": config.data_share} if card.task == "pose" else {})


# Brings a request's labelled frames and further ones into a new folder; returns how many are labelled.
_Collect = Callable[[RetrainingRequest, Path | None, Path, tuple[str, ...]], int]


def _collector(card: ModelCard, request: RetrainingRequest) -> _Collect:
    if card.task not in _COLLECTORS:
        raise ConfigError(
            f"models of the task {card.task} are not retrained from requests: no node runs them, none labels frames",
            "train on from the champion: 'object-pose train TASK --initial MODEL --data FOLDER'",
        )
    if request.task != card.task:
        raise ConfigError(f"{request.path} has frames of the task {request.task}, the champion's is {card.task}")
    return _COLLECTORS[card.task]


def _check_objects(card: ModelCard, options: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` where the options render other objects than those of the model."""
    rendered = tuple(item.model.name for item in load_objects(str(options.get("objects", "parts"))))
    if rendered != card.labels:
        raise ConfigError(
            f"the champion knows {', '.join(card.labels)}, its training would render {', '.join(rendered)}",
            "add it to the registry with --run, or name its training options with --config",
        )


def _collected(collect: _Collect, job: RetrainJob, labels: tuple[str, ...], min_frames: int) -> Path:
    """Bring the labelled frames together and check them; their version is written beside the folder."""
    folder = job.output / _DATA
    if not folder.exists():
        with new_folder(folder) as temporary:
            labelled = collect(job.request, job.truth, temporary, labels)
            if labelled < min_frames:
                raise DataError(
                    f"{job.request.path} has {labelled} frames that are labelled surely, {min_frames} are needed",
                    "name labelled frames with --truth",
                )
        write_dvc_file(folder)
    return folder


def _collect_scenes(request: RetrainingRequest, truth: Path | None, folder: Path, labels: tuple[str, ...]) -> int:
    scenes = [] if truth is None else sorted({scene_files(scene).folder for scene in labelled_scenes(truth)})
    if truth is not None and not scenes:
        raise DataError(f"{truth} holds no BOP scene with a truth", "name a folder of scenes with a scene_gt.json")
    for number, scene in enumerate((request.data, *scenes)):
        shutil.copytree(scene, folder / f"{number:06d}")
    names = bop_names(labels)
    return sum(bool(item.truths) for scene in bop_scenes(folder) for item in read_bop_scene(scene, names))


def _collect_boxes(request: RetrainingRequest, truth: Path | None, folder: Path, labels: tuple[str, ...]) -> int:
    samples: list[LabelledBoxes] = []
    for source in (request.data, *([truth] if truth else [])):
        if source == request.data and not any((source / "images").iterdir()):
            continue  # nothing was sure
        for split in open_dataset(source, labels).splits.values():
            if not isinstance(split, BoxDataset) or split.labels != labels:
                raise DataError(
                    f"{source} has no boxes of {', '.join(labels)}", "classes and their order must be the model's"
                )
            samples += split.samples
    write_yolo(folder, BoxDataset(labels, tuple(samples)))
    write_yolo_names(folder, labels)
    return sum(len(sample.class_ids) > 0 for sample in samples)


_COLLECTORS: dict[str, _Collect] = {"pose": _collect_scenes, "detect": _collect_boxes}
