"""Models without a card: the layout comes from the file's own words and shapes, or the file is refused."""

import pytest

from object_pose.core.errors import ModelError
from object_pose.core.vision.decoders import Layout
from object_pose.runtime.foreign import card_of_foreign_model

WH = (640, 640)
NAMES = "{0: 'gear', 1: 'spring', 2: 'bolt'}"
POSE = {"task": "pose", "names": "{0: 'person'}", "kpt_shape": "[17, 3]"}


@pytest.mark.parametrize(
    ("metadata", "shape", "layout", "keypoints"),
    [
        ({"names": NAMES, "stride": "32"}, (1, 25200, 8), Layout.YOLOV5, 0),
        ({"names": "['gear', 'spring', 'bolt']"}, (1, 25200, 8), Layout.YOLOV5, 0),
        ({"names": NAMES, "task": "detect"}, (1, 7, 8400), Layout.YOLOV8_DETECT, 0),
        ({"names": NAMES, "task": "detect"}, (1, 300, 6), Layout.END_TO_END, 0),
        ({"names": NAMES, "task": "detect", "end2end": "True"}, (1, 300, 6), Layout.END_TO_END, 0),
        ({"names": "{0: 'gear'}", "task": "detect"}, (1, 25200, 6), Layout.YOLOV5, 0),
        (POSE, (1, 56, 8400), Layout.YOLOV8_POSE, 17),
        (POSE, (1, 300, 57), Layout.END_TO_END_POSE, 17),
    ],
)
def test_the_layout_follows_from_the_file(metadata, shape, layout, keypoints):
    card = card_of_foreign_model(metadata, (shape,), WH, ())
    assert (card.layout, card.keypoint_count, card.input_wh) == (layout, keypoints, WH)


def test_names_keep_the_order_of_their_ids():
    card = card_of_foreign_model({"names": "{1: 'b', 0: 'a', 2: 'c'}"}, ((1, 7, 8400),), WH, ("x",))
    assert card.labels == ("a", "b", "c")


def test_labels_serve_where_the_file_names_none():
    assert card_of_foreign_model({}, ((1, 6, 8400),), WH, ("cat", "dog")).labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("metadata", "shapes", "problem"),
    [
        ({}, [(1, 84, 8400)], "neither a model card nor class names"),
        ({"names": NAMES, "task": "segment"}, [(1, 39, 8400), (1, 32, 160, 160)], "task is 'segment'"),
        ({"names": NAMES}, [(1, 7, 8400), (1, 7, 100)], "2 outputs"),
        ({"names": NAMES}, [(1, 84, 8400)], r"\(1, 84, 8400\) is of no known layout.*yolov8_detect \(1, 7, N\)"),
        ({"names": NAMES}, [(1, 8400, 7)], "no known layout"),
        ({"names": NAMES}, [(1, 8400, 8)], "no known layout"),
        ({"names": NAMES}, [(1, 7, 2100)], "640x640"),
        ({"names": NAMES}, [(1, 7, 80, 80)], "no known layout"),
        ({"names": NAMES, "end2end": "True"}, [(1, 7, 8400)], "no known layout"),
        ({"names": "{0: 'a', 1: 'b'}", "description": "Ultralytics rtdetr-l model"}, [(1, 300, 6)], "no known layout"),
        ({"names": "{0: 'a', 2: 'b'}"}, [(1, 6, 8400)], "skips class ids"),
        ({"names": "{0: 'a'"}, [(1, 5, 8400)], "'names' cannot be read"),
        ({"names": "7"}, [(1, 5, 8400)], "neither a list nor a mapping"),
        ({**POSE, "kpt_shape": "[17, 2]"}, [(1, 39, 8400)], r"'kpt_shape' is \[17, 2\]"),
        ({"task": "pose", "names": NAMES}, [(1, 56, 8400)], "'kpt_shape' is None"),
    ],
)
def test_wrong_and_ambiguous_files_are_refused(metadata, shapes, problem):
    with pytest.raises(ModelError, match=problem):
        card_of_foreign_model(metadata, tuple(shapes), WH, ())
