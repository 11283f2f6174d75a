"""Bags of ROS 1, whole, or without the index that a recorder writes last."""

from __future__ import annotations

import bz2
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from object_pose.core.errors import DataError
from object_pose.core.frame import NS_PER_S
from object_pose.io.bag_storage.packing import MOST_BYTES, unlz4
from object_pose.io.bag_storage.storage import Channel, RawMessage, Storage

_MAGIC = b"#ROSBAG V2.0\n"
_MESSAGE, _CHUNK, _CONNECTION = 2, 5, 7  # kinds of records
_NO_INDEX = "its index is missing or damaged, as where a recording is broken off or a copy is cut"


def open_ros1(path: Path) -> Storage:
    """Open a bag by its index, or read it through where that is not there; the errors of rosbags pass."""
    try:
        return IndexedRos1Storage(path)
    except Exception:  # rosbags stops with whatever a damaged index breaks in it
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise
        scanned = ScannedRos1Storage(path)
        if not scanned.channels:
            scanned.close()
            raise
        return scanned


class IndexedRos1Storage:
    """A bag of ROS 1, as the rosbags package reads it."""

    def __init__(self, path: Path) -> None:
        from rosbags.rosbag1 import Reader

        self._reader = reader = Reader(path)
        self.damage = ""
        reader.open()
        reader.chunks = {key: chunk._replace(decompressor=_bounded(chunk)) for key, chunk in reader.chunks.items()}
        self.channels: Sequence[Channel] = [
            Channel(item.topic, item.msgtype, "ros1", item.msgdef.data, "ros2msg", item.msgcount, item)
            for item in reader.connections
        ]
        self.start_ns = reader.start_time if reader.message_count else 0
        self.end_ns = reader.end_time - 1 if reader.message_count else 0

    def messages(self, channels: Collection[Channel]) -> Iterator[RawMessage]:
        """See ``Storage``."""
        wanted = {(channel.key.id, channel.key.topic): channel for channel in channels}
        for connection, time_ns, data in self._reader.messages([channel.key for channel in channels]):
            yield wanted[connection.id, connection.topic], time_ns, bytes(data)

    def close(self) -> None:
        """See ``Storage``."""
        self._reader.close()


class ScannedRos1Storage:
    """A bag of ROS 1 that has no index: its records are read as they stand, as far as they are whole."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.damage = _NO_INDEX
        connections: dict[int, tuple[str, str, str]] = {}
        counts: Counter[int] = Counter()
        self.start_ns = self.end_ns = 0
        for record in self._records():
            if record.kind == _CONNECTION:
                connections.setdefault(record.connection, record.described())
                continue
            self.start_ns = min(self.start_ns, record.time_ns) if counts else record.time_ns
            self.end_ns = max(self.end_ns, record.time_ns)
            counts[record.connection] += 1
        self.channels: Sequence[Channel] = [
            Channel(topic, message_type, "ros1", definition, "ros2msg", counts[key], key)
            for key, (topic, message_type, definition) in connections.items()
        ]

    def messages(self, channels: Collection[Channel]) -> Iterator[RawMessage]:
        """See ``Storage``."""
        wanted = {channel.key: channel for channel in channels}
        for record in self._records():
            if record.kind == _MESSAGE and record.connection in wanted:
                yield wanted[record.connection], record.time_ns, record.data

    def close(self) -> None:
        """See ``Storage``."""
        self._file.close()

    def _records(self) -> Iterator[_Record]:
        """Yield connections and messages, those of chunks and of one that was begun when the recording ended."""
        self._file.seek(len(_MAGIC))
        for record in _split(self._file):
            inside: Iterable[_Record] = [record]
            if record.kind == _CHUNK:
                try:
                    inside = _split(BytesIO(_unpacked(record.header["compression"].decode(), record.data)))
                except (OSError, RuntimeError):  # of bz2 and lz4
                    self.damage = f"{_NO_INDEX}, and a chunk is damaged"
                    continue
            yield from (item for item in inside if item.kind in (_CONNECTION, _MESSAGE))


@dataclass(frozen=True)
class _Record:
    """One record: the fields of its header, and its data."""

    header: Mapping[str, bytes]
    data: bytes

    @property
    def kind(self) -> int:
        return int.from_bytes(self.header.get("op", b""), "little")

    @property
    def connection(self) -> int:
        return int.from_bytes(self.header.get("conn", b""), "little")

    @property
    def time_ns(self) -> int:
        seconds, nanoseconds = struct.unpack("<II", self.header["time"])
        return int(seconds) * NS_PER_S + int(nanoseconds)

    def described(self) -> tuple[str, str, str]:
        """Return the topic, type and definition of a connection."""
        from rosbags.rosbag1.reader import normalize
        from rosbags.typesys.msg import normalize_msgtype

        fields = _fields(self.data)
        message_type, definition = (fields[name].decode() for name in ("type", "message_definition"))
        return normalize(self.header["topic"].decode()), normalize_msgtype(message_type), definition


def _split(stream: BinaryIO) -> Iterator[_Record]:
    """Yield the records of a file or chunk, up to the first that is not whole."""
    while (head := _read_block(stream)) and (data := _read_block(stream)) is not None:
        yield _Record(_fields(head), data)


def _read_block(stream: BinaryIO) -> bytes | None:
    """Read what has its length before it, None where it is not whole."""
    length = stream.read(4)
    size = int.from_bytes(length, "little")
    block = stream.read(min(size, MOST_BYTES))
    return block if len(length) == 4 and len(block) == size else None


def _fields(content: bytes) -> dict[str, bytes]:
    """Return the fields 'name=value' of a header, each with its length before it."""
    stream, found = BytesIO(content), {}
    while stream.tell() < len(content) and (field := _read_block(stream)) is not None:
        name, _, value = field.partition(b"=")
        found[name.decode()] = value
    return found


def _bounded(chunk: Any) -> Callable[[bytes], bytes]:
    """Return the decompressor of a ROS 1 chunk, which stops where the result is larger than any chunk is."""
    import lz4.frame

    names = {bz2.decompress: "bz2", lz4.frame.decompress: "lz4"}
    return partial(_unpacked, names.get(chunk.decompressor, "none"))


def _unpacked(compression: str, data: bytes) -> bytes:
    unpackers: dict[str, Callable[[bytes], bytes]] = {"none": bytes, "bz2": _unbz2, "lz4": unlz4}
    if compression not in unpackers:
        raise DataError(f"it has a chunk of the compression '{compression}', expected {', '.join(unpackers)}")
    unpacked = unpackers[compression](data)
    if len(unpacked) > MOST_BYTES:
        raise DataError(f"it has a chunk of more than the {MOST_BYTES} bytes that are read")
    return unpacked


def _unbz2(data: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, max_length=MOST_BYTES + 1)
