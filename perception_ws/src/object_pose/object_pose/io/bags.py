"""Bags of ROS 2 messages, written and read without a ROS installation."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from object_pose.core.errors import DataError, ObjectPoseError
from object_pose.io.bag_storage.opening import open_storages
from object_pose.io.bag_storage.storage import Channel, Storage
from object_pose.runtime.resources import message_packages

# rosbags is an extra and imported where it is used, so that images are read without it.
if TYPE_CHECKING:
    from rosbags.rosbag2 import Writer
    from rosbags.typesys.store import Typestore

logger = logging.getLogger(__name__)


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

    def write(self, topic: str, message_type: str, stamp_ns: int, message: Any, latched: int = 0) -> None:
        """Add a message: CDR bytes, as a raw subscription gives them, or an object of ``store.types``.

        Who subscribes late while the bag is played gets the last ``latched`` messages of the topic; its first message
        says how many.
        """
        if topic not in self._connections:
            if message_type not in self.store.types:
                raise DataError(f"message type '{message_type}' of {topic} is not known", "name its message package")
            self._connections[topic] = self._writer.add_connection(
                topic, message_type, typestore=self.store, offered_qos_profiles=_latching(latched) if latched else ()
            )
        data = message if isinstance(message, bytes) else self.store.serialize_cdr(message, message_type)
        self._writer.write(self._connections[topic], stamp_ns, data)


def _latching(depth: int) -> tuple[Any, ...]:
    """Return the QoS of a publisher that keeps its last ``depth`` messages for late subscribers."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    unlimited = QosTime(0, 0)
    return (
        Qos(
            history=QosHistory.KEEP_LAST,
            depth=depth,
            reliability=QosReliability.RELIABLE,
            durability=QosDurability.TRANSIENT_LOCAL,
            deadline=unlimited,
            lifespan=unlimited,
            liveliness=QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=unlimited,
            avoid_ros_namespace_conventions=False,
        ),
    )


