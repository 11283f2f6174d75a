"""What a retraining request leads to: collect, train from the champion, gate, and promote or report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from object_pose.core.errors import ConfigError, DataError
from object_pose.core.params import parameter
from object_pose.io.bop import bop_names, read_bop_scene
from object_pose.io.datasets.content_hash import data_version, write_dvc_file
from object_pose.io.retraining_request import RetrainingRequest
from object_pose.io.writers import write_json
from object_pose.mlops.promotion import Promotion, promote_candidate
from object_pose.mlops.registry import CHAMPION, Registry
from object_pose.mlops.tracking import TrackedTraining, log_run
from object_pose.runtime.predictor import load_card
from object_pose.workflows.export import CardText, export_retrained
from object_pose.workflows.progress import ProgressCallback, ignore_progress
from object_pose.workflows.promote import GateConfig, TestSet
from object_pose.workflows.train import make_job, train

_DATA, _RUN, _MODEL, _GATE = "data", "run", "model.onnx", "gate"


@dataclass(frozen=True)
class RetrainConfig:
    """How much is trained, and from what."""

    steps: int = parameter(2000, "optimiser steps from the champion's weights", minimum=1, maximum=10_000_000)
    max_minutes: float = parameter(0.0, "time limit of the training, 0 for none", minimum=0.0, maximum=1e6)
    learning_rate: float = parameter(2e-4, "peak learning rate of AdamW", minimum=1e-7, maximum=1.0)
    data_share: float = parameter(0.3, "share of samples from the request's frames", minimum=0.0, maximum=1.0)
    min_frames: int = parameter(4, "labelled frames below which nothing is trained", minimum=1, maximum=100_000)


def retrain(
    registry: Registry,
    name: str,
    request: RetrainingRequest,
    output: Path,
    config: RetrainConfig = RetrainConfig(),
    *,
    options: Mapping[str, Any] | None = None,
    truth: Path | None = None,
    gate: GateConfig | None = None,
    test_set: TestSet | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Promotion:
    """Train the champion of ``name`` on with a request's frames, and promote what passes the gate; close the request.

    ``truth`` is a BOP scene, or a folder of them, with frames of the same kind whose truth is known; ``options`` are of
    the training. The folder ``output`` holds data with their version, run, model and the gate's report; the same call
    goes on with a training that was broken off. Raises ``DataError`` where too few frames are labelled, ``ConfigError``
    where the champion is no model of poses.
    """
    champion = registry.find(f"{name}@{CHAMPION}")
    earlier = registry.pull(champion, output / "champion")
    if load_card(earlier).task != "pose":
        raise ConfigError(f"'{name}' is a model of the task {champion.task}", "only models of poses are retrained")
    data = _collect(request, truth, output / _DATA, load_card(earlier).labels, config)
    values = {
        **dict(options or {}),
        "steps": config.steps,
        "max_minutes": config.max_minutes,
        "learning_rate": config.learning_rate,
        "initial": str(earlier),
        "data": str(data),
        "data_share": config.data_share,
    }
    job = make_job("pose", output / _RUN, values, f"object-pose retrain {request.path} --name {name}")
    train(job, resume=True, progress=progress, callbacks=[TrackedTraining(registry.store)])
    text = CardText(data=f"{name}/{champion.version}, and {data_version(data).digest} of {request.path.name}")
    model = export_retrained(job.run_dir, earlier, output / _MODEL, text=text).path
    added = registry.add(name, model, log_run(registry.store, job.run_dir))
    promotion = promote_candidate(
        registry,
        f"{name}/{added.version}",
        test_set,
        gate,
        run_dir=job.run_dir,
        report_dir=output / _GATE,
        progress=progress,
    )
    result = {"model": f"{name}/{added.version}", "promoted": promotion.report.passed, "report": str(output / _GATE)}
    request.closed(result)
    write_json(output / "result.json", promotion.report.to_json())
    return promotion


def _collect(
    request: RetrainingRequest, truth: Path | None, folder: Path, labels: tuple[str, ...], config: RetrainConfig
) -> Path:
    """Bring the labelled frames together and check them; their version is written beside the folder."""
    if not folder.exists():
        shutil.copytree(request.scene, folder / "000000")
        scenes = [] if truth is None else sorted(path.parent for path in truth.rglob("scene_gt.json"))
        for number, scene in enumerate(scenes, start=1):
            shutil.copytree(scene, folder / f"{number:06d}")
    names = bop_names(labels)
    labelled = sum(bool(item.truths) for scene in sorted(folder.iterdir()) for item in read_bop_scene(scene, names))
    if labelled < config.min_frames:
        raise DataError(
            f"{request.path} has {labelled} frames with confident poses, {config.min_frames} are needed",
            "name labelled frames with --truth",
        )
    write_dvc_file(folder)
    return folder
