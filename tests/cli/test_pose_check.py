"""``pose-check`` on one frame: every figure in the summary, the bars printed, a missed bar in the exit code."""

from __future__ import annotations

import json

import pytest

from object_pose.runtime.resources import DATA_VARIABLE


@pytest.fixture
def no_real_data(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_without_real_frames_the_rest_is_measured_and_judged(cli, tmp_path, no_real_data):
    outcome = cli("pose-check", "--frames", "1", "--sequence-seconds", "0", "--output", tmp_path / "out")
    assert "without real frames: LM-O was not found" in outcome.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames"] == 1 and summary["targets"] >= 1
    for name in ("ar_bop", "recall_add_01d", "ar_mspd_rgb", "ece", "nees_within_95", "translation_error_mm"):
        assert name in summary
    met = [verdict["met"] for verdict in summary["bars"].values()]
    assert met.count(None) == 6
    assert outcome.code == (1 if False in met else 0)
    assert "not measured" in outcome.out and "lmo_rgb_ar_mspd" in outcome.out


def test_a_folder_without_lmo_that_the_user_named_is_an_error(cli, tmp_path):
    arguments = ["--frames", "1", "--sequence-seconds", "0", "--output", tmp_path / "out", "--data", tmp_path / "no"]
    outcome = cli("pose-check", *arguments)
    assert outcome.code == 2 and "holds no BOP scene" in outcome.err
    assert not (tmp_path / "out").exists()
