"""The interval that decides, and poses through the gate."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.workflows.promote import paired_bootstrap


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        interval = paired_bootstrap(rng.normal(0.1, 1.0, 60), 0.9, 400)
        covered += interval.low <= 0.1 <= interval.high
    assert covered == pytest.approx(180, abs=15)


def test_equal_answers_differ_by_nothing():
    interval = paired_bootstrap(np.zeros(20), 0.95, 100)
    assert (interval.mean, interval.low, interval.high) == (0.0, 0.0, 0.0)
