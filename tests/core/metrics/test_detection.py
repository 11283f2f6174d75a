"""Average precision: the same numbers as COCO's own evaluation, on boxes of all kinds of quality."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from object_pose.core.metrics.detection import Ranking, score_boxes
from object_pose.core.results.detections import Detections

LABELS = ("gear", "hex bolt", "spring")


def detections(boxes, scores, class_ids) -> Detections:
    count = len(scores)
    empty = np.zeros((count, 0, 2)), np.zeros((count, 0))
    return Detections(np.reshape(boxes, (count, 4)), np.asarray(scores), np.asarray(class_ids, np.int64), *empty)


def random_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    low = rng.uniform(0, 400, (count, 2))
    return np.concatenate([low, low + rng.uniform(10, 120, (count, 2))], axis=1)


def random_case(seed: int, images: int = 25) -> tuple[list[Detections], list[Detections]]:
    """Truths, and answers that are near some of them, duplicate, miss, or name the wrong class."""
    rng = np.random.default_rng(seed)
    results, truths = [], []
    for _ in range(images):
        count = int(rng.integers(0, 7))
        truth = detections(random_boxes(count, rng), np.ones(count), rng.integers(0, 2, count))
        picked = rng.integers(0, max(count, 1), int(rng.integers(0, 12))) if count else np.zeros(0, np.int64)
        near = truth.boxes_xyxy[picked] + rng.normal(0, rng.uniform(1, 12), (len(picked), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        stray = random_boxes(int(rng.integers(0, 4)), rng)
        class_ids = np.concatenate([truth.class_ids[picked], rng.integers(0, 3, len(stray))])
        wrong = rng.random(len(class_ids)) < 0.1
        class_ids[wrong] = rng.integers(0, 3, wrong.sum())
        boxes = np.concatenate([near, stray])
        scores = rng.choice([0.1, 0.3, 0.5, 0.7, 0.9], len(boxes)) if seed % 2 else rng.random(len(boxes))
        results.append(detections(boxes, scores, class_ids))
        truths.append(truth)
    return results, truths


def coco_figures(results: list[Detections], truths: list[Detections]) -> tuple[float, float]:
    faster_coco_eval = pytest.importorskip("faster_coco_eval", reason="the training requirements are not installed")

    def rows(items: list[Detections], scored: bool) -> list[dict]:
        found = []
        for image_id, item in enumerate(items, start=1):
            for box, score, class_id in zip(item.boxes_xyxy, item.scores, item.class_ids):
                width, height = box[2:] - box[:2]
                row = {"image_id": image_id, "category_id": int(class_id) + 1, "id": len(found) + 1, "iscrowd": 0}
                row |= {"bbox": [box[0], box[1], width, height], "area": width * height}
                found.append(row | ({"score": float(score)} if scored else {}))
        return found

    images = [{"id": index + 1, "width": 640, "height": 640} for index in range(len(truths))]
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(LABELS)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = faster_coco_eval.COCO({"images": images, "annotations": rows(truths, False), "categories": categories})
        answers = truth.loadRes(rows(results, True))
        evaluation = faster_coco_eval.COCOeval_faster(truth, answers, "bbox", print_function=lambda *_: None)
        evaluation.run()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


@pytest.mark.parametrize("seed", range(6))
def test_the_figures_are_those_of_coco(seed: int) -> None:
    results, truths = random_case(seed)
    figures = score_boxes(results, truths, LABELS)
    expected_95, expected_50 = coco_figures(results, truths)
    assert 0.05 < figures["map50"] < 0.95
    assert figures["map50"] == pytest.approx(expected_50, abs=1e-6)
    assert figures["map50_95"] == pytest.approx(expected_95, abs=1e-6)


def test_labels_that_occur_have_their_own_figure() -> None:
    truth = detections([[0, 0, 10, 10], [20, 20, 40, 40]], np.ones(2), [0, 1])
    found = detections([[0, 0, 10, 10], [0, 0, 5, 5]], [0.9, 0.8], [0, 2])
    figures = score_boxes([found], [truth], LABELS)
    assert {name for name in figures if name.startswith("map50_")} == {
        "map50_95",
        "map50_min_5_boxes",
        "map50_gear",
        "map50_hex_bolt",
    }
    assert (figures["map50_gear"], figures["map50_hex_bolt"], figures["map50"]) == (1.0, 0.0, 0.5)


def test_the_mean_of_labels_with_five_boxes_leaves_rarer_ones_out() -> None:
    boxes = [[20.0 * i, 0.0, 20.0 * i + 10.0, 10.0] for i in range(6)]
    truth = detections(boxes, np.ones(6), [0, 0, 0, 0, 0, 1])
    found = detections(boxes[:5], np.ones(5), [0] * 5)
    figures = score_boxes([found], [truth], LABELS)
    assert (figures["map50_min_5_boxes"], figures["map50"]) == (1.0, 0.5)


def test_nothing_to_find_is_no_average() -> None:
    assert score_boxes([Detections.empty()], [Detections.empty()], LABELS) == {
        "map50": 0.0,
        "map50_95": 0.0,
        "map50_min_5_boxes": 0.0,
    }
    assert np.isnan(Ranking(np.zeros(0), np.zeros(0, dtype=bool), 0).average_precision)


def test_a_duplicate_is_a_false_answer() -> None:
    truth = detections([[0, 0, 10, 10], [50, 50, 60, 60]], np.ones(2), [0, 0])
    twice = detections([[0, 0, 10, 10], [0, 0, 10, 10.2], [50, 50, 60, 60]], [0.9, 0.8, 0.7], [0, 0, 0])
    # Recall 0.5 at precision 1, then recall 1 at precision 2/3: 51 and 50 of the 101 recall points.
    assert score_boxes([twice], [truth], LABELS)["map50"] == pytest.approx((51 * 1.0 + 50 * 2 / 3) / 101)
