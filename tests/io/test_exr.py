"""Depth in OpenEXR files, as OpenCV writes them: every compression is read to the bit, or refused by its name."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.core.errors import DataError
from object_pose.io import exr
from object_pose.io.images import read_depth

COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44")
WRITE = """
import sys, cv2, numpy as np
depth, folder = np.load(sys.argv[1]), sys.argv[2]
for kind, number in (("float", cv2.IMWRITE_EXR_TYPE_FLOAT), ("half", cv2.IMWRITE_EXR_TYPE_HALF)):
    for index, name in enumerate(sys.argv[3].split(",")):
        options = [cv2.IMWRITE_EXR_TYPE, number, cv2.IMWRITE_EXR_COMPRESSION, index]
        cv2.imwrite(f"{folder}/{kind}_{name}.exr", depth, options)
    cv2.imwrite(f"{folder}/{kind}_rgb.exr", np.dstack([depth] * 3), options[:2])
cv2.imwrite(f"{folder}/color.exr", np.dstack([depth, depth, 2 * depth]))
"""


@pytest.fixture(scope="module")
def depth():
    rng = np.random.default_rng(0)
    values = 0.5 + 0.25 * np.indices((37, 24)).sum(axis=0) / 60 + rng.normal(0.0, 0.002, (37, 24))
    values[:5, :5] = 0.5
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory, depth):
    """Files of OpenCV, which reads this variable once in a process."""
    folder = tmp_path_factory.mktemp("exr")
    np.save(folder / "depth.npy", depth)
    words = [sys.executable, "-c", WRITE, str(folder / "depth.npy"), str(folder), ",".join(COMPRESSIONS)]
    subprocess.run(words, check=True, env=os.environ | {"OPENCV_IO_ENABLE_OPENEXR": "1"})
    return folder


@pytest.mark.parametrize("compression", ["none", "RLE", "ZIPS", "ZIP"])
def test_depth_is_read_to_the_bit(files, depth, compression):
    np.testing.assert_array_equal(read_depth(files / f"float_{compression}.exr"), depth)
    np.testing.assert_array_equal(read_depth(files / f"half_{compression}.exr"), depth.astype(np.float16))


@pytest.mark.parametrize("name", ["Z", "V", "R"])
def test_the_only_channel_is_depth_whatever_its_name(files, depth, tmp_path, name):
    content = (files / "float_ZIP.exr").read_bytes()
    (tmp_path / "d.exr").write_bytes(content.replace(b"Y\0", name.encode() + b"\0", 1))
    np.testing.assert_array_equal(read_depth(tmp_path / "d.exr"), depth)


def test_three_equal_channels_are_depth_and_others_are_named(files, depth):
    np.testing.assert_array_equal(read_depth(files / "float_rgb.exr"), depth)
    with pytest.raises(DataError, match=r"color\.exr: it has the channels B, G, R, none of which is depth"):
        read_depth(files / "color.exr")


@pytest.mark.parametrize("compression", ["PIZ", "PXR24", "B44"])
def test_other_compressions_are_named(files, compression):
    with pytest.raises(DataError, match=f"compressed with {compression}, expected none, RLE, ZIPS, ZIP"):
        read_depth(files / f"half_{compression}.exr")


def test_nothing_hit_is_no_depth(files, depth, tmp_path):
    far = (files / "float_none.exr").read_bytes().replace(depth[0, 0].tobytes(), np.float32(1e10).tobytes())
    (tmp_path / "far.exr").write_bytes(far)
    read = read_depth(tmp_path / "far.exr")
    assert read[0, 0] == 0.0 and read[-1, -1] == depth[-1, -1]


def test_a_size_beyond_reason_is_refused_before_memory_is_taken(files, tmp_path):
    content = bytearray((files / "float_none.exr").read_bytes())
    window = content.index(b"dataWindow\0box2i\0") + 17 + 4
    content[window : window + 16] = np.array([0, 0, 99_999, 99_999], "<i4").tobytes()
    (tmp_path / "huge.exr").write_bytes(content)
    with pytest.raises(DataError, match="100000x100000 pixels is larger"):
        read_depth(tmp_path / "huge.exr")


@given(data=st.data())
@settings(max_examples=150)
def test_damaged_bytes_are_a_data_error_or_read(files, data):
    name = data.draw(st.sampled_from(["float_none", "half_RLE", "float_ZIPS", "half_ZIP"]))
    content = bytearray((files / f"{name}.exr").read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        width, height = exr.declared_wh(bytes(content))
        if width * height < 1 << 16:
            exr.decode_depth(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except DataError:
        pass
