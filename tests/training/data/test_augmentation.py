"""Augmented samples: labels stay where the picture shows what they label."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from object_pose.core.vision.image import PADDING_VALUE
from object_pose.training.data.augmentation import DetectionSample, _blur, random_crop, reused

_SPOT = np.array([151.3, 117.8])  # of the middle of a soft spot, pixels
_SUB_PIXEL = 0.1  # to which the resampling keeps a place


def soft_spot():
    """Return a bright spot on the colour of what lies beyond the image, with its middle as the keypoint."""
    x, y = np.meshgrid(np.arange(320), np.arange(240))
    spot = 130.0 * np.exp(-0.5 * ((x - _SPOT[0]) ** 2 + (y - _SPOT[1]) ** 2) / 8.0**2)
    image = np.rint(PADDING_VALUE + np.repeat(spot[..., None], 3, axis=2)).astype(np.uint8)
    box = np.concatenate([_SPOT - 40.0, _SPOT + 40.0])[None]
    return DetectionSample(image, box, np.zeros(1, dtype=np.int64), _SPOT[None, None])


def middle_of_light(pixels):
    """Return the middle (x, y) of what is brighter than the surroundings of the spot."""
    light = pixels[..., 0].astype(np.float64) - PADDING_VALUE
    y, x = np.indices(light.shape)
    return np.array([(light * x).sum(), (light * y).sum()]) / light.sum()


@pytest.mark.parametrize("scale", [0.5, 0.65, 0.699, 0.701, 1.0, 1.3])
def test_a_crop_of_any_scale_shows_objects_where_its_labels_are(scale):
    crop = random_crop(soft_spot(), (416, 416), (scale, scale), np.random.default_rng(1))
    middle = middle_of_light(crop.image)
    np.testing.assert_allclose(crop.keypoints[0, 0], middle, atol=_SUB_PIXEL)
    np.testing.assert_allclose(0.5 * (crop.boxes_xyxy[0, :2] + crop.boxes_xyxy[0, 2:]), middle, atol=_SUB_PIXEL)


@pytest.mark.parametrize("seed", range(24))
def test_blur_moves_nothing(seed):
    pixels = soft_spot().image.astype(np.float32)
    blurred = _blur(pixels, np.random.default_rng(seed))
    assert np.abs(blurred - pixels).max() > 0.1
    np.testing.assert_allclose(middle_of_light(blurred), _SPOT, atol=_SUB_PIXEL)


def test_samples_are_reused_as_often_as_asked_for_but_the_first_ones_less():
    uses, fresh, drawn = 8, itertools.count(), []
    stream = reused(fresh, uses, 100, np.random.default_rng(0), until_reused=4)
    for sample in itertools.islice(stream, 4000):
        drawn.append(sample)
    is_new = np.diff(np.maximum.accumulate(drawn), prepend=-1) > 0
    firsts = np.flatnonzero(is_new)
    between = np.diff(firsts)
    assert np.all(between[:3] == 1)  # nothing else is there yet
    assert np.all(np.diff(between) >= 0)
    assert np.all(between[4 * uses :] == uses)
    assert sorted(np.array(drawn)[is_new]) == list(range(len(firsts)))
