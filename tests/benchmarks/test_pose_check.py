"""``pose-check``: every figure in the summary beside its acceptance criterion, a missed one in the exit code."""

from __future__ import annotations

import json

import pytest

from benchmarks import pose_check
from benchmarks.harness import check
from benchmarks.pose_check import CRITERIA
from object_pose.runtime.resources import DATA_VARIABLE


@pytest.fixture
def no_real_data(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_without_real_frames_the_rest_is_measured_and_checked(start, tmp_path, no_real_data):
    outcome = start(pose_check.BENCHMARK, "--frames", "1", "--sequence-seconds", "0", "--output", tmp_path / "out")
    assert "without real frames: LM-O was not found" in outcome.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames"] == 1 and summary["targets"] >= 1
    for name in ("ar_bop", "recall_add_01d", "ar_mspd_rgb", "ece", "nees_within_95", "translation_error_mm"):
        assert name in summary
    met = [verdict["met"] for verdict in summary["bars"].values()]
    assert met.count(None) == 15
    assert outcome.code == (1 if False in met else 0)
    assert "not measured" in outcome.out and "lmo_rgb_ar_mspd" in outcome.out


def test_a_folder_without_lmo_that_the_user_named_is_an_error(start, tmp_path):
    arguments = ["--frames", "1", "--sequence-seconds", "0", "--output", tmp_path / "out", "--data", tmp_path / "no"]
    outcome = start(pose_check.BENCHMARK, *arguments)
    assert outcome.code == 2 and "holds no BOP scene" in outcome.err
    assert not (tmp_path / "out").exists()


def summary_at_the_bounds(change: float = 0.0) -> dict:
    """Figures exactly at their bounds, or worse by ``change``."""
    summary: dict = {}
    for criterion in CRITERIA:
        *groups, name = criterion.figure.split(".")
        place = summary
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = criterion.bound + (change if criterion.at_most else -change)
    return summary


def test_a_figure_at_its_bound_meets_it_and_one_beyond_misses_it():
    assert all(verdict["met"] is True for verdict in check(summary_at_the_bounds(), CRITERIA).values())
    assert all(verdict["met"] is False for verdict in check(summary_at_the_bounds(0.001), CRITERIA).values())


def test_what_was_not_measured_is_said_and_what_is_no_number_is_missed():
    verdicts = check({"translation_error_mm": {"p50": float("nan")}}, CRITERIA, required=False)
    assert verdicts["translation_error_mm.p50"]["met"] is False
    assert verdicts["lmo_rgb_ar_mspd"] == {"value": None, "bound": 0.55, "kind": "at_least", "met": None}


@pytest.mark.parametrize(("figure", "limit"), [("ar_bop", 0.85), ("recall_add_01d", 0.96), ("ece", 0.05)])
def test_the_bounds_are_those_that_were_set(figure, limit):
    assert {criterion.figure: criterion.bound for criterion in CRITERIA}[figure] == limit
