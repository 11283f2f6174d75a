"""Images go out fast and come back the same; what cannot be an image is refused by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera
from object_pose.io.camera_info import info_from_message
from object_pose.io.messages import depth_from_message, image_from_message
from object_pose.ros.messages.images import camera_to_message, depth_to_message, rgb_to_message

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(sizes, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_colour_comes_back(size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(image_from_message(rgb_to_message(image, Header())), image)


@given(sizes, st.sampled_from([("16UC1", 0.5e-3), ("32FC1", 0.0)]), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_depth_comes_back_within_its_encoding(size, encoding, seed):
    depth_m = np.random.default_rng(seed).uniform(0.0, 8.0, size).astype(np.float32)
    name, error_m = encoding
    back = depth_from_message(depth_to_message(depth_m, Header(), name))
    np.testing.assert_allclose(back, depth_m, atol=error_m + 1e-6)


def test_views_and_slices_are_sent_as_they_look():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)[::2, ::-1]
    np.testing.assert_array_equal(image_from_message(rgb_to_message(image, Header())), image)


@pytest.mark.parametrize(
    ("distortion", "model"),
    [((), "none"), ((0.1, -0.2, 0.001, 0.002, 0.05), ""), ((0.1,) * 8, ""), ((0.1,) * 4, "equidistant")],
)
def test_camera_comes_back(distortion, model):
    camera = Camera(640, 480, 600.0, 601.0, 319.5, 240.25, distortion, model)
    assert info_from_message(camera_to_message(camera, Header())).camera() == camera


@pytest.mark.parametrize("encoding", ["", "jpeg", "64FC1"])
def test_an_unknown_encoding_is_named(encoding):
    with pytest.raises(DataError, match=f"'{encoding}'"):
        image_from_message(Image(encoding=encoding, width=1, height=1, step=1, data=[0]))


def test_fewer_bytes_than_pixels_are_refused():
    message = rgb_to_message(np.zeros((4, 5, 3), np.uint8), Header())
    message.height = 8
    with pytest.raises(DataError, match="5x8"):
        image_from_message(message)
