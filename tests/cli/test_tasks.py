"""Verbs that take a model of any task: predict and evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from networks import save_constant_network
from object_pose.core.vision.decoders import Layout
from object_pose.runtime.card import ModelCard
from tiles import save_mask_model, save_tiles

WH = (64, 64)


@pytest.fixture
def mask_model(tmp_path: Path) -> Path:
    """A model that sees buildings everywhere."""
    return save_mask_model(tmp_path / "everywhere.onnx")


def test_predict_takes_a_model_of_any_task(cli, mask_model, tmp_path):
    image = save_tiles(tmp_path / "tiles") / "images" / "0-0.png"
    outcome = cli("predict", image, "--model", mask_model, "--json", "--output", tmp_path / "out")
    record = json.loads(outcome.out)
    assert (record["name"], record["class_name"], record["cover"]) == ("0-0", "building", 1.0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0-0.png", "results.jsonl"]
    assert cli("predict", "segment", image, "--model", mask_model, "--json").out == outcome.out
    assert "not of oriented" in cli("predict", "oriented", image, "--model", mask_model).problem
    assert cli("predict", image, "--model", mask_model).out == "0-0: building covers 100.0% in 1 regions\n"


def test_evaluate_measures_on_a_folder(cli, mask_model, tmp_path):
    tiles = save_tiles(tmp_path / "tiles")
    outcome = cli("evaluate", "segment", "--data", tiles, "--model", mask_model, "--json", "--output", tmp_path / "out")
    figures = json.loads(outcome.out)
    assert (figures["samples"], figures["precision"], figures["recall"], figures["iou"]) == (4, 0.5, 1.0, 0.5)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == figures
    assert "0.5000" in cli("evaluate", "segment", "--data", tiles, "--model", mask_model).out


def test_evaluate_says_what_does_not_fit(cli, mask_model, tmp_path):
    tiles = save_tiles(tmp_path / "tiles")
    (tiles / "masks" / "1-1.png").unlink()
    assert "image without mask" in cli("evaluate", "segment", "--data", tiles, "--model", mask_model).problem
    assert "of the task segment" in cli("evaluate", "oriented", "--model", mask_model).problem
    assert "--output" in cli("evaluate", "segment", "--model", mask_model, "--run", tmp_path).problem
    assert "use --data" in cli("evaluate", "detect", "--rendered", 1, "--model", detector(tmp_path)).problem


def detector(tmp_path: Path) -> Path:
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("cat",), WH)
    return save_constant_network(np.zeros((1, 5, 84)), card.to_metadata(), WH, tmp_path / "boxes.onnx")
