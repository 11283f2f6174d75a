"""The bars: met, missed or not measured, and never passed by a figure that does not exist."""

from __future__ import annotations

import pytest

from object_pose.evaluation.pose_check import BARS, judge


def summary_at_the_bars(change: float = 0.0) -> dict:
    """Figures exactly at their bars, or worse by ``change``."""
    summary: dict = {}
    for bar in BARS:
        *groups, name = bar.figure.split(".")
        place = summary
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = bar.bound + (change if bar.at_most else -change)
    return summary


def test_a_figure_at_its_bar_meets_it_and_one_beyond_misses_it():
    assert all(verdict["met"] is True for verdict in judge(summary_at_the_bars()).values())
    assert all(verdict["met"] is False for verdict in judge(summary_at_the_bars(0.001)).values())


def test_what_was_not_measured_is_said_and_what_is_no_number_is_missed():
    verdicts = judge({"translation_error_mm": {"p50": float("nan")}})
    assert verdicts["translation_error_mm.p50"]["met"] is False
    assert verdicts["lmo_rgb_ar_mspd"] == {"value": None, "bound": 0.55, "kind": "at_least", "met": None}


@pytest.mark.parametrize(("figure", "limit"), [("ar_bop", 0.85), ("recall_add_01d", 0.96), ("ece", 0.05)])
def test_the_bars_are_those_that_were_set(figure, limit):
    assert {bar.figure: bar.bound for bar in BARS}[figure] == limit
