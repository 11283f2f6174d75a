"""Oriented boxes: IoU and heading as mathematics, decoding, and the published score's rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.results.oriented import OrientedBox, average_precision, decode_oriented, score_oriented

boxes = st.builds(
    OrientedBox,
    x=st.floats(0, 200),
    y=st.floats(0, 200),
    yaw=st.floats(0, 2 * np.pi),
    width=st.floats(5, 60),
    height=st.floats(5, 60),
)


@given(boxes)
def test_a_box_overlaps_itself_fully_and_also_turned_about(box: OrientedBox) -> None:
    turned = OrientedBox(box.x, box.y, box.yaw + np.pi, box.width, box.height)
    assert box.iou(box) == pytest.approx(1.0, abs=1e-6)
    assert box.iou(turned) == pytest.approx(1.0, abs=1e-6)
    assert box.heading_error(turned) == pytest.approx(np.pi)


@given(boxes, boxes)
def test_iou_and_heading_error_are_symmetric_and_bounded(first: OrientedBox, second: OrientedBox) -> None:
    assert first.iou(second) == pytest.approx(second.iou(first), abs=1e-6)
    assert 0.0 <= first.iou(second) <= 1.0 + 1e-9
    assert first.heading_error(second) == pytest.approx(second.heading_error(first), abs=1e-9)


def test_the_heading_is_the_published_one() -> None:
    """Yaw of 30 degrees: the nose is at (sin, cos) = (0.5, 0.866), x right and y down, half the height from the middle.

    The published labels rotate row vectors, ``points @ [[cos, -sin], [sin, cos]]``: the nose (0, 20) goes to
    (20 sin, 20 cos) = (10, 17.32), and the wing (10, -20) to (10 cos - 20 sin, -10 sin - 20 cos) = (-1.34, -22.32).
    """
    box = OrientedBox(100.0, 50.0, np.radians(30.0), 20.0, 40.0)
    expected = [[81.34, 37.68], [98.66, 27.68], [118.66, 62.32], [101.34, 72.32]]
    np.testing.assert_allclose(box.corners, expected, atol=0.01)
    nose = box.corners[2:].mean(axis=0)
    np.testing.assert_allclose(nose, [110.0, 67.32], atol=0.01)


@given(boxes, st.floats(0, 2 * np.pi))
def test_iou_does_not_change_when_both_turn(box: OrientedBox, angle: float) -> None:
    other = OrientedBox(box.x + 3.0, box.y - 2.0, box.yaw + 0.2, box.width * 1.1, box.height * 0.9)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def turned(item: OrientedBox) -> OrientedBox:
        x, y = rotation @ (item.x, item.y)
        return OrientedBox(float(x), float(y), item.yaw - angle, item.width, item.height)

    assert turned(box).iou(turned(other)) == pytest.approx(box.iou(other), abs=1e-6)


@given(boxes)
def test_decoding_returns_the_box_whatever_the_turn_count_of_its_yaw(box: OrientedBox) -> None:
    row = np.array([0.9, box.x, box.y, -box.yaw - 4.0 * np.pi, box.width, box.height], dtype=np.float32)
    decoded = decode_oriented(row, 0.5)
    assert decoded is not None
    assert decoded.iou(box) > 0.99
    assert decoded.heading_error(box) < 1e-3
    assert 0.0 <= decoded.yaw <= 2.0 * np.pi
    assert decoded.score == pytest.approx(0.9, abs=1e-6)


def test_nothing_is_decoded_below_the_threshold() -> None:
    assert decode_oriented(np.array([0.9, 50, 50, 0, 20, 30], dtype=np.float32), 0.95) is None


def test_score_drops_true_negatives_and_counts_misses_and_false_alarms_as_zero() -> None:
    box = OrientedBox(50, 50, 0.3, 20, 30)
    score = score_oriented([box, None, None, box], [box, None, box, None])
    assert score.score_iou07 == pytest.approx(1 / 3)
    assert score.heading_within_15deg == 1.0


def test_average_precision_of_a_known_ranking() -> None:
    assert average_precision([(0.9, True), (0.8, False), (0.7, True)], positives=2) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision([], positives=3) == 0.0
