"""What is wrong with the frames that come and go, by their stamps, frame_ids and number."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from object_pose.core.frame import NS_PER_S

_SAME_STAMPS = 3
_JUMP_S = 0.1
# How much further than the time that went by; a recording may be played faster than it was made.
_JUMP_FORWARD_S = 10.0
_LATE_S = 1.0
# Stamps further from the clock than this are those of a recording, or of a camera that counts from its own start.
_OTHER_CLOCK_S = 3600.0
_DROPS = 5
_PERIODS = 5  # reports that drops are counted over: slow cameras have few frames between two


@dataclass
class _Stream:
    """The last message of a stream, and what was noticed since the last report."""

    stamp_ns: int
    frame_id: str
    came_at: float
    repeats: int = 0
    jump_s: float = 0.0  # negative where stamps went back
    old_frame_id: str = ""


@dataclass
class FrameFlow:
    """Notes the messages and the frames of a node; ``problems`` says what is wrong with those since its last call.

    ``now`` returns seconds of a clock that never jumps.
    """

    now: Callable[[], float] = time.monotonic
    _streams: dict[str, _Stream] = field(default_factory=dict)
    _handled: int = 0
    _dropped: int = 0
    _recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_PERIODS))
    _latency_s: float = 0.0

    def received(self, stream: str, stamp_ns: int, frame_id: str) -> None:
        """Note a message of a stream."""
        now = self.now()
        last = self._streams.setdefault(stream, _Stream(stamp_ns - 1, frame_id, now))
        last.repeats = last.repeats + 1 if stamp_ns == last.stamp_ns else 0
        step_s = (stamp_ns - last.stamp_ns) / NS_PER_S
        if step_s < -_JUMP_S or step_s - (now - last.came_at) > _JUMP_FORWARD_S:
            last.jump_s = step_s
        if frame_id != last.frame_id:
            last.old_frame_id = last.frame_id
        last.stamp_ns, last.frame_id, last.came_at = stamp_ns, frame_id, now

    def handled(self, latency_s: float) -> None:
        """Note a frame that is done, and its age."""
        self._handled += 1
        self._latency_s = latency_s

    def problems(self, dropped: int) -> Iterator[tuple[str, str]]:
        """Yield kind and text of each problem; ``dropped`` counts all frames so far that were not handled."""
        for name, stream in self._streams.items():
            if stream.repeats >= _SAME_STAMPS:
                yield f"stamps_{name}", f"the stamps of {name} stand still: does the driver fill them, does /clock run?"
            if stream.jump_s:
                way, cause = ("back", "two clocks, or a loop") if stream.jump_s < 0.0 else ("ahead", "was a clock set?")
                yield f"stamps_{name}", f"the stamps of {name} jumped {way} by {abs(stream.jump_s):.1f} s: {cause}"
            if stream.old_frame_id:
                text = f"the frame_id of {name} changed from '{stream.old_frame_id}' to '{stream.frame_id}'"
                yield f"frame_id_{name}", f"{text}: ids start anew; is there a second camera?"
            stream.repeats, stream.jump_s, stream.old_frame_id = min(stream.repeats, _SAME_STAMPS), 0.0, ""
        handled = self._handled
        self._recent.append((handled, dropped - self._dropped))
        self._handled, self._dropped = 0, dropped
        done, lost = (sum(counts) for counts in zip(*self._recent))
        if lost >= _DROPS and lost >= done:
            share = f"{lost} of {lost + done} frames were dropped"
            yield "drops", f"{share}: the camera is faster than this node; lower its rate or use a smaller model"
        if handled and _LATE_S < abs(self._latency_s) < _OTHER_CLOCK_S:
            text = f"frames are {self._latency_s:.1f} s old when they are done"
            yield "latency", f"{text}: a queue before this node, a busy machine, or clocks that differ"
