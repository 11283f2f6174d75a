"""Whether frames are told from those of the reference, and no alarm on the reference itself."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from object_pose.core.metrics.drift import DriftReference, describe_depth, describe_image, find_drift


def picture(seed: int) -> np.ndarray:
    """A smooth random picture of medium brightness."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 180, (24, 32, 3), dtype=np.uint8)
    return cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC)


def described(pictures):
    return list(zip(*map(describe_image, pictures)))


@pytest.fixture(scope="module")
def reference():
    statistics, descriptors = described([picture(seed) for seed in range(80)])
    return DriftReference.of(statistics, descriptors)


def findings(reference, pictures):
    statistics, descriptors = described(pictures)
    window = [{**item, "image": reference.distance(vector)} for item, vector in zip(statistics, descriptors)]
    return {finding.statistic for finding in find_drift(reference, window, 0.7, 10)}


def test_other_pictures_of_the_same_kind_are_no_drift(reference):
    assert findings(reference, [picture(seed) for seed in range(1000, 1040)]) == set()


def test_one_scene_seen_for_long_is_no_drift(reference):
    assert findings(reference, 40 * [picture(1000)]) == set()


@pytest.mark.parametrize(
    ("change", "statistic"),
    [
        (lambda image: image // 3, "brightness"),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 8.0), "sharpness"),
        (lambda image: np.roll(image, 1, axis=2) // 2 + np.array([120, 0, 0], np.uint8), "image"),
    ],
    ids=["dark", "blurred", "another colour"],
)
def test_what_changed_is_named(reference, change, statistic):
    assert statistic in findings(reference, [change(picture(seed)) for seed in range(1000, 1020)])


def test_few_frames_say_nothing(reference):
    assert findings(reference, [picture(seed) // 3 for seed in range(9)]) == set()


def test_holes_of_depth_are_counted():
    depth = np.full((4, 4), 0.8, dtype=np.float32)
    depth[0] = 0.0
    assert describe_depth(depth) == {"depth_holes": 0.25, "depth_median_m": pytest.approx(0.8)}
    assert describe_depth(np.zeros((4, 4), dtype=np.float32)) == {"depth_holes": 1.0}


def test_a_reference_is_read_as_it_was_written(reference):
    again = DriftReference.from_json(json.loads(json.dumps(reference.to_json())))
    assert again.frames == 80
    for name in reference.quantiles:
        assert again.bounds(name) == pytest.approx(reference.bounds(name), rel=1e-4)
    _, vector = describe_image(picture(5))
    assert again.distance(vector) == pytest.approx(reference.distance(vector))
    with pytest.raises(ValueError, match="shapes"):
        DriftReference.from_json({**reference.to_json(), "mean": [0.0]})
