"""Depth in OpenEXR files: one channel of scan lines, as Blender, Isaac Sim and other renderers write it.

OpenCV's reader is off unless the environment turns it on, and reads a channel 'Z' as zeros.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import DataError

MAGIC = b"\x76\x2f\x31\x01"
_TILED_DEEP_OR_SEVERAL_PARTS = 0x1A00
_TYPES: tuple[np.dtype[Any], ...] = (np.dtype("<u4"), np.dtype("<f2"), np.dtype("<f4"))
_COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
_LINES = {"none": 1, "RLE": 1, "ZIPS": 1, "ZIP": 16}
# Renderers write such values where nothing is hit.
_FARTHEST = 65504.0


@dataclass(frozen=True)
class _Header:
    """Size, compression, channels by name in their order, and where the header ends."""

    wh: tuple[int, int]
    first_line: int
    compression: str
    channels: dict[str, np.dtype[np.generic]]
    end: int


def declared_wh(content: bytes) -> tuple[int, int]:
    """Return the size that the header declares; raises ``DataError`` where it is no image of scan lines."""
    return _read_header(content).wh


def decode_depth(content: bytes) -> NDArray[np.float32]:
    """Return the (H, W) depth of a file as it stands there, infinity where nothing is; raises ``DataError``.

    It is the only channel, or 'Z', or red where red, green and blue are equal.
    """
    header = _read_header(content)
    lines = _LINES.get(header.compression)
    if lines is None:
        raise DataError(
            f"it is compressed with {header.compression}, expected {', '.join(_LINES)}",
            "save it anew, as with 'oiiotool IN --compression zip -o OUT'",
        )
    width, height = header.wh
    line_bytes = width * sum(kind.itemsize for kind in header.channels.values())
    rows: dict[int, bytes] = {}
    for start, packed in _blocks(content, header, math.ceil(height / lines)):
        count = min(lines, height - start)
        data = _unpacked(packed, header.compression, count * line_bytes)
        rows |= {start + line: data[line * line_bytes : (line + 1) * line_bytes] for line in range(count)}
    if sorted(rows) != list(range(height)):
        raise DataError(f"it has {len(rows)} of its {height} lines", "it is truncated")
    planes = _planes(b"".join(rows[line] for line in range(height)), header)
    depth = _depth_of(planes).astype(np.float32)
    return np.where(depth < _FARTHEST, depth, np.float32(np.inf))


def _read_header(content: bytes) -> _Header:
    try:
        (flags,) = struct.unpack_from("<I", content, 4)
        if content[:4] != MAGIC or flags & _TILED_DEEP_OR_SEVERAL_PARTS:
            raise DataError("it is no OpenEXR image of scan lines in one part", "save it anew without tiles")
        attributes, end = _attributes(content, 8)
        left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
        width, height = right - left + 1, bottom - top + 1
        compression = _COMPRESSIONS[attributes["compression"][0]]
        channels = _channels(attributes["channels"])
    except (struct.error, KeyError, IndexError, ValueError) as error:
        raise DataError("it is damaged: its OpenEXR header cannot be read") from error
    if width <= 0 or height <= 0 or not channels:
        raise DataError(f"it declares {len(channels)} channels of {width}x{height} pixels")
    return _Header((width, height), top, compression, channels, end)


def _attributes(content: bytes, place: int) -> tuple[dict[str, bytes], int]:
    """Return the attributes by name, and the place after them."""
    found = {}
    while content[place]:
        name, place = _text(content, place)
        _, place = _text(content, place)
        (size,) = struct.unpack_from("<i", content, place)
        if not 0 <= size <= len(content):
            raise ValueError("an attribute is longer than the file")
        found[name] = content[place + 4 : place + 4 + size]
        place += 4 + size
    return found, place + 1


def _channels(data: bytes) -> dict[str, np.dtype[np.generic]]:
    found: dict[str, np.dtype[np.generic]] = {}
    place = 0
    while data[place]:
        name, place = _text(data, place)
        kind, _, across, down = struct.unpack_from("<iIii", data, place)
        if (across, down) != (1, 1) or kind < 0:
            raise ValueError("a channel is of another size")
        found[name] = _TYPES[kind]
        place += 16
    return found


def _text(data: bytes, place: int) -> tuple[str, int]:
    end = data.index(b"\0", place)
    return data[place:end].decode("latin-1"), end + 1


def _blocks(content: bytes, header: _Header, count: int) -> Iterator[tuple[int, bytes]]:
    """Yield the first line of each block, counted from the image's top, and what is packed in it."""
    if header.end + 8 * count > len(content):
        raise DataError("it is truncated")
    for (place,) in struct.iter_unpack("<Q", content[header.end : header.end + 8 * count]):
        if place + 8 > len(content):
            raise DataError("it is truncated")
        line, size = struct.unpack_from("<ii", content, place)
        start = line - header.first_line
        if size < 0 or not 0 <= start < header.wh[1]:
            raise DataError("it is damaged: a block of lines lies beyond the image")
        yield start, content[place + 8 : place + 8 + size]


def _unpacked(packed: bytes, compression: str, size: int) -> bytes:
    """Return the ``size`` bytes of a block; one that compression would not make smaller stands as it is."""
    if compression == "none" or len(packed) == size:
        data = packed
    else:
        try:
            coded = (
                _run_lengths(packed, size) if compression == "RLE" else zlib.decompressobj().decompress(packed, size)
            )
        except zlib.error as error:
            raise DataError(f"it is damaged: {error}") from error
        differences = np.frombuffer(coded, np.uint8).copy()
        differences[1:] -= np.uint8(128)
        halves = np.cumsum(differences, dtype=np.uint8)
        values = np.empty_like(halves)
        middle = (len(halves) + 1) // 2
        values[0::2], values[1::2] = halves[:middle], halves[middle:]
        data = values.tobytes()
    if len(data) != size:
        raise DataError("it is damaged: a block of lines is too short")
    return data


def _run_lengths(packed: bytes, size: int) -> bytes:
    found, place = bytearray(), 0
    while place < len(packed) and len(found) < size:
        count = packed[place]
        if count < 128:
            found += packed[place + 1 : place + 2] * (count + 1)
            place += 2
        else:
            found += packed[place + 1 : place + 1 + 256 - count]
            place += 1 + 256 - count
    return bytes(found[:size])


def _planes(data: bytes, header: _Header) -> dict[str, NDArray[np.generic]]:
    """Return the (H, W) channels by name; each line has them one after the other."""
    width, height = header.wh
    lines = np.frombuffer(data, np.uint8).reshape(height, -1)
    planes, start = {}, 0
    for name, kind in header.channels.items():
        end = start + width * kind.itemsize
        planes[name] = np.ascontiguousarray(lines[:, start:end]).view(kind)
        start = end
    return planes


def _depth_of(planes: dict[str, NDArray[np.generic]]) -> NDArray[np.generic]:
    if len(planes) == 1:
        return next(iter(planes.values()))
    for name, plane in planes.items():
        if name.rpartition(".")[2].lower() in ("z", "depth"):
            return plane
    colors = [plane for name, plane in planes.items() if name.rpartition(".")[2] in ("R", "G", "B")]
    if len(colors) == 3 and all(np.array_equal(colors[0], other) for other in colors[1:]):
        return colors[0]
    raise DataError(
        f"it has the channels {', '.join(planes)}, none of which is depth", "expected one, or one named 'Z'"
    )
