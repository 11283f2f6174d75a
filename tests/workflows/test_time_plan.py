"""Time plans: what a training step takes while other processes make the next batches, and when stages end."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from object_pose.workflows import time_plan
from object_pose.workflows.time_plan import PlannedStage, StageSpeed, TimePlan


@pytest.mark.parametrize(
    ("step_s", "batch_s", "workers", "expected_s"),
    [
        (0.2, 0.3, 0, 0.5),  # one after the other
        (0.2, 0.3, 1, 0.3),  # the batches are waited for
        (0.5, 0.3, 1, 0.5),  # the steps are
        (0.5, 1.5, 3, 1.0),  # two cores cannot do more
    ],
)
def test_a_step_takes_what_its_batches_and_the_cores_allow(step_s, batch_s, workers, expected_s, monkeypatch):
    monkeypatch.setattr(time_plan, "available_cores", lambda: 2)
    assert StageSpeed(batch_s, step_s, 1, workers).seconds_a_step == pytest.approx(expected_s)


@pytest.mark.parametrize(("cores", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_threads_are_tried_up_to_all_cores(cores, expected):
    assert time_plan._thread_counts(cores) == expected


def test_stages_end_one_after_the_other():
    plan = TimePlan((PlannedStage("train", 60.0, 100), PlannedStage("test", 5.0)), 0.1, {})
    now = datetime(2030, 1, 1)
    assert plan.ends(now) == [now + timedelta(seconds=60), now + timedelta(seconds=65)]
