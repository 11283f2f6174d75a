"""Splits and near-duplicates: what shows one scene stays together, and shares are kept."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelled import real_data
from object_pose.core.errors import ConfigError, DataError
from object_pose.io.datasets.image_files import image_files
from object_pose.io.datasets.near_duplicates import find_near_duplicates, join_groups, make_thumbnail
from object_pose.io.datasets.splitting import assign_splits, parse_shares, recording_of
from object_pose.io.images import read_image


def scene(seed, height=120, width=160):
    """A smooth random picture; equal seeds give equal ones."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(20, 236, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("count", [12, 120])
def test_near_duplicates_are_found_and_others_are_not(count):
    rng = np.random.default_rng(0)
    images = [scene(seed) for seed in range(count)]
    images[5] = cv2.resize(images[2], (200, 150))  # another size
    images[7] = np.clip(images[3].astype(float) * 0.6 + 30, 0, 255).astype(np.uint8)  # another light
    images[9] = np.clip(images[4] + rng.normal(0, 12, images[4].shape), 0, 255).astype(np.uint8)  # noise
    images[9][60:80, 40:60] = 200  # and something that moved in
    found = find_near_duplicates([make_thumbnail(image) for image in images])
    assert {(pair.first, pair.second) for pair in found} == {(2, 5), (3, 7), (4, 9)}


def test_what_all_images_have_in_common_does_not_make_them_alike():
    """Photographs of one kind of part share its shading; that alone correlates at 0.9 and more."""
    rng = np.random.default_rng(1)
    shading = np.linspace(20, 220, 160)[None, :, None] * np.ones((120, 1, 3))
    parts = [np.clip(shading + 0.15 * (scene(seed).astype(float) - 128), 0, 255) for seed in range(100)]
    again = np.clip(0.8 * parts[0] + rng.normal(0, 2, parts[0].shape), 0, 255)
    thumbnails = [make_thumbnail(image.astype(np.uint8)) for image in [*parts, again]]
    assert [(pair.first, pair.second) for pair in find_near_duplicates(thumbnails)] == [(0, 100)]


def test_black_bars_do_not_make_images_alike():
    images = []
    for seed in range(20):
        image = np.zeros((120, 160, 3), np.uint8)
        image[:, 60:100] = scene(seed, 120, 40)
        images.append(make_thumbnail(image))
    assert find_near_duplicates(images) == []


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_groups_are_the_connected_components(case):
    count, pairs = case
    groups = join_groups(count, pairs)
    assert all(groups[first] == groups[second] for first, second in pairs)
    assert len(set(groups.tolist())) >= count - len(pairs)
    assert all(groups[groups[item]] == groups[item] <= item for item in range(count))


@given(st.integers(0, 10_000))
def test_whole_groups_near_their_shares(seed):
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, 60, 400))
    classes = rng.integers(0, 2, 400)
    contents = np.stack([np.ones(400), classes == 0, classes == 1], axis=1).astype(float)
    shares = [0.7, 0.2, 0.1]
    chosen = assign_splits(groups, contents, shares, seed)
    for group in np.unique(groups):
        assert len(set(chosen[groups == group])) == 1
    np.testing.assert_allclose(np.bincount(chosen, minlength=3) / 400, shares, atol=0.05)
    np.testing.assert_array_equal(chosen, assign_splits(groups, contents, shares, seed))


def test_every_split_gets_something_or_it_is_refused():
    chosen = assign_splits(np.array([0] * 97 + [1, 2, 3]), np.ones((100, 1)), [0.98, 0.01, 0.01], 0)
    assert set(chosen) == {0, 1, 2}
    with pytest.raises(DataError, match="2 recordings cannot fill 3 splits"):
        assign_splits(np.array([0, 0, 1]), np.ones((3, 1)), [0.5, 0.3, 0.2], 0)


def test_recordings_by_file_name():
    names = {
        "video13_18990_jpg.rf.9755a0e951187537b0a2206a670f193d.jpg": "video13",
        "1119_png_jpg.rf.ed2c804d2b3c987cc646edd44beb7217.jpg": "",
        "1238424-1046544.png": "1238424",
        "000017.png": "",
        "frame.png": "frame",
    }
    assert {name: recording_of(Path(name)) for name in names} == names


def test_shares_add_up_to_one():
    assert parse_shares("train=8,val=2") == {"train": 0.8, "val": 0.2}
    for text in ("train=0.8", "train=0.8,val", "train=0.8,val=-1", "train=1,train=1", "a/b=1,c=1", "train=nan,val=1"):
        with pytest.raises(ConfigError, match="share"):
            parse_shares(text)


def test_one_tile_under_several_lights_is_found():
    """The photographs of magnetic tiles come in series of one tile; numbers near each other are one."""
    files = image_files(real_data("magnetic_tiles") / "damaged")
    pairs = find_near_duplicates([make_thumbnail(read_image(path)) for path in files])
    numbers = [int(path.stem.split("_")[-1]) for path in files]
    close = [abs(numbers[pair.first] - numbers[pair.second]) < 2500 for pair in pairs]
    assert len(pairs) > 100 and np.mean(close) > 0.9
