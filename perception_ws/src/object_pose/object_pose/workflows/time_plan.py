"""Where the minutes of an onboarding or a refinement go: what was spent, what a step takes here, and what fits."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import torch

from object_pose.io.writers import write_json
from object_pose.runtime.cpus import available_cores
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig
from object_pose.simulation.seeds import TRAINING
from object_pose.training.loop import Trainer
from object_pose.workflows.progress import ProgressCallback, reported
from object_pose.workflows.train import TrainingJob

FEWEST_STEPS = 50  # of a training that are worth a test
NOTHING_LEFT = 0.03  # of the time, that is not worth another start
_TIMED_FRAMES, _TIMED_STEPS = 6, 3  # not counting those before them that fill caches
_VALIDATIONS, _CHECKPOINT_S = 8, 60.0  # in a stage, and seconds between checkpoints
_PROGRESS = "progress.json"


@dataclass(frozen=True)
class StageSpeed:
    """What a step of a training stage takes here on ``threads``, while its data processes make the next batches."""

    seconds_a_step: float
    threads: int


@dataclass(frozen=True)
class PlannedStage:
    """A stage with the time that it gets, and for training the steps that are expected of it; else 0."""

    name: str
    seconds: float
    steps: int = 0


@dataclass(frozen=True)
class TimePlan:
    """The stages in their order from now on; ``frame_s`` is what a generated frame takes on one core."""

    stages: tuple[PlannedStage, ...]
    frame_s: float
    speeds: Mapping[str, StageSpeed]

    def ends(self, now: datetime) -> list[datetime]:
        """Return when each stage is expected to end."""
        sums = itertools.accumulate(stage.seconds for stage in self.stages)
        return [now + timedelta(seconds=seconds) for seconds in sums]

    @property
    def machine(self) -> str:
        """What this machine manages, as a sentence."""
        steps = ", ".join(
            f"{1e3 * speed.seconds_a_step:.0f} ms a step of '{name}'" for name, speed in self.speeds.items()
        )
        return f"This machine needs {1e3 * self.frame_s:.0f} ms for a generated frame, {steps}."


def read_progress(folder: Path) -> dict[str, Any]:
    """Return what earlier calls noted in a folder, such as their ``minutes``; empty where they did not."""
    path = folder / _PROGRESS
    return dict(json.loads(path.read_text())) if path.exists() else {}


def note_progress(folder: Path, **values: Any) -> None:
    """Note values beside those of before, for later calls on a folder."""
    write_json(folder / _PROGRESS, {**read_progress(folder), **values})


def seconds_left(
    shares: Mapping[str, float], done: Mapping[str, float], left_s: float, stages: Sequence[str]
) -> dict[str, float]:
    """Return what each of the ``stages`` that are waiting may take of ``left_s`` seconds, so that all end in time.

    ``shares`` are of the time of all stages, of which those ``done`` took so many seconds so far.
    """
    whole_s = left_s + sum(done[stage] for stage in shares)
    total = sum(shares.values())
    wanted = {stage: max(0.0, shares[stage] / total * whole_s - done[stage]) for stage in stages}
    sum_s = sum(wanted.values())
    return {stage: left_s * seconds / sum_s if sum_s else 0.0 for stage, seconds in wanted.items()}


def intervals(speed: StageSpeed, seconds: float) -> dict[str, int]:
    """Return the steps between validations and between checkpoints of a stage."""
    steps = seconds / speed.seconds_a_step
    return {
        "validate_every": max(1, round(steps / _VALIDATIONS)),
        "checkpoint_every": max(1, round(_CHECKPOINT_S / speed.seconds_a_step)),
    }


def plan_time(
    jobs: Mapping[str, TrainingJob],
    seconds_of: Callable[[], Mapping[str, float]],
    rest: Sequence[PlannedStage],
    progress: ProgressCallback,
) -> TimePlan:
    """Time each training stage for a moment and return what is expected in the seconds of each, and then the ``rest``.

    ``seconds_of`` says what the stages may take once they are timed. Nothing is written.
    """
    names = list(jobs)
    frame_s, speeds = 0.0, {}
    for name in reported(names, progress, "plan", len(names), "stage"):
        frame_s = frame_s or _frame_seconds(jobs[name])
        speeds[name] = measure_speed(jobs[name])
    seconds = seconds_of()
    training = [
        PlannedStage(
            jobs[name].stage, seconds[name], min(jobs[name].training.steps, _steps(seconds[name], speeds[name]))
        )
        for name in names
    ]
    return TimePlan((*training, *rest), frame_s, speeds)


def measure_speed(job: TrainingJob) -> StageSpeed:
    """Return what a few steps of a run on rendered frames take beside its data processes, without beginning it.

    Where the job names no number of threads, the one that is fastest beside them and whatever else runs is taken.
    """
    rendering = dataclasses.replace(job.configs[0], validation_frames=1)
    recipe = job.task.recipe(rendering, *job.configs[1:])
    trainer = Trainer(recipe, dataclasses.replace(job.training, initial=""), job.run_dir)
    batches, usual_threads = trainer.batches(), torch.get_num_threads()
    try:
        for _ in range(trainer.prefetched):  # made while no step ran beside them
            next(batches)
        # The most threads first: batches that lie ready after slower steps would hide that faster ones wait for them.
        counts = [job.training.threads] if job.training.threads else _thread_counts(available_cores())[::-1]
        speeds = [StageSpeed(_seconds_a_step(trainer, batches, threads), threads) for threads in counts]
    finally:
        torch.set_num_threads(usual_threads)
    return min(speeds, key=lambda speed: speed.seconds_a_step)


def _seconds_a_step(trainer: Trainer, batches: Iterator[Any], threads: int) -> float:
    """Return what a step takes with the wait for its batch."""
    torch.set_num_threads(threads)
    trainer.train_step(next(batches))
    start = time.perf_counter()
    for _ in range(_TIMED_STEPS):
        trainer.train_step(next(batches))
    return (time.perf_counter() - start) / _TIMED_STEPS


def _thread_counts(cores: int) -> list[int]:
    """Return the powers of two below ``cores``, and all cores."""
    return [2**power for power in range(cores.bit_length()) if 2**power < cores] + [cores]


def _frame_seconds(job: TrainingJob) -> float:
    (scene,) = (config for config in job.configs if isinstance(config, SceneConfig))
    frames = iter(FrameStream(load_objects(job.configs[0].objects), scene, depth=True, seed=TRAINING.seed()))
    next(frames), next(frames)
    return _median_seconds(lambda: next(frames), _TIMED_FRAMES)


def _steps(seconds: float, speed: StageSpeed) -> int:
    return max(1, round(seconds / speed.seconds_a_step))


def _median_seconds(work: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)
