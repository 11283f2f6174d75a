"""The files of bags, MCAP, SQLite and ROS 1, as channels and raw messages; a damaged one as far as it is whole."""

from __future__ import annotations

import bz2
import heapq
import itertools
import sqlite3
import struct
import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import quote

from object_pose.core.errors import DataError
from object_pose.io.files import parse_yaml

# rosbags and what it brings, lz4 and zstd, are an extra and imported where they are used.
if TYPE_CHECKING:
    from rosbags.rosbag1 import Reader as Ros1Reader
    from rosbags.rosbag2 import Reader as Ros2Reader

SUFFIXES = (".mcap", ".db3", ".bag")
_METADATA = "metadata.yaml"
_MAGIC = b"\x89MCAP0\r\n"
_LARGEST_CHUNK = 256 << 20
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS = 0x03, 0x04, 0x05, 0x06, 0x08, 0x0B
_HEAD, _FOOTER_SIZE = struct.Struct("<BQ"), 37


@dataclass(frozen=True)
class Channel:
    """One topic of a file: its type, how messages are encoded ('cdr' or 'ros1'), and their definition if it has one."""

    topic: str
    message_type: str
    encoding: str
    definition: str
    definition_format: str
    count: int
    key: Any = field(compare=False)


RawMessage = tuple[Channel, int, bytes]


class Storage(Protocol):
    """One file: channels, times of its first and last message (0 without any), and ``damage`` where it is not whole."""

    start_ns: int
    end_ns: int
    damage: str

    @property
    def channels(self) -> Sequence[Channel]:
        """The topics in the file."""
        ...

    def messages(self, channels: Collection[Channel]) -> Iterator[RawMessage]:
        """Yield the messages of some channels in the order of recording."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: an mcap, db3 or ROS 1 file, or a folder with one or ``metadata.yaml``."""
    if path.is_dir():
        return (path / _METADATA).is_file() or bool(_files_of(path))
    return path.is_file() and path.suffix in SUFFIXES


def open_storages(path: Path) -> list[Storage]:
    """Open a recording's files in their order; raises ``DataError`` where there are none. Others' errors pass."""
    if not path.exists():
        raise DataError(f"bag {path} does not exist")
    if not path.is_dir():
        return [_open_file(path)]
    metadata = _read_metadata(path)
    if metadata.get("compression_format"):
        from rosbags.rosbag2 import Reader

        return [_RosbagsStorage(Reader(path), "cdr")]
    files = _files_of(path)
    named = [Path(str(name)).name for name in metadata.get("relative_file_paths") or ()]
    missing = [name for name in named if not (path / name).exists()]
    if not files or missing:
        lacks = f"lacks {', '.join(missing)}" if missing else f"holds no {' or '.join(SUFFIXES)} file"
        raise DataError(f"bag {path} {lacks}")
    return [_open_file(file) for file in sorted(files, key=lambda file: (file.name not in named, file.name))]


def _files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))


