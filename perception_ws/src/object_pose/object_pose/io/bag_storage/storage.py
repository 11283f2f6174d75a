"""What a file of a recording is to its readers: channels, and raw messages of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


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
