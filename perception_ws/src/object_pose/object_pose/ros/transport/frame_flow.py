"""What is wrong with the frames that come and go, by their stamps, frame_ids and number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_NS_PER_S = 1_000_000_000
_SAME_STAMPS = 3
_JUMP_S = 0.1
_LATE_S = 1.0
# Stamps further from the clock than this are those of a recording, or of a camera that counts from its own start.
_OTHER_CLOCK_S = 3600.0
_DROPS = 5


@dataclass
class _Stream:
    """The last message of a stream, and what was noticed since the last report."""

    stamp_ns: int
    frame_id: str
    repeats: int = 0
    jump_s: float = 0.0
    old_frame_id: str = ""


@dataclass
class FrameFlow:
    """Notes the messages and the frames of a node; ``problems`` says what is wrong with those since its last call."""

    _streams: dict[str, _Stream] = field(default_factory=dict)
    _handled: int = 0
    _dropped: int = 0
    _latency_s: float = 0.0

    def received(self, stream: str, stamp_ns: int, frame_id: str) -> None:
        """Note a message of a stream."""
        last = self._streams.setdefault(stream, _Stream(stamp_ns - 1, frame_id))
        last.repeats = last.repeats + 1 if stamp_ns == last.stamp_ns else 0
        last.jump_s = max(last.jump_s, (last.stamp_ns - stamp_ns) / _NS_PER_S)
        if frame_id != last.frame_id:
            last.old_frame_id = last.frame_id
        last.stamp_ns, last.frame_id = stamp_ns, frame_id

    def handled(self, latency_s: float) -> None:
        """Note a frame that is done, and its age."""
        self._handled += 1
        self._latency_s = latency_s

    def problems(self, dropped: int) -> Iterator[tuple[str, str]]:
        """Yield kind and text of each problem; ``dropped`` counts all frames so far that were not handled."""
        for name, stream in self._streams.items():
            if stream.repeats >= _SAME_STAMPS:
                yield f"stamps_{name}", f"the stamps of {name} stand still: does the driver fill them, does /clock run?"
            if stream.jump_s > _JUMP_S:
                yield (
                    f"stamps_{name}",
                    f"the stamps of {name} jumped back by {stream.jump_s:.1f} s: two clocks, or a loop",
                )
            if stream.old_frame_id:
                text = f"the frame_id of {name} changed from '{stream.old_frame_id}' to '{stream.frame_id}'"
                yield f"frame_id_{name}", f"{text}: ids start anew; is there a second camera?"
            stream.repeats, stream.jump_s, stream.old_frame_id = min(stream.repeats, _SAME_STAMPS), 0.0, ""
        handled, newly_dropped = self._handled, dropped - self._dropped
        self._handled, self._dropped = 0, dropped
        if newly_dropped >= _DROPS and newly_dropped > handled:
            share = f"{newly_dropped} of {newly_dropped + handled} frames were dropped"
            yield "drops", f"{share}: the camera is faster than this node; lower its rate or use a smaller model"
        if handled and _LATE_S < abs(self._latency_s) < _OTHER_CLOCK_S:
            text = f"frames are {self._latency_s:.1f} s old when they are done"
            yield "latency", f"{text}: a queue before this node, a busy machine, or clocks that differ"
