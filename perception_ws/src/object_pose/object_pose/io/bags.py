"""Bags of ROS 2 messages, written and read without a ROS installation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from object_pose.core.errors import DataError
from object_pose.runtime.resources import message_packages

# rosbags is an extra and imported where it is used, so that images are read without it.
if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.rosbag2 import Writer
    from rosbags.typesys.store import Typestore

_BAG_SUFFIXES = (".mcap", ".db3")


def make_typestore() -> Typestore:
    """Return ROS 2 Kilted's message types, vision_msgs and ours."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    types: dict[str, Any] = {}
    for package in message_packages():
        for file in sorted((package / "msg").glob("*.msg")):
            types |= get_types_from_msg(file.read_text(), f"{package.name}/msg/{file.stem}")
    store.register({name: definition for name, definition in types.items() if name not in store.types})
    return store


class BagWriter:
    """Adds messages to a bag that is being written; see ``write_bag``."""

    def __init__(self, writer: Writer, store: Typestore) -> None:
        self._writer = writer
        self._connections: dict[str, Any] = {}
        self.store = store

    def write(self, topic: str, message_type: str, stamp_ns: int, message: Any) -> None:
        """Add a message: CDR bytes, as a raw subscription gives them, or an object of ``store.types``."""
        if topic not in self._connections:
            if message_type not in self.store.types:
                raise DataError(f"message type '{message_type}' of {topic} is not known", "name its message package")
            self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=self.store)
        data = message if isinstance(message, bytes) else self.store.serialize_cdr(message, message_type)
        self._writer.write(self._connections[topic], stamp_ns, data)


@contextmanager
def write_bag(path: str | Path, store: Typestore) -> Iterator[BagWriter]:
    """Write an mcap bag, a folder that ``ros2 bag play`` takes; it replaces one of that name when the block ends well.

    Raises ``DataError`` where ``path`` is something else than a bag.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer

    target = Path(path)
    if target.exists() and not is_bag(target):
        raise DataError(f"{target} exists and is not a bag", "choose another name")
    workplace = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        with Writer(workplace / target.name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            yield BagWriter(writer, store)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(workplace / target.name, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: a folder with ``metadata.yaml``, or an mcap or db3 file."""
    return (path / "metadata.yaml").is_file() or (path.is_file() and path.suffix in _BAG_SUFFIXES)


def read_bag(
    path: str | Path, topics: Collection[str] = (), store: Typestore | None = None
) -> Iterator[tuple[str, int, Any]]:
    """Yield (topic, stamp_ns, message) in the order of recording, of ``topics`` or of all.

    ``store`` serves bags that do not describe their messages. Raises ``DataError`` when the bag cannot be read or has
    none of one of the topics.
    """
    with _reading(Path(path), store) as reader:
        present = {connection.topic for connection in reader.connections}
        missing = [topic for topic in topics if topic not in present]
        if missing:
            raise DataError(f"bag {path} has no topic {', '.join(missing)}", f"it has {', '.join(sorted(present))}")
        wanted = [connection for connection in reader.connections if not topics or connection.topic in topics]
        for connection, time_ns, data in reader.messages(wanted):
            yield connection.topic, time_ns, reader.deserialize(data, connection.msgtype)


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a bag."""

    name: str
    message_type: str
    count: int


@dataclass(frozen=True)
class BagInfo:
    """What a bag holds: topics by name, and the time from the first to the last message (0 without any)."""

    topics: tuple[TopicInfo, ...]
    start_ns: int
    duration_ns: int


def describe_bag(path: str | Path) -> BagInfo:
    """Return what a bag holds without reading its messages; raises ``DataError`` when it cannot be read."""
    with _reading(Path(path)) as reader:
        topics = tuple(
            TopicInfo(name, info.msgtype or "", info.msgcount) for name, info in sorted(reader.topics.items())
        )
        if not reader.message_count:
            return BagInfo(topics, 0, 0)
        return BagInfo(topics, reader.start_time, reader.duration)


@contextmanager
def _reading(bag: Path, store: Typestore | None = None) -> Iterator[AnyReader]:
    from rosbags.highlevel import AnyReader, AnyReaderError

    try:
        with AnyReader([bag], default_typestore=store or make_typestore()) as reader:
            yield reader
    except FileNotFoundError as error:
        raise DataError(f"bag {bag} does not exist") from error
    except AnyReaderError as error:
        raise DataError(f"bag {bag} cannot be read", str(error)) from error
