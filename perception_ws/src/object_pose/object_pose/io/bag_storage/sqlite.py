"""SQLite files of rosbag2."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from object_pose.core.errors import DataError
from object_pose.io.bag_storage.packing import is_zstd, unzstd
from object_pose.io.bag_storage.storage import Channel, RawMessage

_LOGS = ("-wal", "-journal")  # what a recorder that was broken off had not yet written into the file, or half


class SqliteStorage:
    """A db3 file of rosbag2; its messages are described since ROS 2 Iron, and may be packed one by one."""

    def __init__(self, path: Path) -> None:
        self.damage = ""
        with ExitStack() as stack:
            self._database = self._open(path, stack)
            self._describe()
            self._opened = stack.pop_all()

    def _open(self, path: Path, stack: ExitStack) -> sqlite3.Connection:
        """Open a file for reading without a trace; with its log where it has one, which takes a copy of both."""
        logs = [log for log in (path.with_name(path.name + suffix) for suffix in _LOGS) if _is_live(log)]
        mode = "mode=ro&immutable=1"
        if logs:
            try:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                for file in (path, *logs):
                    shutil.copyfile(file, folder / file.name)
                path, mode = folder / path.name, "mode=rw"
            except OSError as error:
                self.damage = f"messages in {logs[0].name} are missing, which cannot be copied ({error.strerror})"
        database = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)
        stack.callback(database.close)
        return database

    def _describe(self) -> None:
        """Read what channels there are, and from when to when their messages are."""
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
            yield wanted[key], time_ns, unzstd(data) if is_zstd(data) else data

    def close(self) -> None:
        """See ``Storage``."""
        self._opened.close()


def _is_live(log: Path) -> bool:
    """Whether a log holds anything: the header of one that is done with is missing or zero."""
    if not log.is_file():
        return False
    with log.open("rb") as file:
        return any(file.read(8))