def _read_metadata(folder: Path) -> dict[str, Any]:
    """Return what ``metadata.yaml`` says; nothing where it is missing or broken, for the files say it themselves."""
    try:
        found = parse_yaml((folder / _METADATA).read_text())["rosbag2_bagfile_information"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


def _open_file(path: Path) -> Storage:
    if path.suffix == ".mcap":
        return _McapStorage(path)
    if path.suffix == ".db3":
        return _SqliteStorage(path)
    if path.suffix == ".bag":
        from rosbags.rosbag1 import Reader

        reader = Reader(path)
        storage = _RosbagsStorage(reader, "ros1")
        reader.chunks = {key: chunk._replace(decompressor=_bounded(chunk)) for key, chunk in reader.chunks.items()}
        return storage
    raise DataError(f"{path} is no recording", f"expected a folder, or a file with the suffix {', '.join(SUFFIXES)}")


class _Block(NamedTuple):
    """A chunk, or a message outside of chunks: the time of its first message, where it lies, and how long it is.

    The last chunk of a truncated file ``is_cut``.
    """

    start_ns: int
    offset: int
    length: int
    is_cut: bool = False


class _McapStorage:
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
        return [replace(channel, count=self._counts.get(key, 0)) for key, channel in self._channels.items()]

    def messages(self, channels: Collection[Channel]) -> Iterator[RawMessage]:
        """See ``Storage``; chunks may overlap in time, so what comes after the next one's start waits."""
        wanted = {channel.key: channel for channel in channels}
        waiting: list[tuple[int, int, Channel, bytes]] = []
        order = itertools.count()
        for block in sorted(self._blocks):
            while waiting and waiting[0][0] < block.start_ns:
                time_ns, _, channel, data = heapq.heappop(waiting)
                yield channel, time_ns, data
            for key, time_ns, content in self._block_messages(block):
                if key in wanted:
                    heapq.heappush(waiting, (time_ns, next(order), wanted[key], bytes(content)))
        while waiting:
            time_ns, _, channel, data = heapq.heappop(waiting)
            yield channel, time_ns, data

    def close(self) -> None:
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
        if block.length > 2 * _LARGEST_CHUNK:  # packed data are not much longer than what is packed
            raise DataError(f"it has a chunk of {block.length} bytes, more than the {2 * _LARGEST_CHUNK} that are read")
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
    if size > _LARGEST_CHUNK:
        raise DataError(f"it has a chunk of {size} bytes, more than the {_LARGEST_CHUNK} that are read")
    if compression == "zstd":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        data = memoryview(zstd.ZstdDecompressor().decompress(data, max_length=size + 1))
    elif compression == "lz4":
        import lz4.frame

        data = memoryview(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1))
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


class _SqliteStorage:
    """A db3 file of rosbag2; its messages are described since ROS 2 Iron."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
        self.damage = ""
        query = self._database.execute
        tables = {name for (name,) in query("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"topics", "messages"} <= tables:
            raise DataError("it has no tables of messages and topics")
        definitions: dict[str, tuple[str, str]] = {}
        if "message_definitions" in tables:
            rows = query("SELECT topic_type, encoded_message_definition, encoding FROM message_definitions")
            definitions = {name: (text, encoding) for name, text, encoding in rows}
        spans = {
            key: (count, first, last)
            for key, count, first, last in query(
                "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages GROUP BY topic_id"
            )
        }
        self.channels: Sequence[Channel] = [
            Channel(topic, name, encoding, *definitions.get(name, ("", "")), spans.get(key, (0,))[0], key)
            for key, topic, name, encoding in query("SELECT id, name, type, serialization_format FROM topics")
        ]
        self.start_ns = min((first for _, first, _ in spans.values()), default=0)
        self.end_ns = max((last for _, _, last in spans.values()), default=0)

    def messages(self, channels: Collection[Channel]) -> Iterator[RawMessage]:
        """See ``Storage``."""
        wanted = {channel.key: channel for channel in channels}
        places = ",".join("?" * len(wanted))
        rows = self._database.execute(
            f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({places}) ORDER BY timestamp, id",
            list(wanted),
        )
        for key, time_ns, data in rows:
            yield wanted[key], time_ns, data

    def close(self) -> None:
        self._database.close()


def _bounded(chunk: Any) -> Callable[[bytes], bytes]:
    """Return the decompressor of a ROS 1 chunk, which stops where the result is larger than any chunk is."""
    import lz4.frame

    makers = {bz2.decompress: bz2.BZ2Decompressor, lz4.frame.decompress: lz4.frame.LZ4FrameDecompressor}
    make = makers.get(chunk.decompressor)
    if make is None:
        return chunk.decompressor

    def unpack(data: bytes) -> bytes:
        unpacked: bytes = make().decompress(data, max_length=_LARGEST_CHUNK + 1)
        if len(unpacked) > _LARGEST_CHUNK:
            raise DataError(f"it has a chunk of more than the {_LARGEST_CHUNK} bytes that are read")
        return unpacked

    return unpack


class _RosbagsStorage:
    """What the rosbags package reads: bags of ROS 1, and those that rosbag2 compressed as a whole or by message."""

    def __init__(self, reader: Ros1Reader | Ros2Reader, encoding: str) -> None:
        self._reader = reader
        self.damage = ""
        reader.open()
        self.channels: Sequence[Channel] = [
            Channel(
                item.topic,
                item.msgtype,
                encoding,
                item.msgdef.data,
                "ros2idl" if item.msgdef.format.name == "IDL" else "ros2msg",
                item.msgcount,
                item,
            )
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
        self._reader.close()
