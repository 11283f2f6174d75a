"""Where the minutes of an onboarding go: what a frame and a training step take on this machine, and what fits."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

import torch

from object_pose.runtime.cpus import available_cores
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig
from object_pose.simulation.seeds import TRAINING
from object_pose.training.loop import Trainer
from object_pose.workflows.progress import ProgressCallback, reported
from object_pose.workflows.train import TrainingJob

_TIMED_FRAMES, _TIMED_STEPS = 6, 4  # not counting those before them that fill caches


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
        counts = [job.training.threads] if job.training.threads else _thread_counts(available_cores())
        speeds = [StageSpeed(_seconds_a_step(trainer, batches, threads), threads) for threads in counts]
    finally:
        torch.set_num_threads(usual_threads)
    return min(speeds, key=lambda speed: speed.seconds_a_step)


def _seconds_a_step(trainer: Trainer, batches: Iterator[Any], threads: int) -> float:
    """Return what a batch and the step on it take when none of the batches lies ready that were made ahead."""
    torch.set_num_threads(threads)
    for _ in range(trainer.prefetched):
        next(batches)
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
