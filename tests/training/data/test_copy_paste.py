"""Copy-paste and class-balanced sampling: boxes stay on their objects, and rare classes are seen more often."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.core.vision.boxes import box_area, box_intersection
from object_pose.io.datasets.samples import LabelledBoxes
from object_pose.training.data.augmentation import DetectionSample
from object_pose.training.data.copy_paste import CopyPaste, cut_out
from object_pose.training.data.sources import DiskSource, repeats

SEEDS = st.integers(0, 2**32 - 1)


def sample(
    class_id: int, box: tuple[int, int, int, int], inner: tuple[int, int, int, int] | None = None
) -> DetectionSample:
    """A grey 120x100 image whose objects are full of their class's channel; ``inner`` is one of class 2 within."""
    image = np.full((100, 120, 3), 60, dtype=np.uint8)
    boxes, ids = [box], [class_id]
    if inner is not None:
        boxes, ids = [box, inner], [class_id, 2]
    for (left, top, right, bottom), channel in zip(boxes, ids):
        image[top : bottom + 1, left : right + 1] = 0
        image[top : bottom + 1, left : right + 1, channel] = 255
    outer_edges = np.array(boxes, dtype=np.float64) + np.array([-0.5, -0.5, 0.5, 0.5])
    return DetectionSample(image, outer_edges, np.array(ids), np.zeros((len(boxes), 0, 2)))


DONORS = [sample(0, (10, 10, 40, 60)), sample(1, (50, 30, 90, 80), (60, 40, 75, 55))]


@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_pasted_boxes_lie_on_their_pixels_and_cover_little_of_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = sample(0, (30, 20, 60, 70))
    untouched = before.image.copy()
    paste = CopyPaste([donor.class_ids for donor in DONORS], lambda index: DONORS[index])
    after = paste(before, rng)
    assert np.array_equal(before.image, untouched)
    assert len(after.boxes_xyxy) == len(after.class_ids) == len(after.keypoints)
    assert np.array_equal(after.boxes_xyxy[:1], before.boxes_xyxy)
    covered = box_intersection(after.boxes_xyxy[1:2], before.boxes_xyxy)
    assert (covered <= 0.3 * box_area(before.boxes_xyxy)).all()
    last = len(after.class_ids) - 1
    box, channel = after.boxes_xyxy[last], after.class_ids[last]
    assert (box[:2] >= -1.0).all() and (box[2:] <= (120.0, 100.0)).all()
    x, y = np.rint((box[:2] + box[2:]) / 2).astype(int)
    assert after.image[y, x, channel] > 200 and after.image[y, x].sum() < 320


def test_a_cutout_has_its_own_box_first_and_those_within() -> None:
    piece = cut_out(DONORS[1], 0)
    assert piece.class_ids.tolist() == [1, 2]
    assert cut_out(DONORS[1], 1).class_ids.tolist() == [2]
    left, top, right, bottom = np.rint(piece.boxes_xyxy[0]).astype(int)
    assert (piece.image[(top + bottom) // 2, left + 2] == (0, 255, 0)).all()
    assert min(left, top) > 1 and right < piece.image.shape[1] and bottom < piece.image.shape[0]


def test_rare_classes_are_pasted_by_the_root_of_their_frequency() -> None:
    donors = [DONORS[0]] * 16 + [DONORS[1]]
    paste = CopyPaste([donor.class_ids[:1] for donor in donors], lambda index: donors[index])
    rng = np.random.default_rng(0)
    empty = sample(0, (0, 0, 2, 2))
    pasted = Counter(int(paste(empty, rng).class_ids[1]) for _ in range(300))
    assert 0.15 < pasted[1] / 300 < 0.25  # 1 of 1 + 4


def test_images_repeat_by_the_rarest_class_they_have() -> None:
    ids = [np.array([0])] * 15 + [np.array([0, 1]), np.zeros(0, dtype=np.int64)]
    assert repeats(ids, 0.0).tolist() == [1.0] * 17
    often = repeats(ids, 0.25)
    assert often[:15].tolist() == [1.0] * 15 and often[16] == 1.0
    assert often[15] == np.sqrt(0.25 * 17)


def test_a_source_shows_rare_images_more_often_and_pastes_into_its_share(tmp_path: Path) -> None:
    images = []
    for number in range(12):
        drawn = sample(int(number == 0), (20, 20, 60, 70))
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), drawn.image[..., ::-1])
        images.append(LabelledBoxes(path, (120, 100), drawn.boxes_xyxy, drawn.class_ids))
    source = DiskSource(tuple(images), (120, 100), 1.0, balance=0.75, copy_paste=0.5)
    seen = list(islice(source(np.random.default_rng(0)), 400))
    rare = np.mean([1 in item.class_ids[:1] for item in seen])
    assert 0.16 < rare < 0.27  # 3 of 14
    assert 0.3 < np.mean([len(item.class_ids) > 1 for item in seen]) <= 0.55
