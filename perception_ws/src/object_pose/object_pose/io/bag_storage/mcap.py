"""MCAP files; a damaged one as far as it is whole."""

from __future__ import annotations

import heapq
import itertools
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from object_pose.core.errors import DataError
from object_pose.io.bag_storage.packing import MOST_BYTES, is_zstd, unlz4, unzstd
from object_pose.io.bag_storage.storage import Channel, RawMessage

_MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS = 0x03, 0x04, 0x05, 0x06, 0x08, 0x0B
_HEAD, _FOOTER_SIZE = struct.Struct("<BQ"), 37


class _Block(NamedTuple):
    """A chunk, or a message outside of chunks: the time of its first message, where it lies, and how long it is.

    The last chunk of a truncated file ``is_cut``.
    """

    start_ns: int
    offset: int
    length: int
    is_cut: bool = False


class McapStorage:
    """An MCAP file, by its summary, or without one by reading it through as far as its records are whole."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._size = path.stat().st_size
        self.start_ns = self.end_ns = 0
        self.damage = ""
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Channel] = {}
        self._counts: dict[int, int] = {}
        self._blocks: list[_Block] = []
        if self._file.read(len(_MAGIC)) != _MAGIC:
            raise DataError("it is no MCAP file: its first bytes are others")
        if not self._read_summary():
            self._read_through()

    @property
    def channels(self) -> list[Channel]:
        """The topics in the file."""
        return [replace(channel, count=self._counts.get(key, 0)) for key, channel in self._channels.items()]

    def messages(self, channels: Collection[Channel]) -> Iterator[RawMessage]:
        """See ``Storage``; chunks may overlap in time, so what comes after the next one's start waits."""
        wanted = {channel.key: channel for channel in channels}
        waiting: list[tuple[int, int, Channel, bytes]] = []
        order = itertools.count()
        for block in sorted(self._blocks):
            while waiting and waiting[0][0] < block.start_ns:
                time_ns, _, channel, data = heapq.heappop(waiting)
                yield channel, time_ns, _unpacked(data)
            for key, time_ns, content in self._block_messages(block):
                if key in wanted:
                    heapq.heappush(waiting, (time_ns, next(order), wanted[key], bytes(content)))
        while waiting:
            time_ns, _, channel, data = heapq.heappop(waiting)
            yield channel, time_ns, _unpacked(data)

    def close(self) -> None:
        """See ``Storage``."""
        self._file.close()

    def _read_summary(self) -> bool:
        """Read schemas, channels, chunks and counts from the end of the file; return whether they are all there."""
        if self._size < len(_MAGIC) + _FOOTER_SIZE:
            return False
        footer = self._bytes(self._size - _FOOTER_SIZE, _FOOTER_SIZE)
        start = int.from_bytes(footer[9:17], "little")
        end = self._size - _FOOTER_SIZE
        if footer[:1] != b"\x02" or footer[-len(_MAGIC) :] != _MAGIC or not 0 < start <= end:
            return False
        records = list(_records(memoryview(self._bytes(start, end - start))))
        kinds = {kind for kind, _ in records}
        if _STATISTICS not in kinds or not {_CHANNEL, _CHUNK_INDEX} <= kinds:
            return False
        for kind, content in records:
            if kind == _CHUNK_INDEX:
                start_ns, _, offset, length = struct.unpack_from("<QQQQ", content)
                self._blocks.append(_Block(start_ns, offset, length))
            elif kind == _STATISTICS:
                self.start_ns, self.end_ns, size = struct.unpack_from("<QQI", content, 26)
                self._counts = dict(struct.iter_unpack("<HQ", content[46 : 46 + size]))
            else:
                self._note(kind, content)
        return True

    def _read_through(self) -> None:
        """Find the records that are whole, one after the other."""
        offset, times = len(_MAGIC), []
        while offset + _HEAD.size <= self._size:
            kind, length = _HEAD.unpack(self._bytes(offset, _HEAD.size))
            length += _HEAD.size
            if kind in (0x02, 0x0F):  # footer, end of data
                break
            is_cut = offset + length > self._size
            if is_cut:
                self.damage = "it is truncated"
                length = self._size - offset
            if kind == _CHUNK or (kind == _MESSAGE and not is_cut):
                block = _Block(0, offset, length, is_cut)
                found = [(key, time_ns) for key, time_ns, _ in self._block_messages(block)]
                for key, time_ns in found:
                    self._counts[key] = self._counts.get(key, 0) + 1
                    times.append(time_ns)
                if found:
                    self._blocks.append(block._replace(start_ns=min(time_ns for _, time_ns in found)))
            elif kind in (_SCHEMA, _CHANNEL) and not is_cut:
                self._note(kind, memoryview(self._bytes(offset, length))[_HEAD.size :])
            offset += length
        else:
            self.damage = "it is truncated"
        self.start_ns, self.end_ns = min(times, default=0), max(times, default=0)
        if self.damage and not self._blocks:
            raise DataError("it is truncated before its first message ends")

    def _block_messages(self, block: _Block) -> Iterator[tuple[int, int, memoryview]]:
        """Yield (channel, time, data) of a block; note the channels in it."""
        if block.offset + block.length > self._size:
            raise DataError(f"it has a chunk that ends beyond the file, at {block.offset}")
        if block.length > 2 * MOST_BYTES:  # packed data are not much longer than what is packed
            raise DataError(f"it has a chunk of {block.length} bytes, more than the {2 * MOST_BYTES} that are read")
        for kind, content in _records(memoryview(self._bytes(block.offset, block.length)), block.is_cut):
            if kind == _CHUNK:
                for inner, part in _records(_chunk_records(content, block.is_cut)):
                    if inner == _MESSAGE:
                        yield _message(part)
                    else:
                        self._note(inner, part)
            elif kind == _MESSAGE:
                yield _message(content)

    def _note(self, kind: int, content: memoryview) -> None:
        """Keep a schema or a channel; other records say nothing that is needed."""
        if kind == _SCHEMA:
            name, encoding, definition = _strings(content, 2, 3)
            self._schemas[struct.unpack_from("<H", content)[0]] = name, encoding, definition
        elif kind == _CHANNEL:
            key, schema = struct.unpack_from("<HH", content)
            name, encoding, definition = self._schemas.get(schema, ("", "", ""))
            topic, message_encoding = _strings(content, 4, 2)
            self._channels[key] = Channel(topic, _full_name(name), message_encoding, definition, encoding, 0, key)

    def _bytes(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise DataError(f"it ends before the {length} bytes at {offset}")
        return data


def _records(data: memoryview, is_cut: bool = False) -> Iterator[tuple[int, memoryview]]:
    """Yield (kind, content) of the records in some bytes; where ``is_cut``, the last one as far as it is there."""
    offset = 0
    while offset < len(data):
        if offset + _HEAD.size > len(data):
            raise DataError("it has a chunk that ends within a record")
        kind, length = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size
        if length > len(data) - offset and not is_cut:
            raise DataError("it has a record that is longer than its chunk")
        yield kind, data[offset : offset + length]
        offset += length


def _chunk_records(content: memoryview, is_cut: bool) -> memoryview:
    """Return a chunk's records, decompressed and checked; where it ``is_cut``, those that are whole."""
    _, _, size, checksum = struct.unpack_from("<QQQI", content)
    (compression,) = _strings(content, 28, 1)
    start = 32 + len(compression.encode())
    (length,) = struct.unpack_from("<Q", content, start)
    data = content[start + 8 : start + 8 + length]
    if size > MOST_BYTES:
        raise DataError(f"it has a chunk of {size} bytes, more than the {MOST_BYTES} that are read")
    if compression == "zstd":
        data = memoryview(unzstd(data, size, is_cut))
    elif compression == "lz4":
        data = memoryview(unlz4(data, size))
    elif compression:
        raise DataError(f"it has a chunk of the compression '{compression}', expected lz4, zstd or none")
    if is_cut:
        return data[: _whole_length(data)]
    if len(data) != size or (checksum and zlib.crc32(data) != checksum):
        raise DataError("it has a damaged chunk: size or checksum differ")
    return data


def _whole_length(data: memoryview) -> int:
    """Return how many bytes of records are whole."""
    end = 0
    while end + _HEAD.size <= len(data):
        length = _HEAD.size + _HEAD.unpack_from(data, end)[1]
        if end + length > len(data):
            break
        end += length
    return end


def _message(content: memoryview) -> tuple[int, int, memoryview]:
    key, _, time_ns, _ = struct.unpack_from("<HIQQ", content)
    return key, time_ns, content[22:]


def _unpacked(data: bytes) -> bytes:
    """Return a message that rosbag2 may have packed by itself: CDR begins otherwise."""
    return unzstd(data) if is_zstd(data) else data


def _strings(content: memoryview, offset: int, count: int) -> list[str]:
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", content, offset)
        if length > len(content) - offset - 4:
            raise DataError("it has a name that is longer than its record")
        found.append(bytes(content[offset + 4 : offset + 4 + length]).decode())
        offset += 4 + length
    return found


def _full_name(name: str) -> str:
    """Return a type as ROS 2 names it: 'sensor_msgs/Image' of ROS 1 becomes 'sensor_msgs/msg/Image'."""
    return name.replace("/", "/msg/") if name.count("/") == 1 else name
