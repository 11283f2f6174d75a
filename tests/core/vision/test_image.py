"""Letterboxing: pixels land where the arithmetic says, and points come back from where they went."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.errors import DataError
from object_pose.core.vision.image import (
    COARSEST_STRIDE,
    PADDING_VALUE,
    Letterbox,
    enlarged_wh,
    letterbox,
    to_batch,
    to_rgb,
)

SIZES = st.tuples(st.integers(1, 2000), st.integers(1, 2000))
COORDINATES = st.floats(-5000, 5000)


@given(SIZES, SIZES, COORDINATES, COORDINATES)
def test_points_come_back(image_wh, canvas_wh, x, y):
    box = Letterbox.fit(image_wh, canvas_wh)
    point = np.array([[x, y]])
    np.testing.assert_allclose(box.to_image(box.to_network(point)), point, atol=1e-6)


@given(SIZES, SIZES)
def test_content_fits_and_is_centred(image_wh, canvas_wh):
    box = Letterbox.fit(image_wh, canvas_wh)
    for axis in range(2):
        after = canvas_wh[axis] - box.content_wh[axis] - box.offset[axis]
        assert 0 <= box.offset[axis] <= after <= box.offset[axis] + 1
    assert any(content == canvas for content, canvas in zip(box.content_wh, canvas_wh))


@given(SIZES, SIZES)
def test_image_edges_map_to_content_edges(image_wh, canvas_wh):
    box = Letterbox.fit(image_wh, canvas_wh)
    corners = np.array([[-0.5, -0.5], np.subtract(image_wh, 0.5)])
    expected = np.array([box.offset, np.add(box.offset, box.content_wh)]) - 0.5
    np.testing.assert_allclose(box.to_network(corners), expected, atol=1e-9)


@given(SIZES, st.tuples(st.integers(1, 20), st.integers(1, 20)), st.floats(1.0, 4.0))
def test_an_enlarged_canvas_loses_less_and_costs_no_more_than_allowed(image_wh, cells_wh, times):
    input_wh = (cells_wh[0] * COARSEST_STRIDE, cells_wh[1] * COARSEST_STRIDE)
    canvas_wh = enlarged_wh(image_wh, input_wh, times)
    assert all(side % COARSEST_STRIDE == 0 for side in canvas_wh)
    usual, enlarged = (Letterbox.fit(image_wh, wh).scale.max() for wh in (input_wh, canvas_wh))
    if canvas_wh != input_wh:
        assert enlarged > usual
        assert all(side <= times * own for side, own in zip(canvas_wh, input_wh))


def test_an_image_is_seen_as_it_is_where_that_is_allowed():
    assert enlarged_wh((640, 480), (416, 320), 1.54) == (640, 480)
    assert enlarged_wh((640, 480), (416, 320), 1.0) == (416, 320)
    assert enlarged_wh((1280, 720), (416, 320), 1.54) == (640, 384)
    assert enlarged_wh((320, 240), (416, 320), 2.0) == (416, 320)


@pytest.mark.parametrize(
    ("image_wh", "input_wh"), [((640, 480), (320, 240)), ((97, 61), (320, 320)), ((31, 90), (64, 64))]
)
def test_a_bright_blob_lands_where_the_arithmetic_says(image_wh, input_wh):
    ys, xs = np.mgrid[: image_wh[1], : image_wh[0]]
    centre = np.array([image_wh[0] * 0.4, image_wh[1] * 0.6])
    blob = 255 * np.exp(-((xs - centre[0]) ** 2 + (ys - centre[1]) ** 2) / (2 * 4.0**2))
    canvas, box = letterbox(np.repeat(blob[..., None], 3, axis=2).astype(np.uint8), input_wh)
    left, top = box.offset
    content = canvas[top : top + box.content_wh[1], left : left + box.content_wh[0], 0].astype(float)
    ys, xs = np.mgrid[: content.shape[0], : content.shape[1]]
    found = np.array([(xs * content).sum(), (ys * content).sum()]) / content.sum() + box.offset
    np.testing.assert_allclose(found, box.to_network(centre), atol=0.06)


def test_padding_is_grey_and_grey_images_keep_their_shape():
    canvas, box = letterbox(np.zeros((10, 40, 3), np.uint8), (40, 20))
    assert canvas.shape == (20, 40, 3)
    assert box.offset == (0, 5)
    assert np.all(canvas[:5] == PADDING_VALUE) and np.all(canvas[15:] == PADDING_VALUE) and np.all(canvas[5:15] == 0)
    assert letterbox(np.zeros((10, 40), np.uint8), (40, 20))[0].shape == (20, 40)


def test_one_pixel_image_fills_the_canvas():
    canvas, _ = letterbox(np.full((1, 1, 3), 7, np.uint8), (32, 24))
    assert np.all(canvas[:, 4:28] == 7)


def test_batch_is_rgb_planes_in_unit_range():
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = (255, 51, 0)
    batch = to_batch(image)
    assert batch.shape == (1, 3, 2, 3) and batch.dtype == np.float32
    np.testing.assert_allclose(batch[0, :, 1, 2], [1.0, 0.2, 0.0], atol=1e-6)


def test_grey_and_rgba_become_rgb():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for image in (grey, grey[..., None], np.dstack([grey, grey, grey, grey * 0])):
        np.testing.assert_array_equal(to_rgb(image), np.dstack([grey] * 3))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint16),
    ],
)
def test_other_images_are_refused(image):
    with pytest.raises(DataError):
        to_rgb(image)
