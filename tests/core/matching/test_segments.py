"""Pieces of surface in a depth image: a spring is one piece, and two that touch are two."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.core.geometry.camera import Camera
from object_pose.core.matching.oriented_depth import STRIDE
from object_pose.core.matching.segments import find_segments
from object_pose.core.pose.depth_evidence import DepthNoise, make_depth_view
from object_pose.core.vision.boxes import box_iou

CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
Box = tuple[int, int, int, int]


def coiled(*boxes: Box) -> list[tuple[np.ndarray, bool]]:
    """The segments of springs in boxes: windings two samples wide, with nothing measured between them."""
    depth = np.zeros((CAMERA.height, CAMERA.width), dtype=np.float32)
    for x0, y0, x1, y1 in boxes:
        for x in range(x0, x1, 4 * STRIDE):
            depth[y0:y1, x : min(x + 2 * STRIDE, x1)] = 0.6
    view = make_depth_view(depth, CAMERA, DepthNoise(0.001, 0.001))
    found = find_segments(view, np.ones(depth[::STRIDE, ::STRIDE].shape, dtype=bool))
    return [(segment.box_xyxy, segment.is_wire) for segment in found]


def best_overlap(segments: list[tuple[np.ndarray, bool]], box: Box) -> float:
    wires = np.array([found for found, is_wire in segments if is_wire])
    return float(box_iou(np.array([box], dtype=np.float64), wires).max())


def test_a_spring_is_one_piece_with_what_lies_between_its_windings() -> None:
    spring = (60, 80, 140, 112)
    assert best_overlap(coiled(spring), spring) > 0.65


@pytest.mark.parametrize(
    "first, second",
    [
        ((60, 80, 140, 112), (140, 102, 220, 134)),
        ((60, 80, 140, 112), (128, 112, 208, 144)),
        ((60, 80, 140, 112), (132, 104, 164, 184)),
    ],
    ids=["with their ends", "with their sides", "at a right angle"],
)
def test_springs_that_touch_are_pieces_of_their_own(first: Box, second: Box) -> None:
    segments = coiled(first, second)
    assert best_overlap(segments, first) > 0.6
    assert best_overlap(segments, second) > 0.6


def test_a_piece_is_named_once() -> None:
    boxes = np.array([box for box, is_wire in coiled((60, 80, 140, 112), (200, 30, 280, 62)) if is_wire])
    overlaps = box_iou(boxes, boxes)
    assert np.all(overlaps[~np.eye(len(boxes), dtype=bool)] < 0.85)
