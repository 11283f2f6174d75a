"""Searches for training options: real trainings of a few steps, kept in SQLite, resumed, and written as a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="Optuna needs Python 3.11 (make setup-all)")
from optuna.trial import TrialState

from object_pose.cli.main import main
from object_pose.core.errors import CancelledError, ConfigError
from object_pose.mlops.tuning import TuneConfig, default_space, parse_space, tune
from object_pose.workflows.recipe import check_recipe, read_recipe

SMALL = {
    "input_size": 64,
    "validation_tiles": 4,
    "steps": 2,
    "batch_size": 2,
    "validate_every": 1,
    "workers": 0,
    "threads": 1,
    "device": "cpu",
    "precision": "fp32",
}


def config(output: Path, trials: int, **changes) -> TuneConfig:
    space = dict([parse_space("segment", "learning-rate=1e-4..1e-2:log")])
    return TuneConfig("segment", output, trials, space, SMALL, **changes)


def states(output: Path) -> list[TrialState]:
    study = optuna.load_study(study_name="segment", storage=f"sqlite:///{output / 'study.db'}")
    return [trial.state for trial in study.trials]


def test_a_search_is_resumed_and_its_recipe_trains(tmp_path):
    output = tmp_path / "tuned"

    def cancel(progress):
        if progress.done == 1:
            raise CancelledError("Ctrl-C")

    with pytest.raises(CancelledError):
        tune(config(output, 3), cancel)
    assert states(output) == [TrialState.COMPLETE]
    result = tune(config(output, 3))
    assert len(states(output)) == result.complete + result.pruned == 3
    assert 1e-4 <= result.options["learning_rate"] <= 1e-2
    (job,) = check_recipe(read_recipe(result.recipe), tmp_path / "best")
    assert job.task.name == "segment" and job.training.steps == 2
    assert job.training.learning_rate == result.options["learning_rate"]
    # Nothing is left to do, and the answer is the same.
    assert tune(config(output, 3)) == result


def test_a_trial_that_was_interrupted_is_trained_on(tmp_path):
    output = tmp_path / "tuned"
    study = tune(config(output, 1))
    assert study.complete == 1
    optuna.load_study(study_name="segment", storage=f"sqlite:///{output / 'study.db'}").ask(
        {"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)}
    )
    assert states(output)[1] is TrialState.RUNNING
    assert len(states(output)) == 2
    tune(config(output, 2))
    assert all(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states(output))


def test_another_study_in_the_folder_is_refused(tmp_path):
    tune(config(tmp_path, 1))
    with pytest.raises(ConfigError, match="another metric"):
        tune(config(tmp_path, 1, metric="recall"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("learning_rat=1..2", "learning_rate"),
        ("learning_rate", "unknown parameter"),
        ("learning_rate=0.1..9", "outside"),
        ("learning_rate=0.1..0.2:lin", "no scale"),
        ("batch_size=8,many", "no range"),
    ],
)
def test_ranges_that_are_none(text, problem):
    with pytest.raises(ConfigError, match=problem):
        parse_space("segment", text)


def test_every_task_has_a_usual_space():
    assert set(default_space("detect")) == {"learning_rate", "weight_decay", "batch_size"}
    assert default_space("oriented")["batch_size"].choices


def test_a_figure_that_is_not_measured_is_named(tmp_path, capsys):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    code = main(["tune", "segment", "--output", str(tmp_path), "--trials", "1", "--metric", "beauty", *options])
    assert code == 2
    assert "no figure 'beauty'" in capsys.readouterr().err
