"""Every layout reads the same two objects; fusion follows its formula; broken numbers never become detections."""

import numpy as np
import pytest

from object_pose.core.errors import ModelError
from object_pose.core.vision.decoders import DecodeOptions, Layout, OutputFormat, decode

CLASSES, KEYPOINTS = 3, 2
BOXES_XYXY = np.array([[10, 20, 50, 60], [100, 80, 130, 180]], dtype=float)
SCORES = np.array([0.9, 0.6])
CLASS_IDS = np.array([2, 0])
POINTS = np.array([[[15, 25], [45, 55]], [[110, 90], [120, 170]]], dtype=float)
FORMATS = [
    OutputFormat(
        layout, CLASSES, KEYPOINTS if layout in ("object_pose_keypoints", "yolov8_pose", "end_to_end_pose") else 0
    )
    for layout in Layout
]


def centre_size(boxes):
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def make_output(form, boxes=BOXES_XYXY, scores=SCORES, class_ids=CLASS_IDS, points=POINTS, third=1.0, padding=40):
    """An output in ``form`` with these objects among candidates of score 0."""
    count = len(boxes)
    one_hot = np.zeros((count, CLASSES))
    one_hot[np.arange(count), class_ids] = scores
    keypoints = np.concatenate([points, np.full((*points.shape[:2], 1), third)], axis=2).reshape(count, -1)
    if form.is_end_to_end:
        parts = [boxes, scores[:, None], class_ids[:, None]]
    elif form.layout is Layout.YOLOV5:
        parts = [centre_size(boxes), np.full((count, 1), 0.95), one_hot / 0.95]
    else:
        parts = [centre_size(boxes), one_hot]
    rows = np.concatenate(parts + ([keypoints] if form.keypoint_count else []), axis=1)
    rows = np.concatenate([np.zeros((padding, rows.shape[1])), rows]).astype(np.float32)
    return (rows.T if form.channels_first else rows)[None]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_each_layout_reads_its_objects(form):
    found = decode(form, make_output(form), DecodeOptions())
    np.testing.assert_allclose(found.boxes_xyxy, BOXES_XYXY, atol=1e-4)
    np.testing.assert_allclose(found.scores, SCORES, atol=1e-6)
    assert found.class_ids.tolist() == CLASS_IDS.tolist()
    assert found.keypoints.shape == (2, form.keypoint_count, 2)
    if form.keypoint_count:
        np.testing.assert_allclose(found.keypoints, POINTS, atol=1e-4)
        assert np.all(found.keypoint_sigmas > 0)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_low_scores_are_dropped(form):
    assert len(decode(form, make_output(form), DecodeOptions(score_threshold=0.7))) == 1
    empty = decode(form, make_output(form), DecodeOptions(score_threshold=0.95))
    assert len(empty) == 0 and empty.keypoints.shape == (0, form.keypoint_count, 2)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_at_most_so_many(form):
    found = decode(form, make_output(form), DecodeOptions(max_detections=1))
    assert found.scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("form", FORMATS, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_never_get_through(form, value):
    assert len(decode(form, np.full_like(make_output(form), value), DecodeOptions())) == 0


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_a_wrong_shape_is_refused_by_name_and_shape(form):
    output = make_output(form)
    for wrong in (output[:, :, :-1], output[:, :-1], output[0], np.concatenate([output, output])):
        if not form.accepts(wrong.shape):
            with pytest.raises(ModelError, match=f"{form.layout}") as raised:
                decode(form, wrong, DecodeOptions())
            assert str(wrong.shape) in str(raised.value)
    assert not form.accepts(np.swapaxes(output, 1, 2).shape)


def test_duplicates_of_one_class_are_suppressed_but_not_of_two():
    form = OutputFormat(Layout.YOLOV8_DETECT, CLASSES)
    boxes = np.repeat(BOXES_XYXY[:1], 3, axis=0) + np.array([[0], [1], [1]])
    output = make_output(form, boxes, np.array([0.5, 0.8, 0.7]), np.array([1, 1, 2]), np.zeros((3, 0, 2)))
    found = decode(form, output, DecodeOptions())
    assert list(zip(found.class_ids.tolist(), found.scores.round(3).tolist())) == [(1, 0.8), (2, 0.7)]


def two_votes(sigmas, shift=1.0):
    """Our own format's output with two candidates for one object, ``shift`` pixels apart."""
    form = OutputFormat(Layout.OBJECT_POSE_KEYPOINTS, CLASSES, KEYPOINTS)
    boxes = np.repeat(BOXES_XYXY[:1], 2, axis=0) + np.array([[0], [shift]])
    points = np.stack([POINTS[0], POINTS[0] + shift])
    output = make_output(form, boxes, np.array([0.8, 0.4]), np.array([1, 1]), points)
    output[0, 4 + CLASSES + 2 :: 3, -2:] = sigmas
    return form, output


def test_keypoints_are_fused_by_score_and_sigma():
    form, output = two_votes([2.0, 1.0])
    found = decode(form, output, DecodeOptions())
    weights = np.array([0.8 / 4.0, 0.4 / 1.0])
    expected = POINTS[0] + weights[1] / weights.sum()
    np.testing.assert_allclose(found.keypoints, expected[None], atol=1e-4)
    np.testing.assert_allclose(found.keypoint_sigmas, np.sqrt(1.2 / weights.sum()), rtol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy, BOXES_XYXY[:1], atol=1e-4)


def test_fusion_can_be_switched_off():
    form, output = two_votes([2.0, 1.0])
    found = decode(form, output, DecodeOptions(fuse_keypoints=False))
    np.testing.assert_allclose(found.keypoints, POINTS[:1], atol=1e-4)
    np.testing.assert_allclose(found.keypoint_sigmas, 2.0)


def test_a_loosely_overlapping_neighbour_is_suppressed_but_has_no_vote():
    form, output = two_votes([1.0, 1.0], shift=5.0)
    found = decode(form, output, DecodeOptions())
    assert len(found) == 1
    np.testing.assert_allclose(found.keypoints, POINTS[:1], atol=1e-4)


def test_less_visible_keypoints_are_less_certain():
    form = OutputFormat(Layout.YOLOV8_POSE, CLASSES, KEYPOINTS)
    certain = decode(form, make_output(form, third=1.0), DecodeOptions()).keypoint_sigmas
    unsure = decode(form, make_output(form, third=0.5), DecodeOptions()).keypoint_sigmas
    hidden = decode(form, make_output(form, third=0.0), DecodeOptions()).keypoint_sigmas
    np.testing.assert_allclose(certain[0], 0.02 * 40, rtol=1e-5)
    np.testing.assert_allclose(unsure, 2 * certain, rtol=1e-5)
    assert np.all(hidden > unsure) and np.all(np.isfinite(hidden))


def test_end_to_end_class_outside_the_list_is_dropped():
    form = OutputFormat(Layout.END_TO_END, CLASSES)
    output = make_output(form, class_ids=np.array([2, 2]))
    output[0, -1, 5] = 99.0
    assert len(decode(form, output, DecodeOptions())) == 1


def test_thousands_of_candidates_are_bounded():
    form = OutputFormat(Layout.YOLOV8_DETECT, CLASSES)
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 600, (8400, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 30, (8400, 2))], axis=1)
    output = make_output(form, boxes, rng.uniform(0.5, 1, 8400), np.zeros(8400, int), np.zeros((8400, 0, 2)))
    assert len(decode(form, output, DecodeOptions(max_detections=300))) == 300