@contextmanager
def write_bag(path: str | Path, store: Typestore, compress: bool = False) -> Iterator[BagWriter]:
    """Write an mcap bag, a folder that ``ros2 bag play`` takes; it replaces one of that name when the block ends well.

    With ``compress`` its chunks are packed with zstd. Raises ``DataError`` where ``path`` is something else than a bag.
    """
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    target = Path(path)
    if target.exists() and not (target / "metadata.yaml").is_file():
        raise DataError(f"{target} exists and is not a bag", "choose another name")
    workplace = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        writer = Writer(workplace / target.name, version=9, storage_plugin=StoragePlugin.MCAP)
        if compress:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            yield BagWriter(writer, store)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(workplace / target.name, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def read_bag(
    path: str | Path,
    topics: Collection[str] = (),
    store: Typestore | None = None,
    types: Mapping[str, Collection[str]] | None = None,
) -> Iterator[tuple[str, int, Any]]:
    """Yield (topic, stamp_ns, message) in the order of recording, of ``topics`` or of all.

    ``store`` serves bags that do not describe their messages; ``types`` are the types that a topic may have. Raises
    ``DataError`` when the bag cannot be read, has none of one of the topics, or one of another type.
    """
    with _opened(Path(path), store) as bag:
        present = {channel.topic for channel in bag.channels}
        missing = [topic for topic in topics if topic not in present]
        if missing:
            raise DataError(
                f"bag {path} has no topic {', '.join(missing)}", f"it has {', '.join(sorted(present)) or 'none'}"
            )
        for channel in bag.channels:
            expected = (types or {}).get(channel.topic)
            if channel.topic in topics and expected and channel.message_type not in expected:
                raise DataError(
                    f"bag {path}: {channel.topic} has the type {channel.message_type}",
                    f"expected {' or '.join(expected)}",
                )
            if channel.topic in topics:
                bag.check_fields(channel)
        yield from bag.messages(topics)


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
    """Return what a bag holds, without decoding its messages; raises ``DataError`` when it cannot be read."""
    with _opened(Path(path)) as bag:
        topics: dict[str, TopicInfo] = {}
        for channel in sorted(bag.channels, key=lambda channel: channel.topic):
            before = topics[channel.topic].count if channel.topic in topics else 0
            topics[channel.topic] = TopicInfo(channel.topic, channel.message_type, before + channel.count)
        filled = [storage for storage in bag.storages if any(channel.count for channel in storage.channels)]
        start = min((storage.start_ns for storage in filled), default=0)
        end = max((storage.end_ns for storage in filled), default=0)
        return BagInfo(tuple(topics.values()), start, end - start)


class _OpenBag:
    """A bag's files, and its messages decoded by the definitions that it holds, or else by ``default``."""

    def __init__(self, path: Path, storages: Sequence[Storage], default: Typestore) -> None:
        self._path = path
        self._default = default
        self._stores: dict[tuple[str, str], Typestore] = {}
        self.storages = storages
        self.channels = [channel for storage in storages for channel in storage.channels]

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """Yield (topic, time, message) of some topics, or of all; what else is in the bag need not be readable."""
        for storage in self.storages:
            wanted = [channel for channel in storage.channels if not topics or channel.topic in topics]
            for channel, time_ns, data in storage.messages(wanted) if wanted else ():
                yield channel.topic, time_ns, self._decode(channel, data)

    def check_fields(self, channel: Channel) -> None:
        """Raise ``DataError`` where the bag defines a ROS 2 type that we know without a field that it has."""
        if channel.encoding != "cdr" or channel.message_type not in self._default.fielddefs:
            return
        defined, known = self._store(channel).fielddefs, self._default.fielddefs
        waiting = [channel.message_type]
        while waiting:
            name = waiting.pop()
            fields = {field for field, _ in defined[name][1]} if name in defined else set()
            for field, kind in known[name][1]:
                if field not in fields:
                    problem = f"bag {self._path}: {channel.topic} defines {name} without the field '{field}'"
                    raise DataError(problem, "it was recorded with other message packages")
                waiting += _named_types(kind)

    def _decode(self, channel: Channel, data: bytes) -> Any:
        store = self._store(channel)
        if channel.encoding == "cdr":
            return store.deserialize_cdr(data, channel.message_type)
        if channel.encoding == "ros1":
            return store.deserialize_ros1(data, channel.message_type)
        raise DataError(f"bag {self._path}: {channel.topic} is encoded as '{channel.encoding}', expected cdr or ros1")

    def _store(self, channel: Channel) -> Typestore:
        key = channel.message_type, channel.definition
        if key not in self._stores:
            self._stores[key] = self._make_store(channel)
        return self._stores[key]

    def _make_store(self, channel: Channel) -> Typestore:
        from rosbags.typesys import Stores, get_typestore

        problem = "has no definition"
        if channel.definition:
            try:
                store = get_typestore(Stores.EMPTY)
                store.register(_definitions(channel))
                if channel.message_type in store.types:
                    return store
            except Exception as error:  # the parsers of rosbags stop with whatever a text breaks in them
                problem = f"has a definition that cannot be parsed ({type(error).__name__})"
        if channel.message_type in self._default.types and channel.encoding == "cdr":
            return self._default
        raise DataError(f"bag {self._path}: {channel.topic} of the type {channel.message_type} {problem}")


def _named_types(kind: Any) -> list[str]:
    """Return the message type that a field's type, as rosbags describes it, is made of; empty for a plain value."""
    _, content = kind
    if isinstance(content, str):
        return [content]
    return _named_types(content[0]) if isinstance(content[0], tuple) else []


def _definitions(channel: Channel) -> Any:
    """Return the types of a channel's definition, which names all that they are made of."""
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    if "idl" not in channel.definition_format:
        return get_types_from_msg(channel.definition, channel.message_type)
    types: dict[str, Any] = {}
    for part in channel.definition.split("=" * 80 + "\n"):
        if part.strip():
            types |= get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part)
    return types


@contextmanager
def _opened(path: Path, store: Typestore | None = None) -> Iterator[_OpenBag]:
    """Open a bag; whatever breaks in reading it, here or in the block, is a ``DataError`` that names it."""
    with ExitStack() as stack:
        try:
            storages = open_storages(path)
            for storage in storages:
                stack.callback(storage.close)
                if storage.damage:
                    logger.warning("bag %s: %s: what is whole of it is read", path, storage.damage)
            yield _OpenBag(path, storages, store or make_typestore())
        except ObjectPoseError as error:
            named = str(path) in error.message
            raise error if named else DataError(f"bag {path} cannot be read: {error.message}", error.hint) from error
        except ImportError:
            raise
        except Exception as error:  # damaged bytes break the parsers of other packages in ways that they do not name
            raise DataError(f"bag {path} cannot be read", f"{type(error).__name__}: {error}") from error
