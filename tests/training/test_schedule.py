"""The learning rate falls to its end by the steps, or by the clock where time runs out first."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import pytest

from object_pose.training.callbacks import TrainingCallback
from object_pose.training.loop import Trainer
from object_pose.training.schedule import Schedule
from tiny_task import LineRecipe, config

PLAIN = dataclasses.replace(config(1000), warmup_steps=0)
LONG = 1e6  # minutes


def _schedule(share_of_time: float, start_step: int = 0, **changes: object) -> Schedule:
    """A schedule whose time is used up to a share."""
    limited = dataclasses.replace(PLAIN, max_minutes=LONG, **changes)  # type: ignore[arg-type]
    return Schedule(limited, start_step, time.monotonic() - share_of_time * LONG * 60.0)


def test_without_a_limit_the_steps_alone_count():
    schedule = Schedule(PLAIN, 0, time.monotonic() - 1e9)
    assert [schedule.done(step) for step in (0, 500, 1000, 2000)] == [0.0, 0.5, 1.0, 1.0]
    assert schedule.learning_rate(0) == pytest.approx(PLAIN.learning_rate)
    assert schedule.learning_rate(1000) == pytest.approx(0.01 * PLAIN.learning_rate)
    warm = Schedule(dataclasses.replace(PLAIN, warmup_steps=10), 0, time.monotonic())
    assert warm.learning_rate(4) == pytest.approx(0.5 * PLAIN.learning_rate)


def test_time_that_runs_out_shortens_the_schedule():
    assert _schedule(0.5).done(20) == pytest.approx(0.5, abs=1e-3)
    assert _schedule(0.5).learning_rate(20) == pytest.approx(0.505 * PLAIN.learning_rate, rel=0.01)
    assert _schedule(1.0).learning_rate(20) == pytest.approx(0.01 * PLAIN.learning_rate, rel=0.01)
    assert _schedule(7.0).done(20) == 1.0


def test_time_to_spare_changes_nothing():
    assert _schedule(0.1).learning_rate(600) == Schedule(PLAIN, 0, time.monotonic()).learning_rate(600)


def test_the_warm_up_takes_no_more_than_a_tenth_of_the_time():
    assert _schedule(0.05, warmup_steps=900).learning_rate(0) == pytest.approx(0.5 * PLAIN.learning_rate, rel=0.02)
    assert _schedule(0.1, warmup_steps=900).learning_rate(0) > 0.95 * PLAIN.learning_rate


def test_a_resumed_run_begins_at_the_rate_of_its_steps_and_is_shortened_from_there():
    assert _schedule(0.0, start_step=600).done(600) == pytest.approx(0.6)
    assert _schedule(0.5, start_step=600).done(601) == pytest.approx(0.8, abs=1e-3)


def test_time_that_earlier_calls_took_is_over_and_more_of_it_raises_the_rate():
    limited = dataclasses.replace(PLAIN, steps=1_000_000, max_minutes=LONG)
    now, spent_s = time.monotonic(), 0.5 * LONG * 60.0
    assert Schedule(limited, 40, now, spent_s).done(40) == pytest.approx(0.5, abs=1e-3)
    assert Schedule(limited, 40, now - 0.25 * LONG * 60.0, spent_s).done(60) == pytest.approx(0.75, abs=1e-3)
    longer = dataclasses.replace(limited, max_minutes=2 * LONG)
    assert Schedule(longer, 40, now, spent_s).done(40) == pytest.approx(0.25, abs=1e-3)


def test_the_steps_to_expect_follow_the_speed():
    schedule = _schedule(0.25, steps=1_000_000)
    assert schedule.expected_steps(0) == 1_000_000
    assert schedule.expected_steps(50) == pytest.approx(200, abs=1)
    assert _schedule(0.25, steps=120).expected_steps(50) == 120


class _Rates(TrainingCallback):
    """Keeps the learning rates, and ends each call after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rates: list[float] = []

    def on_step(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        self.rates.append(figures["learning_rate"])
        if len(self.rates) % self.steps == 0:
            trainer.stop()


def test_a_run_with_too_little_time_ends_with_a_low_rate(tmp_path):
    """Each call finds another part of a long time used up: how fast this machine is does not count."""
    limited = config(1_000_000, max_minutes=LONG)
    rates = _Rates(40)
    for used in (0.0, 0.3, 0.6, 0.9, 1.0):
        trainer = Trainer(LineRecipe(), limited, tmp_path / "run", callbacks=[rates], spent_s=used * LONG * 60.0)
        result = trainer.run(resume=used > 0.0)
    assert result.steps_done == 4 * 40 + 1 and not result.is_complete  # no time was left to the last call
    assert rates.rates[5:] == sorted(rates.rates[5:], reverse=True)  # after the warm-up
    assert rates.rates[-1] == pytest.approx(0.01 * limited.learning_rate)
    assert result.validation["slope_error"] < 0.5
