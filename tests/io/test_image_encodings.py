"""Encodings: what a camera sends in any of them is the same picture, and damaged data is a data error."""

import contextlib
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.errors import DataError
from object_pose.io import image_encodings
from object_pose.io.image_encodings import decode_rvl
from object_pose.io.messages import depth_from_message, image_from_message

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def rgb():
    """A smooth picture: neither subsampled colours nor a mosaic change it much."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.dstack([60 + 2 * columns, 200 - 3 * rows, 40 + rows + columns]).astype(np.uint8)


@pytest.fixture(scope="module")
def depth_mm():
    rng = np.random.default_rng(0)
    depth = rng.integers(300, 2000, (HEIGHT, WIDTH)).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.4] = 0
    return depth


def raw(encoding, array, *, padding=0, big_endian=False, height=None):
    array = array.astype(array.dtype.newbyteorder(">" if big_endian else "<"))
    rows = np.ascontiguousarray(array).view(np.uint8).reshape(array.shape[0], -1)
    rows = np.concatenate([rows, np.full((len(rows), padding), 77, np.uint8)], axis=1)
    return SimpleNamespace(
        encoding=encoding,
        width=WIDTH,
        height=height or HEIGHT,
        step=rows.shape[1],
        is_bigendian=big_endian,
        data=rows.ravel(),
    )


def compressed(form, data):
    return SimpleNamespace(format=form, data=np.frombuffer(bytes(data), np.uint8))


def mosaic(rgb, pattern):
    channel = {"r": 0, "g": 1, "b": 2}
    plane = np.zeros(rgb.shape[:2], rgb.dtype)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)
        plane[row::2, column::2] = rgb[row::2, column::2, channel[letter]]
    return plane


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb", [0, 1, 2]), ("bgr", [2, 1, 0]), ("rgba", [0, 1, 2, 0]), ("bgra", [2, 1, 0, 0])]
)
def test_channels_of_8_and_16_bits(rgb, encoding, order, padding, big_endian):
    pixels = rgb[:, :, order]
    np.testing.assert_array_equal(image_from_message(raw(f"{encoding}8", pixels, padding=padding)), rgb)
    wide = pixels.astype(np.uint16) * 256 + 99
    message = raw(f"{encoding}16", wide, padding=padding, big_endian=big_endian)
    np.testing.assert_array_equal(image_from_message(message), rgb)


def test_grey_of_8_and_16_bits(rgb):
    grey = rgb[:, :, 0]
    for message in (raw("mono8", grey), raw("8UC1", grey), raw("mono16", grey.astype(np.uint16) * 256 + 7)):
        np.testing.assert_array_equal(image_from_message(message), np.dstack([grey] * 3))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_mosaics(rgb, pattern, bits):
    plane = mosaic(rgb, pattern)
    message = raw(f"bayer_{pattern}{bits}", plane if bits == 8 else plane.astype(np.uint16) * 256, padding=4)
    inner = slice(2, -2)
    off = image_from_message(message).astype(int)[inner, inner] - rgb[inner, inner]
    assert np.abs(off).max() <= 4


@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("yuv422", cv2.COLOR_RGB2YUV_UYVY),
        ("uyvy", cv2.COLOR_RGB2YUV_UYVY),
        ("yuv422_yuy2", cv2.COLOR_RGB2YUV_YUY2),
        ("yuyv", cv2.COLOR_RGB2YUV_YUY2),
    ],
)
def test_yuv422(rgb, encoding, code):
    off = image_from_message(raw(encoding, cv2.cvtColor(rgb, code), padding=8)).astype(int) - rgb
    assert np.abs(off).max() <= 6


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv420(rgb, encoding):
    planar = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    chroma = planar[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    pairs = np.stack(chroma if encoding == "nv12" else chroma[::-1], axis=-1).reshape(HEIGHT // 2, WIDTH)
    message = raw(encoding, np.concatenate([planar[:HEIGHT], pairs]), padding=16, height=HEIGHT)
    assert np.abs(image_from_message(message).astype(int) - rgb).mean() < 4


def test_unnamed_channels_are_said(rgb, caplog):
    np.testing.assert_array_equal(image_from_message(raw("8UC3", rgb)), rgb)
    image_from_message(raw("8UC3", rgb))
    assert caplog.text.count("8UC3") <= 1


@pytest.mark.parametrize(
    ("form", "suffix", "tolerance"),
    [
        ("jpeg", ".jpg", 12),
        ("rgb8; jpeg compressed bgr8", ".jpg", 12),
        ("png", ".png", 0),
        ("bgr8; png compressed bgr8", ".png", 0),
    ],
)
def test_compressed_colour(rgb, form, suffix, tolerance):
    data = cv2.imencode(suffix, rgb[:, :, ::-1])[1]
    assert np.abs(image_from_message(compressed(form, data)).astype(int) - rgb).max() <= tolerance


def encode_rvl(depth):
    """Write as the paper says: three bits a nibble, eight nibbles a word from the top."""
    nibbles = []

    def put(value):
        while True:
            nibble, value = value & 7, value >> 3
            nibbles.append(nibble | (8 if value else 0))
            if not value:
                return

    flat, place, previous = depth.ravel().astype(int).tolist(), 0, 0
    while place < len(flat):
        start = place
        while place < len(flat) and flat[place] == 0:
            place += 1
        put(place - start)
        start = place
        while place < len(flat) and flat[place] != 0:
            place += 1
        put(place - start)
        for value in flat[start:place]:
            delta = value - previous
            put(delta << 1 if delta >= 0 else (-delta << 1) - 1)
            previous = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int("".join(f"{nibble:x}" for nibble in nibbles[i : i + 8]), 16) for i in range(0, len(nibbles), 8)]
    return struct.pack("<ii", depth.shape[1], depth.shape[0]) + struct.pack(f"<{len(words)}I", *words)


@given(st.data())
def test_rvl_comes_back(data):
    width, height = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    values = st.one_of(st.just(0), st.integers(1, 65535), st.integers(800, 820))
    depth = np.array(data.draw(st.lists(values, min_size=width * height, max_size=width * height)), np.uint16)
    np.testing.assert_array_equal(decode_rvl(encode_rvl(depth.reshape(height, width))), depth.reshape(height, width))


def test_compressed_depth(depth_mm):
    png, header = cv2.imencode(".png", depth_mm)[1].tobytes(), struct.pack("<iff", 0, 0.0, 0.0)
    for form, data in (
        ("16UC1; compressedDepth", header + png),
        ("16UC1; compressedDepth png", header + png),
        ("16UC1; compressedDepth png", png),
        ("16UC1; png compressed ", png),
        ("16UC1; compressedDepth rvl", header + encode_rvl(depth_mm)),
        ("png", png),
    ):
        np.testing.assert_allclose(depth_from_message(compressed(form, data)), depth_mm * 1e-3, atol=1e-6)
        finer = depth_from_message(compressed(form, data), unit_m=1e-4)
        np.testing.assert_allclose(finer, depth_mm * 1e-4, atol=1e-6)


def test_compressed_metres_are_inverse_depth(depth_mm):
    metres, scale, offset = depth_mm * 1e-3, 10_000.0, -99.0
    counts = np.where(metres > 0, np.round(scale / np.maximum(metres, 1e-9) + offset), 0).astype(np.uint16)
    data = struct.pack("<iff", 0, scale, offset) + cv2.imencode(".png", counts)[1].tobytes()
    for form in ("32FC1; compressedDepth", "32FC1; compressedDepth png"):
        np.testing.assert_allclose(depth_from_message(compressed(form, data)), metres, rtol=2e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_packed_mosaic_has_its_colours(dtype):
    """Red where the mosaic of RGGB says so, though the PNG alone is grey."""
    mosaic = np.zeros((HEIGHT, WIDTH), dtype)
    mosaic[::2, ::2] = np.iinfo(dtype).max
    form = f"bayer_rggb{8 * mosaic.itemsize}; png compressed "
    image = image_from_message(compressed(form, cv2.imencode(".png", mosaic)[1].tobytes()))
    np.testing.assert_array_equal(image[8:-8, 8:-8].mean(axis=(0, 1)), (255, 0, 0))


@pytest.mark.parametrize("level", [0, 4000, 40_000])
def test_a_16_bit_image_of_few_levels_is_dark_and_that_is_said_once(caplog, level):
    """A camera of 12 bits and a dark room look alike: the stream goes on."""
    image_encodings._warn_of_few_levels.cache_clear()
    pixels = np.full((HEIGHT, WIDTH), level, np.uint16)
    png = cv2.imencode(".png", pixels)[1].tobytes()
    for message in (raw("mono16", pixels), raw("bayer_rggb16", pixels), compressed("mono16; png compressed ", png)):
        assert np.all(image_from_message(message) == level >> 8)
    assert caplog.text.count("does the camera count 12 or 10 bits?") == (level == 4000)


@pytest.mark.parametrize("big_endian", [False, True])
def test_raw_depth(depth_mm, big_endian):
    metres = (depth_mm * 1e-3).astype(np.float32)
    for encoding, pixels in (("16UC1", depth_mm), ("mono16", depth_mm), ("32FC1", metres)):
        message = raw(encoding, pixels, padding=6, big_endian=big_endian)
        np.testing.assert_allclose(depth_from_message(message), metres, atol=1e-6)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (raw("16UC1", np.ones((HEIGHT, WIDTH), np.uint16)), "'16UC1'.*expected one of rgb8, .*bayer_grbg16"),
        (raw("rgb8", np.ones((HEIGHT, WIDTH), np.uint8)), "expected 48 rows of 192"),
        (raw("nv12", np.ones((HEIGHT, WIDTH), np.uint8)), "expected 72 rows of 64"),
        (raw("nv12", np.ones((3 * HEIGHT, WIDTH), np.uint8), height=HEIGHT - 1), "odd side"),
        (compressed("jpeg", b"no picture"), "cannot be read as an image"),
        (compressed("16UC1; compressedDepth", b""), "expected jpeg or png"),
    ],
)
def test_what_is_no_colour_image_is_named(message, text):
    with pytest.raises(DataError, match=text):
        image_from_message(message)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (raw("rgb8", np.ones((HEIGHT, WIDTH, 3), np.uint8)), "'rgb8'.*expected one of 16UC1"),
        (compressed("16UC1; compressedDepth", b"short"), "header of 12 bytes"),
        (compressed("64FC1; compressedDepth", b"0" * 20), "expected '16UC1"),
        (compressed("16UC1; compressedDepth", b"0" * 20), "cannot be read as an image"),
        (compressed("16UC1; compressedDepth rvl", b"0" * 12 + struct.pack("<ii", 1 << 30, 1 << 30)), "says that it is"),
        (compressed("16UC1; compressedDepth rvl", b"0" * 12 + struct.pack("<iiI", 9, 9, 0)), "do not fit"),
        (compressed("16UC1; compressedDepth rvl", b"0" * 12 + struct.pack("<iiI", 9, 9, 2**32 - 1)), "ends after 0"),
    ],
)
def test_what_is_no_depth_image_is_named(message, text):
    with pytest.raises(DataError, match=text):
        depth_from_message(message)


@given(st.binary(max_size=60), st.sampled_from(["16UC1; compressedDepth rvl", "32FC1; compressedDepth", "jpeg", "png"]))
def test_any_bytes_are_decoded_or_a_data_error(content, form):
    for read in (depth_from_message, image_from_message):
        for data in (content, b"0" * 12 + struct.pack("<ii", 4, 4) + content, b"\x89PNG\r\n\x1a\n" + content):
            with contextlib.suppress(DataError):
                read(compressed(form, data))
