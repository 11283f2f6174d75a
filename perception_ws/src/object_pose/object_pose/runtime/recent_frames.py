"""The frames that were tracked in the last seconds: what is found late in one of them is carried through the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from object_pose.core.arrays import Array
from object_pose.core.frame import CameraFrame

_KEPT_NS = 5_000_000_000
_MOST_BYTES = 128 << 20
_BYTES_A_PIXEL = 3 + 4  # colour and depth


@dataclass(frozen=True)
class RecentFrame:
    """A frame, and where its camera stood in the world if that is known."""

    frame: CameraFrame
    T_world_camera: Array | None


class RecentFrames:
    """Keeps references to the newest frames, at most five seconds and 128 MiB of them."""

    def __init__(self) -> None:
        self._frames: deque[RecentFrame] = deque()
        self._bytes = 0

    @property
    def newest_ns(self) -> int | None:
        """The stamp of the newest frame."""
        return self._frames[-1].frame.stamp_ns if self._frames else None

    def add(self, recent: RecentFrame) -> None:
        """Keep a frame, which is newer than all others unless time has jumped back."""
        newest_ns = self.newest_ns
        if newest_ns is not None and recent.frame.stamp_ns < newest_ns:
            self.clear()
        self._frames.append(recent)
        self._bytes += _size(recent)
        oldest_ns = recent.frame.stamp_ns - _KEPT_NS
        while self._bytes > _MOST_BYTES or self._frames[0].frame.stamp_ns < oldest_ns:
            self._bytes -= _size(self._frames.popleft())

    def after(self, stamp_ns: int, most: int) -> Sequence[RecentFrame]:
        """Return ``most`` of the frames after a stamp, evenly over time and with the newest, oldest first."""
        frames = [recent for recent in self._frames if recent.frame.stamp_ns > stamp_ns]
        step = -(-len(frames) // most) or 1
        return frames[::-step][::-1]

    def clear(self) -> None:
        """Let all go."""
        self._frames.clear()
        self._bytes = 0


def _size(recent: RecentFrame) -> int:
    return recent.frame.camera.width * recent.frame.camera.height * _BYTES_A_PIXEL
