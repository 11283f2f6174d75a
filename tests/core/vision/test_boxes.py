"""Suppression keeps the best of each heap of boxes and says which box suppressed which."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.vision.boxes import box_area, box_iou, suppress

CORNERS = st.tuples(*[st.floats(0, 100)] * 2)
BOXES = st.lists(st.tuples(CORNERS, CORNERS), min_size=1, max_size=30).map(
    lambda pairs: np.array([[*np.minimum(a, b), *np.maximum(a, b)] for a, b in pairs])
)


def test_known_overlaps():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [4, 4, 4, 9]], dtype=float)
    np.testing.assert_allclose(box_iou(boxes[:1], boxes), [[1.0, 50 / 150, 0.0, 0.0]])
    np.testing.assert_allclose(box_iou(boxes[3:], boxes[3:]), [[0.0]])
    np.testing.assert_allclose(box_area(boxes), [100, 100, 100, 0])
    assert box_area(np.array([[3.0, 3.0, 1.0, 1.0]])) == 0


@given(BOXES, BOXES)
def test_iou_is_a_symmetric_share(a, b):
    iou = box_iou(a, b)
    assert np.all((iou >= 0) & (iou <= 1 + 1e-12))
    np.testing.assert_allclose(iou, box_iou(b, a).T)


@given(BOXES, st.floats(0.0, 1.0), st.integers(0, 2**32 - 1))
def test_suppression_keeps_its_promises(boxes, threshold, seed):
    rng = np.random.default_rng(seed)
    scores, class_ids = rng.random(len(boxes)), rng.integers(0, 2, len(boxes))
    kept, owner = suppress(boxes, scores, class_ids, threshold, max_kept=100)
    assert np.all(np.diff(scores[kept]) <= 0)
    iou = box_iou(boxes, boxes)
    for position, index in enumerate(kept):
        assert owner[index] == position
        same_class = kept[class_ids[kept] == class_ids[index]]
        assert np.all(iou[index, same_class[same_class != index]] <= threshold)
    swallowed = np.setdiff1d(np.arange(len(boxes)), kept)
    survivors = kept[owner[swallowed]]
    assert np.all(iou[swallowed, survivors] > threshold)
    assert np.all(class_ids[swallowed] == class_ids[survivors])
    assert np.all(scores[swallowed] <= scores[survivors])


def test_no_more_than_asked_for():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10]], dtype=float)
    kept, owner = suppress(boxes, np.array([0.2, 0.9, 0.5]), np.zeros(3, np.int64), 0.5, max_kept=2)
    assert kept.tolist() == [1, 2] and owner.tolist() == [-1, 0, 1]


def test_nothing_in_nothing_out():
    kept, owner = suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), 0.5, 10)
    assert len(kept) == len(owner) == 0
