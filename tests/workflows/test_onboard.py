"""Onboarding called from Python: what was not trained is not noted as trained, and another call goes on."""

from __future__ import annotations

import dataclasses

import pytest

from cad_files import save_part
from object_pose.core.errors import CancelledError, ConfigError
from object_pose.io.run_folder import RunFolder
from object_pose.workflows.onboard import OnboardConfig, onboard, plan_onboarding

SMALL = {
    "width": 96,
    "height": 64,
    "focal_px": 90.0,
    "max_objects": 2,
    "validation_frames": 1,
    "input_width": 96,
    "input_height": 64,
    "crop_width": 64,
    "crop_height": 64,
    "batch_size": 2,
    "workers": 0,
    "threads": 1,
    "device": "cpu",
}


@pytest.fixture
def config(tmp_path):
    part = save_part(tmp_path, "bracket")
    return OnboardConfig((part,), tmp_path / "mine", steps=3, roi_head_steps=0, test_frames=1, options=SMALL)


@pytest.mark.timeout(300)
def test_a_run_that_is_cancelled_or_runs_out_of_time_is_resumed(config):
    seen = []

    def cancel(progress):
        seen.append(progress)
        if progress.stage == "train pose" and progress.done == 1:
            raise CancelledError("enough")

    with pytest.raises(CancelledError, match="enough"):
        onboard(config, progress=cancel)
    assert seen[0].stage == "symmetries" and not config.model.exists()
    assert RunFolder(config.output / "runs" / "pose").steps_done == 1

    hurried = dataclasses.replace(config, options={**SMALL, "max_minutes": 1e-6})
    first = onboard(hurried)
    assert not first.is_complete and first.steps_done == {"pose": 2} and first.evaluation is not None
    assert "has 2 of 3 steps" in first.report.read_text()

    stages = []
    second = onboard(config, progress=lambda progress: stages.append(progress.stage))
    assert second.is_complete and second.steps_done == {"pose": 3}
    assert list(dict.fromkeys(stages)) == ["symmetries", "train pose", "export", "test"]
    assert "steps; repeat the command" not in second.report.read_text()
    third = onboard(config)
    assert third.evaluation is None and third.model == second.model


def test_distances_that_follow_the_parts_size_are_said(tmp_path):
    large = save_part(tmp_path, "bracket", scale=4.0)
    config = OnboardConfig((large,), tmp_path / "out")
    plan = plan_onboarding(config)
    (note,) = plan.notes
    assert "scaled to parts of" in note and f"{plan.scene['max_distance_m']:g} m away" in note
    asked = dataclasses.replace(config, options={"min_distance_m": 0.4, "max_distance_m": 0.9})
    assert "from 0.4 to 0.9 m away (as asked for)" in plan_onboarding(asked).notes[0]


def test_unknown_options_and_unconfirmed_symmetries_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        OnboardConfig((), tmp_path, options={"batchsize": 2})
    elbow = save_part(tmp_path, "pipe_elbow")
    with pytest.raises(ConfigError, match="pipe_elbow are not confirmed"):
        onboard(OnboardConfig((elbow,), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
