"""Evaluations called from Python: figures out, a report where one is wanted, nothing half-written when cancelled."""

from __future__ import annotations

import numpy as np
import pytest

from labelled import write_mask_set
from networks import save_constant_network
from object_pose.core.errors import CancelledError, ConfigError, DataError
from object_pose.evaluation.runner import evaluate_task
from object_pose.evaluation.samples import Sample
from object_pose.runtime.card import ModelCard
from object_pose.runtime.predictor import Predictor
from object_pose.tasks.segment import LAYOUT
from object_pose.workflows.evaluate import EvaluateConfig, PoseEvaluateConfig, evaluate_model, evaluate_poses

SIZE = (32, 32)


@pytest.fixture
def half(tmp_path):
    """A model that sees a building in the left half of every tile."""
    probability = np.zeros((1, 1, *SIZE))
    probability[..., : SIZE[0] // 2] = 1.0
    card = ModelCard("segment", LAYOUT, labels=("building",), input_wh=SIZE, name="half")
    return Predictor(save_constant_network(probability, card.to_metadata(), SIZE, tmp_path / "half.onnx"))


def test_an_evaluation_gives_figures_progress_and_a_report(half, tmp_path):
    seen = []
    config = EvaluateConfig(write_mask_set(tmp_path / "tiles", 3), output=tmp_path / "out")
    evaluation = evaluate_model(half, config, seen.append)
    assert len(evaluation.truths) == 3 and "iou" in evaluation.figures
    assert [item.done for item in seen] == [0, 1, 2, 3]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Worst cases" in page and page.count("data:image/") == 2 + 2 * 3
    assert "building" in page and f"{evaluation.figures['iou']:.4f}" in page


def test_a_cancelled_evaluation_writes_nothing(half, tmp_path):
    def cancel(progress):
        if progress.done == 2:
            raise CancelledError("enough")

    config = EvaluateConfig(write_mask_set(tmp_path / "tiles", 3), output=tmp_path / "out")
    with pytest.raises(CancelledError, match="enough"):
        evaluate_model(half, config, cancel)
    assert not (tmp_path / "out").exists()


def test_losses_need_a_folder_and_a_run_with_records(half, tmp_path):
    with pytest.raises(ConfigError, match="--output"):
        EvaluateConfig(run_dir=tmp_path)
    config = EvaluateConfig(write_mask_set(tmp_path / "tiles", 3), output=tmp_path / "out", run_dir=tmp_path / "run")
    seen = []
    with pytest.raises(DataError, match="no records"):
        evaluate_model(half, config, seen.append)
    assert not seen and not (tmp_path / "out").exists()


def test_the_worst_tile_is_the_one_with_most_wrong_pixels_and_the_best_shows_a_building(half):
    image = np.zeros((*SIZE, 3), np.uint8)
    left, nothing, wrong = (np.zeros(SIZE, bool) for _ in range(3))
    left[:, : SIZE[0] // 2] = True
    wrong[:, SIZE[0] // 2 :] = True
    samples = [Sample("nothing", image, nothing), Sample("left", image, left), Sample("wrong", image, wrong)]
    evaluation = evaluate_task(half, samples)
    assert [case.sample.name for case in evaluation.worst] == ["wrong", "nothing", "left"]
    assert [case.sample.name for case in evaluation.best] == ["left", "wrong", "nothing"]


def test_poses_are_evaluated_on_renders_with_bop_figures(tmp_path):
    from object_pose.runtime.pose_estimator import PoseEstimator
    from object_pose.runtime.resources import find_model

    estimator = PoseEstimator(find_model("parts.onnx"))
    evaluation = evaluate_poses(estimator, PoseEvaluateConfig(rendered=1, output=tmp_path / "out"))
    assert evaluation.frames == 1 and evaluation.bop is not None
    assert evaluation.to_json()["accepted"].keys() == {"min_score", "recall_add_01d", "precision"}
    names = {path.name.split("_")[0] for path in (tmp_path / "out").iterdir()}
    assert {"summary.json", "report.html", "results.csv", "recall.png", "worst"} <= names
    assert "BOP challenge" in (tmp_path / "out" / "report.html").read_text()
