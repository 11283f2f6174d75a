"""Verbs that take a model of any task: predict, evaluate, models-check, and the folds of real photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from networks import save_constant_network
from object_pose.core.vision.decoders import Layout
from object_pose.evaluation import real_folds, test_splits
from object_pose.evaluation.bars import Bar
from object_pose.evaluation.samples import read_samples
from object_pose.io.images import write_image
from object_pose.runtime.card import ModelCard
from object_pose.tasks.segment import LAYOUT

WH = (64, 64)


@pytest.fixture
def mask_model(tmp_path: Path) -> Path:
    """A model that sees buildings everywhere."""
    card = ModelCard("segment", LAYOUT, ("building",), WH, parameters=7)
    return save_constant_network(np.ones((1, 1, *WH)), card.to_metadata(), WH, tmp_path / "everywhere.onnx")


def save_tiles(folder: Path, columns: int = 2) -> Path:
    """Tiles of which the left half is a building, two a column."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(2 * columns):
        half = np.zeros((48, 48, 3), np.uint8)
        half[:, :24] = 255
        picture = half // 2 + np.random.default_rng(index).integers(0, 99, half.shape, dtype=np.uint8)
        write_image(folder / "images" / f"{index // 2}-{index % 2}.png", picture)
        write_image(folder / "masks" / f"{index // 2}-{index % 2}.png", half)
    return folder


def test_predict_takes_a_model_of_any_task(cli, mask_model, tmp_path):
    image = save_tiles(tmp_path / "tiles") / "images" / "0-0.png"
    outcome = cli("predict", image, "--model", mask_model, "--json", "--output", tmp_path / "out")
    record = json.loads(outcome.out)
    assert (record["name"], record["label"], record["cover"]) == ("0-0", "building", 1.0)
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


def split_of(model: Path, data: Path, *bars: Bar) -> test_splits.Split:
    return test_splits.Split(str(model), "tiles", lambda card: read_samples("segment", data, card), bars)


def test_models_check_judges_every_model_and_goes_on_past_a_missing_one(cli, mask_model, tmp_path, monkeypatch):
    tiles = save_tiles(tmp_path / "tiles")
    met, missed = Bar("iou", 0.4), Bar("precision", 0.9)
    monkeypatch.setitem(test_splits.TEST_SPLITS, "oriented", split_of(tmp_path / "absent.onnx", tiles, met))
    monkeypatch.setitem(test_splits.TEST_SPLITS, "segment", split_of(mask_model, tiles, met, missed))
    monkeypatch.setitem(test_splits.TEST_SPLITS, "classify", split_of(mask_model, tmp_path / "nowhere", met))
    output = tmp_path / "out"
    assert cli("models-check", "oriented", "classify", "segment", "--output", output).code == 1
    summary = json.loads((output / "summary.json").read_text())
    assert "absent.onnx" in summary["oriented"]["problem"] and not summary["oriented"]["met"]
    assert "nowhere does not exist" in summary["classify"]["problem"]
    segment = summary["segment"]
    assert (segment["iou"], segment["samples"], segment["parameters"], segment["met"]) == (0.5, 4, 7, False)
    assert {name: bar["met"] for name, bar in segment["bars"].items()} == {"iou": True, "precision": False}

    monkeypatch.setitem(test_splits.TEST_SPLITS, "segment", split_of(mask_model, tiles, met))
    outcome = cli("models-check", "segment", "--output", output, "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["segment"]["met"]


def test_real_folds_train_test_and_are_gone_on_with(cli, tmp_path, monkeypatch):
    save_tiles(tmp_path / "data" / "footprints")
    monkeypatch.setenv("OBJECT_POSE_DATA", str(tmp_path / "data"))
    recipe = (("steps", 1), ("input-size", 64), ("rendered-share", 0.0))
    known = real_folds.REAL_FOLDS["segment"]
    bars = (Bar("real_iou", 0.0),)
    tiny = real_folds.CrossValidation("footprints", "tiles", 2, known.held_out, recipe, bars, "buildings.onnx")
    monkeypatch.setitem(real_folds.REAL_FOLDS, "segment", tiny)
    places = ["--runs", tmp_path / "runs", "--output", tmp_path / "out"]
    options = [*places, "--batch-size", 2, "--workers", 0, "--threads", 1, "--device", "cpu"]
    outcome = cli("real-folds", "segment", *options)
    assert outcome.code == 0, outcome.err
    summary = json.loads((tmp_path / "out" / "real.json").read_text())
    assert summary["segment"]["samples"] == 4 and {"real_iou", "real_precision", "real_recall"} < set(
        summary["segment"]
    )
    models = sorted((tmp_path / "runs").glob("segment/fold_*/model.onnx"))
    written = [model.stat().st_mtime_ns for model in models]
    assert len(written) == 2
    assert cli("real-folds", "segment", *options).code == 0
    assert [model.stat().st_mtime_ns for model in models] == written
    assert "was made with" in cli("real-folds", "segment", *options, "--seed", 5).err
