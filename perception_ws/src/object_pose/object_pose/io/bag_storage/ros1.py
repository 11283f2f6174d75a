"""Bags of ROS 1."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from object_pose.core.errors import DataError
from object_pose.io.bag_storage.packing import MOST_BYTES, unlz4
from object_pose.io.bag_storage.storage import Channel, RawMessage


class Ros1Storage:
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


def _bounded(chunk: Any) -> Callable[[bytes], bytes]:
    """Return the decompressor of a ROS 1 chunk, which stops where the result is larger than any chunk is."""
    import lz4.frame

    unpackers: dict[Any, Callable[[bytes], bytes]] = {bz2.decompress: _unbz2, lz4.frame.decompress: unlz4}
    unpacker = unpackers.get(chunk.decompressor, chunk.decompressor)

    def unpack(data: bytes) -> bytes:
        unpacked: bytes = unpacker(data)
        if len(unpacked) > MOST_BYTES:
            raise DataError(f"it has a chunk of more than the {MOST_BYTES} bytes that are read")
        return unpacked

    return unpack


def _unbz2(data: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, max_length=MOST_BYTES + 1)
