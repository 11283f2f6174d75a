"""Messages of one frame brought together by stamp, and a reason when they never come together."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from object_pose.core.frame import NS_PER_S

_NS_PER_MS = 1_000_000
_KEPT_NS = 5 * NS_PER_S
_MOST_BYTES = 128 << 20
_LEAST_COUNT = 8
_RECENT_ANCHORS = 8
_RECENT_STAMPS = 512


@dataclass(frozen=True)
class PairedSet:
    """The messages of one frame by stream; ``missing`` are streams that came before, but not with this one."""

    stamp_ns: int
    messages: Mapping[str, Any]
    missing: tuple[str, ...] = ()


class StampedBuffer:
    """The latest messages or sets: at least eight, more of the last ``kept_ns`` while ``most_bytes`` hold them."""

    def __init__(self, kept_ns: int = _KEPT_NS, most_bytes: int = _MOST_BYTES) -> None:
        self._kept_ns = kept_ns
        self._most_bytes = most_bytes
        self._items: deque[tuple[int, Any]] = deque()
        self._bytes = 0
        self.gone_until_ns: int | None = None

    def add(self, stamp_ns: int, message: Any) -> None:
        """Keep a message; the oldest ones go, and ``gone_until_ns`` is the stamp of the last of them."""
        self._items.append((stamp_ns, message))
        self._bytes += _size(message)
        while len(self._items) > _LEAST_COUNT and (
            self._bytes > self._most_bytes or abs(stamp_ns - self._items[0][0]) > self._kept_ns
        ):
            self.gone_until_ns = self._remove_oldest()

    def nearest(self, stamp_ns: int, tolerance_ns: int = 0) -> Any | None:
        """Return the message of a stamp, None where none is within the tolerance."""
        nearest = min(self._items, key=lambda item: abs(item[0] - stamp_ns), default=None)
        return nearest[1] if nearest and abs(nearest[0] - stamp_ns) <= tolerance_ns else None

    def drop_before(self, stamp_ns: int) -> None:
        """Drop what will not be asked for any more."""
        while self._items and self._items[0][0] < stamp_ns:
            self._remove_oldest()

    def clear(self) -> None:
        """Forget all."""
        self._items.clear()
        self._bytes, self.gone_until_ns = 0, None

    def _remove_oldest(self) -> int:
        stamp_ns, message = self._items.popleft()
        self._bytes -= _size(message)
        return stamp_ns


class FramePairer:
    """Brings to each message of an anchor stream those of its partners whose stamps differ by at most the tolerance.

    Partners are kept until an anchor that is not older has come, however late that is, within ``StampedBuffer``'s
    limits. One that has not come yet is waited for while it is alive (seen since the last anchor, or within
    ``alive_ns`` before this one) and has not gone past, at most until the next anchor comes.
    """

    def __init__(self, anchor: str, partners: Sequence[str], tolerance_ns: int, alive_ns: int = NS_PER_S) -> None:
        self.anchor = anchor
        self.partners = tuple(partners)
        self._tolerance_ns = tolerance_ns
        self._alive_ns = alive_ns
        self._buffers = {name: StampedBuffer() for name in partners}
        self._stamps: dict[str, deque[int]] = {name: deque(maxlen=_RECENT_STAMPS) for name in partners}
        self.anchors: deque[int] = deque(maxlen=_RECENT_ANCHORS)
        self._waiting: tuple[int, Any] | None = None
        self._met: set[str] = set()

    def add(self, stream: str, stamp_ns: int, message: Any) -> list[PairedSet]:
        """Take one message; return the sets that it completes, oldest first."""
        if stream != self.anchor:
            self._buffers[stream].add(stamp_ns, message)
            self._stamps[stream].append(stamp_ns)
            return self._complete()
        overtaken = self._complete(is_newest=False)
        self.anchors.append(stamp_ns)
        self._waiting = stamp_ns, message
        return overtaken + self._complete()

    def forget(self, stream: str) -> list[PairedSet]:
        """Drop what came of a partner that will come no more; return the sets that waited for it, oldest first."""
        self._buffers[stream].clear()
        self._stamps[stream].clear()
        return self._complete()

    def explain(self, stream: str) -> str:
        """Say how the stamps of ``stream`` miss the anchor's; empty when some met since the last call or none came."""
        if stream in self._met:
            self._met.discard(stream)
            return ""
        others = self._stamps[stream]
        if not self.anchors or not others:
            return ""
        gone_until_ns = self._buffers[stream].gone_until_ns
        if gone_until_ns is not None and self.anchors[-1] <= gone_until_ns:
            late_s = (others[-1] - self.anchors[-1]) / NS_PER_S
            return f"{self.anchor} come {late_s:.1f} s later than {stream}, which is not kept as long"
        gap_ns = min(abs(anchor - other) for anchor in self.anchors for other in others)
        if gap_ns <= self._tolerance_ns:
            return ""
        return (
            f"the stamps of {stream} and {self.anchor} differ by at least {gap_ns / _NS_PER_MS:.1f} ms, "
            f"more than pair_tolerance_ms = {self._tolerance_ns / _NS_PER_MS:g}"
        )

    def _complete(self, is_newest: bool = True) -> list[PairedSet]:
        """Return the set of the anchor that waits, if it waits for nothing any more."""
        if self._waiting is None:
            return []
        stamp_ns, message = self._waiting
        nearest = {name: self._buffers[name].nearest(stamp_ns, self._tolerance_ns) for name in self.partners}
        found = {name: partner for name, partner in nearest.items() if partner is not None}
        if is_newest and self._awaits(stamp_ns, found):
            return []
        self._waiting = None
        self._met.update(found)
        for buffer in self._buffers.values():
            buffer.drop_before(stamp_ns - self._tolerance_ns)
        missing = tuple(name for name in self.partners if name not in found and self._stamps[name])
        return [PairedSet(stamp_ns, {self.anchor: message, **found}, missing)]

    def _awaits(self, stamp_ns: int, found: Mapping[str, Any]) -> bool:
        """Whether a live partner has not yet delivered its part of the newest frame."""
        last_ns = self.anchors[-2] if len(self.anchors) > 1 else stamp_ns
        alive_since_ns = min(stamp_ns - self._alive_ns, last_ns - self._tolerance_ns)
        return any(
            self._stamps[name] and alive_since_ns <= self._stamps[name][-1] < stamp_ns
            for name in self.partners
            if name not in found
        )


def _size(item: Any) -> int:
    if isinstance(item, PairedSet):
        return sum(_size(message) for message in item.messages.values())
    return len(getattr(item, "data", ()))
