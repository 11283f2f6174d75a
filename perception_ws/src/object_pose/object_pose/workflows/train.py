"""Training a network of one task into a run folder."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from object_pose.core.params import flatten, make_config, parameters, unknown_parameter
from object_pose.io.run_folder import RunFolder, RunSettings
from object_pose.training.callbacks import TrainingCallback
from object_pose.training.config import TrainConfig
from object_pose.training.loop import Trainer, TrainingResult
from object_pose.training.tasks.registry import TaskTraining, find_task
from object_pose.workflows.progress import Progress, ProgressCallback, ignore_progress

_REPORTED_EVERY = 20  # steps that show new figures
_REPORTED_FIGURES = 3  # of a validation, which names the telling ones first; the run folder has all


@dataclass(frozen=True)
class TrainingJob:
    """One run: its task, its folder, the training options and an instance of each of ``task.configs``.

    ``command`` is what the run folder and the model's card name as having made it; ``stage`` names the progress.
    ``spent_s`` seconds of its time limit are used up by earlier calls.
    """

    task: TaskTraining
    run_dir: Path
    training: TrainConfig
    configs: tuple[Any, ...]
    command: str = ""
    stage: str = "train"
    spent_s: float = 0.0


def make_job(task_name: str, run_dir: Path, options: Mapping[str, Any], command: str = "") -> TrainingJob:
    """Return the run of a task with ``options`` by name, nested or dotted, over the task's defaults.

    Raises ``ConfigError`` for an unknown task, an option that neither the training nor the task has, or a value out of
    range.
    """
    task = find_task(task_name)
    kinds = (TrainConfig, *task.configs)
    names = {kind: {item.name for item in parameters(kind)} for kind in kinds}
    known = set().union(*names.values())
    given = flatten(options)
    for name in given:
        if name not in known:
            raise unknown_parameter(name, known)
    values = dict(task.defaults) | given
    made: list[Any] = [
        make_config(kind, {name: value for name, value in values.items() if name in names[kind]}) for kind in kinds
    ]
    return TrainingJob(task, run_dir, made[0], tuple(made[1:]), command)


def train(
    job: TrainingJob,
    *,
    resume: bool = False,
    progress: ProgressCallback = ignore_progress,
    callbacks: Sequence[TrainingCallback] = (),
) -> TrainingResult:
    """Train to the configured number of steps, or until the time limit; say how many steps are done.

    ``callbacks`` are called beside ``progress``, such as those that copy the run to a store.

    Raises ``ConfigError`` where the folder holds a run and ``resume`` is not set, ``DataError`` where the data cannot
    be learned from, and ``CancelledError`` on Ctrl-C or where ``progress`` does, with the checkpoint kept.
    """
    started_at = time.monotonic()
    folder = RunFolder(job.run_dir)
    folder.check_free(resume)
    recipe = job.task.recipe(*job.configs)
    called = (_ReportedSteps(job.stage, progress), *callbacks)
    trainer = Trainer(recipe, job.training, job.run_dir, job.command, called, started_at, job.spent_s)
    configs = {type(config).__name__: dataclasses.asdict(config) for config in job.configs}
    folder.write_settings(RunSettings(job.task.name, configs, job.training.seed, job.command))
    return trainer.run(resume)


class _ReportedSteps(TrainingCallback):
    """Passes the training loop's steps on to a workflow's callback."""

    def __init__(self, stage: str, progress: ProgressCallback) -> None:
        self._stage, self._progress = stage, progress
        self._figures: dict[str, float] = {}
        self._validation: dict[str, float] = {}

    def on_start(self, trainer: Trainer) -> None:
        self._report(trainer)

    def on_step(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        if trainer.step % _REPORTED_EVERY == 0:
            self._figures = {name: value for name, value in figures.items() if name != "learning_rate"}
        self._report(trainer)

    def on_validation(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        shown = itertools.islice(figures.items(), _REPORTED_FIGURES)
        self._validation = {f"val_{name}": value for name, value in shown}
        self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        figures = {**self._figures, **self._validation}
        self._progress(Progress(self._stage, trainer.step, trainer.expected_steps, "step", figures))
