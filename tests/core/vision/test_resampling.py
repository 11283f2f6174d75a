"""Making images smaller: what OpenCV gives, whatever the sizes."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.core.vision.resampling import shrunk

SIZES = st.tuples(st.integers(1, 150), st.integers(1, 150))


@given(SIZES, st.floats(0.3, 1.0), st.sampled_from([(), (1,), (3,), (4,)]), st.integers(0, 2**32))
@settings(deadline=None)
def test_images_are_averaged_as_opencv_does(
    wh: tuple[int, int], share: float, channels: tuple[int, ...], seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*wh[::-1], *channels), dtype=np.uint8)
    smaller = max(1, round(share * wh[0])), max(1, round(share * wh[1]))
    expected = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA).reshape(*smaller[::-1], *channels)
    np.testing.assert_array_equal(shrunk(image, smaller), expected)


def test_a_region_of_a_read_only_image_is_made_smaller() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image.setflags(write=False)
    region = image[10:50, 20:70]
    np.testing.assert_array_equal(shrunk(region, (40, 30)), shrunk(region.copy(), (40, 30)))
