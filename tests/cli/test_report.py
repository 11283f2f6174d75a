"""The inspection report: written from a run and a model, whole or not at all."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from networks import save_model
from object_pose.evaluation.reports.inspection import report, study
from object_pose.io.run_folder import RunFolder, RunSettings
from object_pose.runtime.card import ModelCard
from object_pose.simulation.generators.inspection import IMAGE_WH, LABELS, inspection_twins
from object_pose.tasks.classify import LAYOUT


@pytest.fixture
def few_pictures(monkeypatch):
    """Draw the same few scenes again and again: the report's numbers are not what is tested here."""
    twins = cache(lambda seed: inspection_twins(seed))
    monkeypatch.setattr(study, "inspection", lambda seed, light=None: twins(seed % 3)[seed % 2])
    monkeypatch.setattr(report, "inspection_twins", lambda seed: twins(seed % 3))


@pytest.fixture
def run_dir(tmp_path):
    """A run that has recorded a little."""
    folder = RunFolder(tmp_path / "run")
    options = {"data": "", "photometric": 0.2, "reuse": 4, "frozen_blocks": 3}
    folder.write_settings(RunSettings("classify", {"Config": options}, 0, "object-pose train classify"))
    training = {"batch_size": 16, "learning_rate": 1e-3, "threads": 1, "workers": 1, "seed": 0}
    folder.start(0, "object-pose train classify", training, {"python": "3.11"})
    for step in range(20, 200, 20):
        for split in ("train", "validation"):
            folder.record(step, split, {"image": 1.0 / step, "places": 2.0 / step, "accuracy": 0.9})
    return folder.path


def save_classifier(path, labels=LABELS):
    """A network that looks at the mean of the first channel."""
    width, height = IMAGE_WH
    card = ModelCard("classify", LAYOUT, labels=labels, input_wh=IMAGE_WH, name="tiny")
    attention = np.eye(8, dtype=np.float32)[None, None]
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Slice", ["means", "zero", "two", "one"], ["pair"]),
        helper.make_node("Flatten", ["pair"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["probabilities"], axis=1),
        helper.make_node("Constant", [], ["attention"], value=numpy_helper.from_array(attention)),
    ]
    constants = {"zero": 0, "one": 1, "two": 2}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, height, width))],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, (1, 2)),
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, (1, 1, 8, 8)),
        ],
        [onnx.numpy_helper.from_array(np.array([value], dtype=np.int64), name) for name, value in constants.items()],
    )
    return save_model(graph, path, card.to_metadata())


def test_a_report_is_written_from_a_run_and_its_model(cli, run_dir, tmp_path, few_pictures):
    model, output = save_classifier(tmp_path / "tiny.onnx"), tmp_path / "out" / "report.pdf"
    options = ["--run", run_dir, "--model", model, "--output", output, "--compare", run_dir]
    outcome = cli("report", "classify", *options, "--images", "20")
    assert outcome.code == 0, outcome.err
    document = output.read_bytes()
    assert document.startswith(b"%PDF")
    assert 5 <= document.count(b"/Type /Page\n") <= 12
    assert "are too few for a report" in cli("report", "classify", *options, "--images", "3").problem


def test_what_cannot_be_reported_on_is_said_and_nothing_is_written(cli, run_dir, tmp_path, few_pictures):
    model, output = save_classifier(tmp_path / "other.onnx", ("cat", "dog")), tmp_path / "report.pdf"
    common = ["--model", model, "--output", output]
    assert "task.json is missing" in cli("report", "classify", "--run", tmp_path, *common).problem
    assert "needs a classifier of damaged, undamaged" in cli("report", "classify", "--run", run_dir, *common).problem
    assert not output.exists()
