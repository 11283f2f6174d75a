"""Time plans: a training step is timed while other processes make the next batches; and when stages end."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
import torch

from object_pose.training.tasks.registry import TaskTraining
from object_pose.workflows import time_plan
from object_pose.workflows.time_plan import PlannedStage, TimePlan, measure_speed
from object_pose.workflows.train import TrainingJob
from tiny_task import LineRecipe, config

_BESIDE = []


@dataclass(frozen=True)
class _Options:
    validation_frames: int = 1


class _WatchedRecipe(LineRecipe):
    """Notes with each step how many processes and threads there are."""

    def loss(self, network, batch):
        _BESIDE.append((len(multiprocessing.active_children()), torch.get_num_threads()))
        return super().loss(network, batch)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("named", "tried"), [(0, [3, 2, 1]), (2, [2])])
def test_steps_are_timed_on_all_numbers_of_threads_beside_the_data_processes(tmp_path, named, tried, monkeypatch):
    monkeypatch.setattr(time_plan, "available_cores", lambda: 3)
    task = TaskTraining("line", "", (_Options,), lambda options: _WatchedRecipe(), lambda *options: None)
    _BESIDE.clear()
    speed = measure_speed(TrainingJob(task, tmp_path / "run", config(10, workers=1, threads=named), (_Options(),)))
    assert list(dict.fromkeys(_BESIDE)) == [(1, threads) for threads in tried]
    assert speed.threads in tried and speed.seconds_a_step > 0.0
    assert not multiprocessing.active_children() and not (tmp_path / "run").exists()


@pytest.mark.parametrize(("cores", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_threads_are_tried_up_to_all_cores(cores, expected):
    assert time_plan._thread_counts(cores) == expected


def test_stages_end_one_after_the_other():
    plan = TimePlan((PlannedStage("train", 60.0, 100), PlannedStage("test", 5.0)), 0.1, {})
    now = datetime(2030, 1, 1)
    assert plan.ends(now) == [now + timedelta(seconds=60), now + timedelta(seconds=65)]
