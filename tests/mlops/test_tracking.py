"""Runs and evaluations in the store, and what happens to a training while the store is away."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from object_pose.io.datasets.content_hash import data_version
from object_pose.io.run_folder import RunFolder, RunSettings
from object_pose.mlops.store import open_store
from object_pose.mlops.tracking import CODE_TAG, DATA_TAG, TrackedTraining, log_evaluation, log_run
from object_pose.training.loop import Trainer
from tiny_task import LineRecipe, config


class PicturedRecipe(LineRecipe):
    """The line, with a picture of it."""

    def pictures(self, network: object) -> Mapping[str, np.ndarray]:
        return {"line/fit": np.zeros((4, 4, 3), dtype=np.uint8)}


def train(run_dir: Path, *callbacks, steps=100, resume=False, data=""):
    folder = RunFolder(run_dir)
    result = Trainer(PicturedRecipe(), config(steps), run_dir, "object-pose train line", callbacks)
    folder.write_settings(
        RunSettings("line", {"LineConfig": {"data": data, "slope": 3.0}}, 0, "object-pose train line")
    )
    return result.run(resume)


def run_of(store, run_dir):
    return store.client.get_run(json.loads((run_dir / "tracking.json").read_text())["run_id"])


def test_a_run_has_its_options_versions_figures_and_pictures(store, tmp_path, pictures):
    train(tmp_path / "run", TrackedTraining(store), data=str(pictures))
    run = run_of(store, tmp_path / "run")
    assert run.info.status == "FINISHED"
    assert (run.data.params["slope"], run.data.params["steps"], run.data.params["batch_size"]) == ("3.0", "100", "16")
    assert json.loads(run.data.tags[DATA_TAG]) == {"data": data_version(pictures).digest}
    assert run.inputs.dataset_inputs[0].dataset.digest == data_version(pictures).digest
    assert len(run.data.tags[CODE_TAG]) >= 5
    history = store.client.get_metric_history(run.info.run_id, "validation/slope_error")
    assert [item.step for item in history] == [50, 100]
    assert history[-1].value < 0.5
    assert [item.step for item in store.client.get_metric_history(run.info.run_id, "train/total")][-1] == 100
    assert [item.path for item in store.client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/line_fit.png"]


def test_a_resumed_run_goes_on_in_the_same_place(store, tmp_path):
    run_dir = tmp_path / "run"
    train(run_dir, TrackedTraining(store), steps=60)
    first = run_of(store, run_dir).info.run_id
    train(run_dir, TrackedTraining(store), steps=120, resume=True)
    assert run_of(store, run_dir).info.run_id == first
    assert store.client.get_metric_history(first, "validation/slope_error")[-1].step == 120


def test_a_store_that_is_away_costs_a_warning_and_takes_the_run_later(store, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = open_store("http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING, "object_pose"):
        assert train(tmp_path / "run", TrackedTraining(away)).is_complete
    assert "models log" in caplog.text
    run_id = log_run(store, tmp_path / "run")
    assert store.client.get_metric_history(run_id, "validation/slope_error")[-1].step == 100
    assert log_run(store, tmp_path / "run") == run_id


def test_an_evaluation_names_model_data_and_report(store, tmp_path, good, pictures):
    report = tmp_path / "report"
    report.mkdir()
    (report / "report.html").write_text("<html>")
    figures = {"accuracy": 0.9, "task": "classify", "per_class": {"bright": 1.0}}
    run_id = log_evaluation(store, "classify", figures, {"seed": 7}, good, pictures, report)
    run = store.client.get_run(run_id)
    assert run.data.metrics == {"test/accuracy": 0.9, "test/per_class.bright": 1.0}
    assert json.loads(run.data.tags[DATA_TAG]) == {"data": data_version(pictures).digest}
    assert [item.path for item in store.client.list_artifacts(run_id, "report")] == ["report/report.html"]


@pytest.mark.parametrize("where", ["sqlite:////tmp/x.db", "http://host:5000", "azureml://region.api/workspace"])
def test_a_store_may_be_any_uri(where):
    assert (open_store(where).uri, open_store(where).folder) == (where, None)
