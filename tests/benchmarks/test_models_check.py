"""``models-check``: every shipped model beside its acceptance criteria, whatever is missing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import models_check
from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.samples import read_samples
from object_pose.io.images import write_image
from object_pose.runtime.predictor import Predictor
from tiles import save_mask_model, save_tiles


@pytest.fixture
def mask_model(tmp_path: Path) -> Path:
    """A model that sees buildings everywhere."""
    return save_mask_model(tmp_path / "everywhere.onnx")


def split_of(model: Path, data: Path, *criteria: Criterion) -> models_check.Split:
    return models_check.Split(str(model), "tiles", lambda card: read_samples("segment", data, card), criteria)


def test_every_model_is_checked_past_a_missing_one(start, mask_model, tmp_path, monkeypatch):
    tiles = save_tiles(tmp_path / "tiles")
    met, missed = Criterion("iou", 0.4), Criterion("precision", 0.9)
    monkeypatch.setitem(models_check.SPLITS, "oriented", split_of(tmp_path / "absent.onnx", tiles, met))
    monkeypatch.setitem(models_check.SPLITS, "segment", split_of(mask_model, tiles, met, missed))
    monkeypatch.setitem(models_check.SPLITS, "classify", split_of(mask_model, tmp_path / "nowhere", met))
    output = tmp_path / "out"
    outcome = start(models_check.BENCHMARK, "oriented", "classify", "segment", "--output", output)
    shown = "".join(outcome.out.split())  # long paths are broken where the terminal ends
    assert outcome.code == 1 and "segment.precision" in shown and "absent.onnx" in shown
    summary = json.loads((output / "summary.json").read_text())
    assert "absent.onnx" in summary["oriented"]["problem"] and not summary["oriented"]["met"]
    assert "nowhere does not exist" in summary["classify"]["problem"]
    segment = summary["segment"]
    assert (segment["iou"], segment["samples"], segment["parameters"], segment["met"]) == (0.5, 4, 7, False)
    assert {name: item["met"] for name, item in segment["bars"].items()} == {"iou": True, "precision": False}

    more = dataclasses.replace(split_of(mask_model, tiles, met), more=lambda _: {"published_iou": 0.5})
    monkeypatch.setitem(models_check.SPLITS, "segment", more)
    outcome = start(models_check.BENCHMARK, "segment", "--output", output, "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["segment"]["met"]
    assert json.loads(outcome.out)["segment"]["published_iou"] == 0.5


def test_an_unknown_task_is_one_line(start):
    outcome = start(models_check.BENCHMARK, "depth")
    assert outcome.code == 2 and outcome.err.startswith("benchmarks.models_check: there is no task depth here")


def test_other_places_are_scored_together_and_each_alone(mask_model, tmp_path, monkeypatch):
    data = save_tiles(tmp_path / "footprints_elsewhere", columns=1)
    for kind in ("images", "masks"):
        for file, place in zip(sorted((data / kind).iterdir()), ("here", "there")):
            file.rename(file.with_name(f"{place}__{file.name}"))
    write_image(data / "masks" / "there__0-1.png", np.zeros((48, 48, 3), np.uint8))
    monkeypatch.setenv("OBJECT_POSE_DATA", str(tmp_path))
    figures = models_check.SPLITS["segment"].more(Predictor(mask_model))
    assert figures["elsewhere_here_iou"] == 0.5 and figures["elsewhere_there_iou"] == 0.0
    assert figures["elsewhere_iou"] == figures["elsewhere_precision"] == 0.25 and figures["elsewhere_recall"] == 1.0
