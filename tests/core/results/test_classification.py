"""Whole-image classes: the result type, the task around it, and its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.results.classification import (
    Classification,
    confusion_matrix,
    normal_class,
    roc_auc,
    score_classes,
)
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.tasks.classify import CLASSIFY

LABELS = ("damaged", "undamaged")


def _classification(probability: float) -> Classification:
    return Classification(np.array([probability, 1.0 - probability]), np.zeros((4, 6), dtype=np.float32))


def test_a_result_is_checked_when_it_is_made():
    result = _classification(0.7)
    assert (result.class_id, result.score) == (0, 0.7)
    with pytest.raises(ValueError, match="sum to 1"):
        Classification(np.array([0.7, 0.7]), np.zeros((4, 6), dtype=np.float32))
    with pytest.raises(ValueError, match=r"attention must have shape \(H, W\)"):
        Classification(np.array([0.7, 0.3]), np.zeros((1, 4, 6), dtype=np.float32))


def test_the_normal_class_is_found_by_its_name():
    assert normal_class(("Damaged", "Undamaged")) == 1
    assert normal_class(("bent", "good", "worn")) == 1
    assert normal_class(("cat", "dog")) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_roc_auc_is_the_share_of_pairs_in_order(items):
    scores = np.array([score for score, _ in items], dtype=np.float64)
    positive = np.array([flag for _, flag in items])
    pairs = scores[positive][:, None] - scores[~positive][None]
    if pairs.size:
        expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
        assert roc_auc(scores, positive) == pytest.approx(expected)
    else:
        assert np.isnan(roc_auc(scores, positive))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60))
def test_figures_follow_from_the_confusions(pairs):
    predicted, true = (np.array(column) for column in zip(*pairs))
    counts = confusion_matrix(predicted, true, 3)
    assert counts.sum() == len(pairs)
    figures = score_classes(np.eye(3)[predicted], true, ("a", "b", "c"))
    assert figures["accuracy"] == pytest.approx((predicted == true).mean())
    for index, label in enumerate("abc"):
        assert figures[f"count_{label}_as_a"] == counts[index, 0]
        if (true == index).any():
            assert figures[f"recall_{label}"] == pytest.approx((predicted[true == index] == index).mean())
        else:
            assert np.isnan(figures[f"recall_{label}"])


def test_the_task_scores_known_results():
    results = [_classification(p) for p in (0.9, 0.8, 0.2, 0.1)]
    figures = CLASSIFY.score(results, [0, 1, 0, 1], LABELS)
    assert figures["accuracy"] == figures["recall_damaged"] == figures["precision_damaged"] == 0.5
    assert figures["count_undamaged_as_damaged"] == 1
    assert figures["roc_auc"] == 0.75


def test_attention_comes_back_to_the_images_pixels():
    image = np.zeros((100, 400, 3), dtype=np.uint8)
    prepared = CLASSIFY.prepare(image, (96, 96))
    attention = np.zeros((1, 1, 12, 12), dtype=np.float32)
    attention[0, 0, 6, 9] = 1.0  # canvas pixels (72..79, 48..55); the image fills rows 36..59
    result = CLASSIFY.decode([np.array([[0.9, 0.1]], dtype=np.float32), attention], prepared, LABELS, DecodeOptions())
    assert result.attention.shape == (100, 400)
    row, column = np.unravel_index(result.attention.argmax(), result.attention.shape)
    assert abs(column - 75.5 * 400 / 96) < 6 and abs(row - (51.5 - 36) * 400 / 96) < 6
    described = json.loads(json.dumps(CLASSIFY.to_json(result, LABELS)))
    assert described["class_name"] == "damaged"
    assert described["attention_peak"]["value"] == pytest.approx(1.0, abs=0.2)
