"""Messages of one frame brought together by stamp, and a reason when they never come together."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class PairedSet:
    """The messages of one frame by stream; ``missing`` are optional streams that came before, but not with this one."""

    stamp_ns: int
    messages: Mapping[str, Any]
    missing: tuple[str, ...] = ()


class FramePairer:
    """Collects an anchor stream and others into sets whose stamps differ by at most the tolerance.

    A set is complete when the required streams are there; an optional one is waited for while it is alive (seen since
    the last anchor, or within ``alive_ns`` before this one) and has not gone past, at most until the next anchor comes.
    ``lost`` counts anchors that found no required partner.
    """

    def __init__(
        self,
        anchor: str,
        required: Sequence[str],
        optional: Sequence[str],
        tolerance_ns: int,
        capacity: int = 8,
        alive_ns: int = _NS_PER_S,
    ) -> None:
        self._anchor = anchor
        self._required = tuple(required)
        self._optional = tuple(optional)
        self._tolerance_ns = tolerance_ns
        self._alive_ns = alive_ns
        self._buffers: dict[str, deque[tuple[int, Any]]] = {
            name: deque(maxlen=capacity) for name in (anchor, *required, *optional)
        }
        self._last_anchors: deque[int] = deque(maxlen=capacity)
        self._met: set[str] = set()
        self.lost = 0

    @property
    def partners(self) -> tuple[str, ...]:
        """The streams beside the anchor."""
        return self._required + self._optional

    def add(self, stream: str, stamp_ns: int, message: Any) -> list[PairedSet]:
        """Take one message; return the sets that it completes, oldest first."""
        buffer = self._buffers[stream]
        if stream == self._anchor:
            self.lost += len(buffer) == buffer.maxlen
            self._last_anchors.append(stamp_ns)
        buffer.append((stamp_ns, message))
        return self._complete()

    def forget(self, stream: str) -> list[PairedSet]:
        """Drop what came of a partner that will come no more; return the sets that waited for it, oldest first."""
        self._buffers[stream].clear()
        return self._complete()

    def explain(self, stream: str) -> str:
        """Say how the stamps of ``stream`` miss the anchor's; empty when some met since the last call or none came."""
        if stream in self._met:
            self._met.discard(stream)
            return ""
        others = self._buffers[stream]
        if not self._last_anchors or not others:
            return ""
        gap_ns = min(abs(anchor - other) for anchor in self._last_anchors for other, _ in others)
        if gap_ns <= self._tolerance_ns:
            return ""
        return (
            f"the stamps of {stream} and {self._anchor} differ by at least {gap_ns / _NS_PER_MS:.1f} ms, "
            f"more than pair_tolerance_ms = {self._tolerance_ns / _NS_PER_MS:g}"
        )

    def _complete(self) -> list[PairedSet]:
        sets: list[PairedSet] = []
        anchors = self._buffers[self._anchor]
        waiting: list[tuple[int, Any]] = []
        for position, (stamp_ns, message) in enumerate(anchors):
            found = self._partners(stamp_ns)
            is_newest = position == len(anchors) - 1
            if not all(name in found for name in self._required) or (is_newest and self._awaits(stamp_ns, found)):
                waiting.append((stamp_ns, message))
                continue
            self._met.update(found)
            missing = tuple(name for name in self._optional if name not in found and self._buffers[name])
            sets.append(PairedSet(stamp_ns, {self._anchor: message, **found}, missing))
            self.lost += len(waiting)
            waiting.clear()
        anchors.clear()
        anchors.extend(waiting)
        return sets

    def _partners(self, stamp_ns: int) -> dict[str, Any]:
        found = {}
        for name in self.partners:
            nearest = min(self._buffers[name], key=lambda item: abs(item[0] - stamp_ns), default=None)
            if nearest is not None and abs(nearest[0] - stamp_ns) <= self._tolerance_ns:
                found[name] = nearest[1]
        return found

    def _awaits(self, stamp_ns: int, found: Mapping[str, Any]) -> bool:
        """Whether a live optional stream has not yet delivered its part of the newest frame."""
        last_ns = self._last_anchors[-2] if len(self._last_anchors) > 1 else stamp_ns
        alive_since_ns = min(stamp_ns - self._alive_ns, last_ns - self._tolerance_ns)
        return any(
            self._buffers[name] and alive_since_ns <= self._buffers[name][-1][0] < stamp_ns
            for name in self._optional
            if name not in found
        )
