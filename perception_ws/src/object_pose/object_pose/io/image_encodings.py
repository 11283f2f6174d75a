"""Pixels as cameras send them, raw or compressed, to RGB images and depth in metres."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import DataError
from object_pose.core.vision.image import to_rgb
from object_pose.io.images import FEWEST_LEVELS, LARGEST_IMAGE_PIXELS, decode_image, depth_in_metres

logger = logging.getLogger(__name__)

Pixels = NDArray[Any]
_DEPTH_TYPES: dict[str, np.dtype[Any]] = {
    "16UC1": np.dtype(np.uint16),
    "mono16": np.dtype(np.uint16),
    "32FC1": np.dtype(np.float32),
}
_DEPTH_HEADER = struct.Struct("<iff")  # of compressed_depth_image_transport: format, and two of inverse depth
_PNG = b"\x89PNG\r\n\x1a\n"
_RVL_SIZE = struct.Struct("<ii")


@dataclass(frozen=True)
class RawImage:
    """An image as a message carries it: rows of ``step`` bytes, of which the first may be padded pixels."""

    encoding: str
    width: int
    height: int
    step: int
    is_bigendian: bool
    data: Any

    def rows(self, dtype: np.dtype[Any], values_a_pixel: int, rows: int | None = None) -> Pixels:
        """Return (rows, width * values) numbers without padding; a view where nothing has to change."""
        rows = self.height if rows is None else rows
        row_bytes = self.width * values_a_pixel * dtype.itemsize
        data = np.frombuffer(self.data, dtype=np.uint8)
        empty = self.width <= 0 or self.height <= 0
        if empty or self.step < row_bytes or data.size < rows * self.step:
            raise DataError(
                f"an image message of {self.width}x{self.height} '{self.encoding}' has {data.size} bytes "
                f"in rows of {self.step}, expected {rows} rows of {row_bytes}"
            )
        used = data[: rows * self.step].reshape(rows, self.step)[:, :row_bytes]
        stored = dtype.newbyteorder(">" if self.is_bigendian else "<")
        return np.ascontiguousarray(used).view(stored).astype(dtype, copy=False)


def _channels(count: int, order: tuple[int, ...] | None = None, bits: int = 8) -> Callable[[RawImage], Image]:
    """Return a reader of interleaved channels; ``order`` picks red, green, blue, and 16 bits become their upper 8."""

    def read(image: RawImage) -> Image:
        values = image.rows(np.dtype(np.uint8 if bits == 8 else np.uint16), count)
        pixels = values.reshape(image.height, image.width, count)
        if bits == 16:
            pixels = _upper_bits(pixels)
        return to_rgb(pixels[:, :, list(order)] if order else pixels)

    return read


def _bayer(code: int, bits: int) -> Callable[[RawImage], Image]:
    def read(image: RawImage) -> Image:
        mosaic = image.rows(np.dtype(np.uint8 if bits == 8 else np.uint16), 1)
        rgb = cv2.cvtColor(mosaic, code)
        return np.asarray(rgb if bits == 8 else _upper_bits(rgb), dtype=np.uint8)

    return read


def _upper_bits(values: Pixels) -> Pixels:
    """Return the upper 8 of 16 bits; that they are almost empty is said once, for a dark image may be meant."""
    if 0 < values.max() < FEWEST_LEVELS:
        _warn_of_few_levels()
    return np.asarray(values >> 8, dtype=np.uint8)


@cache
def _warn_of_few_levels() -> None:
    logger.warning("16-bit images reach less than a sixteenth of their range: does the camera count 12 or 10 bits?")


def _yuv422(code: int) -> Callable[[RawImage], Image]:
    def read(image: RawImage) -> Image:
        _require_even(image, image.width)
        return np.asarray(cv2.cvtColor(image.rows(np.dtype(np.uint8), 2).reshape(image.height, -1, 2), code))

    return read


def _yuv420(code: int) -> Callable[[RawImage], Image]:
    def read(image: RawImage) -> Image:
        _require_even(image, image.width, image.height)
        return np.asarray(cv2.cvtColor(image.rows(np.dtype(np.uint8), 1, image.height * 3 // 2), code))

    return read


def _require_even(image: RawImage, *sides: int) -> None:
    if any(side % 2 for side in sides):
        raise DataError(f"an image of {image.width}x{image.height} '{image.encoding}' has an odd side")


def _unnamed(image: RawImage) -> Image:
    _warn_of_unnamed()
    return _channels(3)(image)


@cache
def _warn_of_unnamed() -> None:
    logger.warning("images of the encoding 8UC3 do not say the order of their colours: taken as RGB")


_COLOUR: dict[str, Callable[[RawImage], Image]] = {
    "rgb8": _channels(3),
    "bgr8": _channels(3, (2, 1, 0)),
    "rgba8": _channels(4),
    "bgra8": _channels(4, (2, 1, 0)),
    "rgb16": _channels(3, bits=16),
    "bgr16": _channels(3, (2, 1, 0), bits=16),
    "rgba16": _channels(4, bits=16),
    "bgra16": _channels(4, (2, 1, 0), bits=16),
    "mono8": _channels(1),
    "8UC1": _channels(1),
    "mono16": _channels(1, bits=16),
    "8UC3": _unnamed,
    "yuv422": _yuv422(cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _yuv422(cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": _yuv422(cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": _yuv422(cv2.COLOR_YUV2RGB_YUY2),
    "nv12": _yuv420(cv2.COLOR_YUV2RGB_NV12),
    "nv21": _yuv420(cv2.COLOR_YUV2RGB_NV21),
    # OpenCV names a mosaic by its second row and column.
    **{f"bayer_rggb{bits}": _bayer(cv2.COLOR_BayerBG2RGB, bits) for bits in (8, 16)},
    **{f"bayer_bggr{bits}": _bayer(cv2.COLOR_BayerRG2RGB, bits) for bits in (8, 16)},
    **{f"bayer_gbrg{bits}": _bayer(cv2.COLOR_BayerGR2RGB, bits) for bits in (8, 16)},
    **{f"bayer_grbg{bits}": _bayer(cv2.COLOR_BayerGB2RGB, bits) for bits in (8, 16)},
}


def rgb_from_raw(image: RawImage) -> Image:
    """Return (H, W, 3) RGB; raises ``DataError`` for an encoding that is not known and for data that does not fit."""
    read = _COLOUR.get(image.encoding)
    if read is None:
        raise DataError(f"a colour image has encoding '{image.encoding}'", f"expected one of {', '.join(_COLOUR)}")
    try:
        return read(image)
    except cv2.error as error:
        size = f"{image.width}x{image.height}"
        raise DataError(f"an image of {size} '{image.encoding}' cannot be converted: {error.err}") from error


def depth_from_raw(image: RawImage, unit_m: float) -> DepthImage:
    """Return (H, W) metres, 0 where there is none: 16 bits count ``unit_m``, 32 bits are metres."""
    dtype = _DEPTH_TYPES.get(image.encoding)
    if dtype is None:
        raise DataError(f"a depth image has encoding '{image.encoding}'", f"expected one of {', '.join(_DEPTH_TYPES)}")
    return depth_in_metres(image.rows(dtype, 1), unit_m)


def rgb_from_compressed(format_text: str, data: Any) -> Image:
    """Return (H, W, 3) RGB of a JPEG or PNG, also of a mosaic; raises ``DataError`` where ``data`` is neither."""
    if "compressedDepth" in format_text:
        raise DataError(f"a colour image has the format '{format_text}'", "expected jpeg or png")
    encoding = format_text.partition(";")[0].strip()
    if encoding.startswith("bayer_") and "compressed bgr" not in format_text:  # packed as it came from the sensor
        mosaic = decode_image(bytes(data), cv2.IMREAD_UNCHANGED)
        if mosaic.ndim == 2:
            height, width = mosaic.shape
            step = width * mosaic.itemsize
            return rgb_from_raw(RawImage(encoding, width, height, step, False, mosaic.tobytes()))
    bgr = decode_image(bytes(data), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    return to_rgb(cv2.cvtColor(_upper_bits(bgr) if bgr.dtype == np.uint16 else bgr, cv2.COLOR_BGR2RGB))


def depth_from_compressed(format_text: str, data: Any, unit_m: float) -> DepthImage:
    """Return (H, W) metres of a compressedDepth message, PNG or RVL, or of a plain 16-bit PNG.

    Raises ``DataError`` where ``data`` is nothing of that.
    """
    content = bytes(data)
    encoding = format_text.partition(";")[0].strip()
    if "compressedDepth" not in format_text:
        return depth_in_metres(decode_image(content, cv2.IMREAD_UNCHANGED), unit_m)
    if encoding not in ("16UC1", "mono16", "32FC1") or len(content) < _DEPTH_HEADER.size:
        raise DataError(
            f"a depth image has the format '{format_text}' and {len(content)} bytes",
            "expected '16UC1; compressedDepth' or '32FC1; compressedDepth', png or rvl, with a header of 12 bytes",
        )
    if encoding != "32FC1" and content.startswith(_PNG):  # some bridges leave the header out
        return depth_in_metres(decode_image(content, cv2.IMREAD_UNCHANGED), unit_m)
    _, scale, offset = _DEPTH_HEADER.unpack_from(content)
    packed = content[_DEPTH_HEADER.size :]
    counts = decode_rvl(packed) if format_text.rstrip().endswith("rvl") else decode_image(packed, cv2.IMREAD_UNCHANGED)
    if encoding != "32FC1":
        return depth_in_metres(counts, unit_m)
    if counts.dtype != np.uint16:
        raise DataError(f"a depth image of '{format_text}' holds {counts.dtype} pixels, expected uint16")
    # Inverse depth, quantised: the transport stores scale / depth + offset.
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = np.float32(scale) / (counts.astype(np.float32) - np.float32(offset))
    return depth_in_metres(np.where(counts > 0, metres, np.float32(0.0)).astype(np.float32))


def decode_rvl(content: bytes) -> NDArray[np.uint16]:
    """Return the (H, W) counts of an RVL image with its size in front.

    RVL (A. D. Wilson, Fast Lossless Depth Image Compression, ISS 2017) holds runs of zeros and runs of differences, as
    integers of three bits a nibble. Raises ``DataError`` where the data ends early or runs beyond the image.
    """
    if len(content) < _RVL_SIZE.size:
        raise DataError("an RVL depth image is shorter than its header")
    width, height = _RVL_SIZE.unpack_from(content)
    if width <= 0 or height <= 0 or width * height > LARGEST_IMAGE_PIXELS:
        raise DataError(f"an RVL depth image says that it is {width}x{height}")
    values = _rvl_integers(content[_RVL_SIZE.size :])
    differences = (values >> 1) ^ -(values & 1)
    counts = np.zeros(width * height, dtype=np.int64)
    filled = np.zeros(width * height, dtype=bool)
    place = read = 0
    while place < len(counts):
        if read + 2 > len(values):
            raise DataError(f"an RVL depth image of {width}x{height} ends after {place} pixels")
        zeros, run = int(values[read]), int(values[read + 1])
        place, read = place + zeros, read + 2
        if place + run > len(counts) or read + run > len(values) or zeros + run == 0:
            raise DataError(f"an RVL depth image of {width}x{height} has runs that do not fit")
        counts[place : place + run] = differences[read : read + run]
        filled[place : place + run] = True
        place, read = place + run, read + run
    counts[filled] = np.cumsum(counts[filled])
    return counts.reshape(height, width).astype(np.uint16)


def _rvl_integers(content: bytes) -> NDArray[np.int64]:
    """Return the integers of little-endian words, highest nibble first; a nibble's top bit says that more follow."""
    words = np.frombuffer(content + b"\0" * (-len(content) % 4), dtype="<u4")
    nibbles = ((words[:, None] >> np.arange(28, -1, -4, dtype=np.uint32)) & 15).ravel().astype(np.int64)
    ends = np.flatnonzero(nibbles < 8)
    if len(ends) == 0:
        return np.zeros(0, dtype=np.int64)
    nibbles = nibbles[: ends[-1] + 1]
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise DataError("an RVL depth image has a number of more than 30 bits")
    position = np.arange(len(nibbles)) - np.repeat(starts, lengths)
    return np.add.reduceat((nibbles & 7) << (3 * position), starts)
