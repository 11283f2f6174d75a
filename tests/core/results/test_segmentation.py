"""Masks: identities of their figures, and the way through the letterbox and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from object_pose.core.errors import ModelError
from object_pose.core.results.segmentation import Segmentation, score_masks
from object_pose.core.vision.image import Letterbox, unletterbox
from object_pose.tasks.segment import SEGMENT
from object_pose.tasks.task import Interface

masks = arrays.arrays(np.bool_, (6, 7))


@given(masks, masks)
def test_figures_are_bound_by_their_identities(predicted: np.ndarray, truth: np.ndarray) -> None:
    score, swapped = score_masks([predicted], [truth]), score_masks([truth], [predicted])
    precision, recall, iou = score["precision"], score["recall"], score["iou"]
    assert score["accuracy"] == pytest.approx((predicted == truth).mean())
    np.testing.assert_equal([swapped["precision"], swapped["recall"]], [recall, precision])
    np.testing.assert_equal([swapped["iou"], swapped["mean_iou"]], [iou, score["mean_iou"]])
    if precision + recall > 0:
        assert iou == pytest.approx(precision * recall / (precision + recall - precision * recall))
    inverse = score_masks([~predicted], [~truth])
    np.testing.assert_allclose(score["mean_iou"], (iou + inverse["iou"]) / 2)


@given(st.lists(st.tuples(masks, masks), min_size=1, max_size=4))
def test_pixels_are_pooled_over_images(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    predicted, truths = zip(*pairs)
    together = score_masks([np.concatenate(predicted)], [np.concatenate(truths)])
    np.testing.assert_equal(score_masks(predicted, truths), together)


def test_nothing_there_and_nothing_found_has_no_precision_but_full_accuracy() -> None:
    empty = np.zeros((4, 4), bool)
    score = score_masks([empty], [empty])
    assert score["accuracy"] == 1.0
    assert np.isnan(score["precision"]) and np.isnan(score["recall"]) and np.isnan(score["iou"])


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        score_masks([np.zeros((4, 4), bool)], [np.zeros((4, 5), bool)])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Segmentation(np.full((2, 2), 1.5, np.float32))


def _expected_iou(probability: np.ndarray, mask: np.ndarray) -> float:
    right = probability[mask].sum()
    return float(right / max(mask.sum() + probability.sum() - right, 1e-9))


@given(arrays.arrays(np.float32, (8, 9), elements=st.floats(0, 1, width=32)), st.floats(0.35, 0.5))
def test_no_other_threshold_promises_a_greater_iou(probability: np.ndarray, other: float) -> None:
    chosen = Segmentation(probability).threshold
    assert 0.35 <= chosen <= 0.5
    promised, of_other = (_expected_iou(probability, probability >= limit) for limit in (chosen, other))
    assert promised >= of_other - 1e-3


def test_what_a_model_is_sure_of_is_cut_at_a_half_and_what_it_doubts_below() -> None:
    sure = np.where(np.arange(100) < 40, 0.99, 0.01).astype(np.float32)[None].repeat(20, axis=0)
    doubted = np.where(np.arange(100) < 40, 0.65, 0.2).astype(np.float32)[None].repeat(20, axis=0)
    assert Segmentation(sure).threshold > 0.48
    assert 0.35 <= Segmentation(doubted).threshold < 0.4
    assert Segmentation(np.full((5, 5), 0.3, np.float32)).cover == 0.0


def test_a_region_needs_a_pixel_that_the_model_is_sure_of() -> None:
    probability = np.zeros((20, 40), np.float32)
    probability[5:15, 2:12] = probability[5:15, 20:30] = 0.55
    probability[8, 5] = 0.9
    mask = Segmentation(probability).mask
    assert mask[5:15, 2:12].all() and mask.sum() == 100


@given(st.integers(20, 150), st.integers(20, 150), st.sampled_from([(64, 64), (96, 64), (64, 128)]), st.floats(0, 6.28))
def test_a_mask_comes_back_from_the_network_where_it_was(
    width: int, height: int, input_wh: tuple[int, int], turn: float
) -> None:
    """A half plane through the middle, seen by a network that reads it off the image."""
    y, x = np.mgrid[:height, :width] + 0.5
    distance = (x - width / 2) * np.cos(turn) + (y - height / 2) * np.sin(turn)
    image = np.repeat(np.where(distance > 0, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    prepared = SEGMENT.prepare(image, input_wh)
    result = SEGMENT.decode([prepared.batch[:, :1]], prepared, ("building",), SEGMENT.options)
    assert result.probability.shape == (height, width)
    pixel = 1.5 / min(1.0, *prepared.box.scale)
    clear = np.abs(distance) > pixel
    np.testing.assert_array_equal(result.mask[clear], (distance > 0)[clear])


def test_a_map_at_a_stride_is_stretched_over_the_canvas_before_its_padding_is_cut() -> None:
    box = Letterbox.fit((200, 100), (64, 64))
    ramp = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (16, 1))
    values = unletterbox(ramp, box)
    assert values.shape == (100, 200)
    assert (np.diff(values, axis=1) >= -1e-6).all() and values[50, 100] == pytest.approx(0.5, abs=0.02)


def test_the_json_has_contours_holes_and_cover() -> None:
    probability = np.zeros((60, 80), np.float32)
    probability[10:50, 10:40] = 0.9
    probability[20:30, 20:30] = 0.1
    probability[5:15, 60:75] = 0.7
    told = SEGMENT.to_json(Segmentation(probability), ("building",))
    assert told["class_name"] == "building" and told["size_px"] == [80, 60]
    assert told["cover"] == pytest.approx((probability >= 0.5).mean())
    assert sorted(len(region["holes_px"]) for region in told["regions"]) == [0, 1]
    drawn = np.zeros((60, 80), np.uint8)
    for region in told["regions"]:
        cv2.fillPoly(drawn, [np.array(region["contour_px"])], 1)
    assert (drawn.astype(bool) == (probability > 0.05)).all()


def test_what_has_no_area_is_no_region() -> None:
    probability = np.zeros((20, 30), np.float32)
    probability[3, 4] = probability[10, 5:25] = 1.0
    probability[np.arange(12, 19), np.arange(12, 19)] = 1.0
    result = Segmentation(probability)
    assert result.regions == [] and result.cover == pytest.approx(28 / 600)
    probability[3:5, 4:6] = 1.0
    assert Segmentation(probability).regions == [{"contour_px": [[4, 3], [4, 4], [5, 4], [5, 3]], "holes_px": []}]


def test_a_model_of_another_layout_is_refused() -> None:
    SEGMENT.check(Interface("segment_mask", ("building",), 0, ((1, 1, 256, 256),)))
    with pytest.raises(ModelError, match="a mask model's output"):
        SEGMENT.check(Interface("segment_mask", ("building",), 0, ((1, 2, 256, 256),)))
