"""``real-folds``: every fold is trained and tested, and an interrupted run is resumed."""

from __future__ import annotations

import json

from benchmarks import real_folds
from object_pose.evaluation.criteria import Criterion
from tiles import save_tiles


def test_folds_are_trained_tested_and_resumed(start, tmp_path, monkeypatch):
    save_tiles(tmp_path / "data" / "footprints")
    monkeypatch.setenv("OBJECT_POSE_DATA", str(tmp_path / "data"))
    training = {"steps": 1, "input_size": 64, "rendered_share": 0.0}
    criteria = (Criterion("real_iou", 0.0),)
    tiny = real_folds.RealFolds("footprints", "tiles", 2, training, criteria, "buildings.onnx")
    monkeypatch.setitem(real_folds.REAL_FOLDS, "segment", tiny)
    places = ["--runs", tmp_path / "runs", "--output", tmp_path / "out"]
    options = [*places, "--batch-size", 2, "--workers", 0, "--threads", 1, "--device", "cpu"]
    outcome = start(real_folds.BENCHMARK, "segment", *options)
    assert outcome.code == 0, outcome.err
    summary = json.loads((tmp_path / "out" / "real.json").read_text())
    assert summary["segment"]["samples"] == 4 and {"real_iou", "real_precision", "real_recall"} < set(
        summary["segment"]
    )
    models = sorted((tmp_path / "runs").glob("segment/fold_*/model.onnx"))
    written = [model.stat().st_mtime_ns for model in models]
    assert len(written) == 2
    assert start(real_folds.BENCHMARK, "segment", *options).code == 0
    assert [model.stat().st_mtime_ns for model in models] == written
    assert "was made with" in start(real_folds.BENCHMARK, "segment", *options, "--seed", 5).err
