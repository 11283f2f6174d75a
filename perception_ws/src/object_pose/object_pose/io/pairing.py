"""Messages of several streams that belong together because they carry the same stamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any


class StampPairer:
    """Joins one item of each stream when their stamps lie within ``tolerance_ns`` of the newest one's.

    A stream keeps at most ``capacity`` items that wait for their partners; ``dropped`` counts those that got none.
    Within a stream the stamps must not fall.
    """

    def __init__(self, streams: Sequence[str], tolerance_ns: int = 0, capacity: int = 10) -> None:
        self._waiting: dict[str, deque[tuple[int, Any]]] = {name: deque() for name in streams}
        self._tolerance_ns = tolerance_ns
        self._capacity = capacity
        self.dropped = dict.fromkeys(streams, 0)

    def add(self, stream: str, stamp_ns: int, item: Any) -> dict[str, Any] | None:
        """Take an item; return the set that it completes, by stream, or None."""
        queue = self._waiting[stream]
        queue.append((stamp_ns, item))
        if len(queue) > self._capacity:
            self._drop(stream, 1)
        positions = {name: self._nearest(name, stamp_ns) for name in self._waiting}
        if any(position is None for position in positions.values()):
            return None
        return {name: self._take(name, position) for name, position in positions.items() if position is not None}

    def _nearest(self, stream: str, stamp_ns: int) -> int | None:
        distances = [abs(stamp - stamp_ns) for stamp, _ in self._waiting[stream]]
        if not distances or min(distances) > self._tolerance_ns:
            return None
        return distances.index(min(distances))

    def _take(self, stream: str, position: int) -> Any:
        """Remove and return an item; those before it can find no partner any more."""
        self._drop(stream, position)
        return self._waiting[stream].popleft()[1]

    def _drop(self, stream: str, count: int) -> None:
        for _ in range(count):
            self._waiting[stream].popleft()
        self.dropped[stream] += count
