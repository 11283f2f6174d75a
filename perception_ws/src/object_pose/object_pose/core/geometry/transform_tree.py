"""Timed transforms between named frames, as a robot publishes them, looked up at the stamp of an image."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.core.geometry.extrinsics import Extrinsics

_NANOSECONDS = 1e-9
# Stamps of one child that go back further than this are of a clock that was set back, or of a recording that loops.
_JUMP_NS = 1_000_000_000
# A child that has not been sent for so many times the memory is forgotten: ids of tracked objects count up.
_FORGOTTEN_AFTER = 6


@dataclass
class _Edge:
    """The transforms of one child frame into its parent, by stamp; a fixed one holds at all times.

    ``sent_ns`` is how much time had gone by for the tree when the last one was sent.
    """

    parent: str
    fixed: bool
    sent_ns: float = 0.0
    stamps_ns: list[int] = field(default_factory=list)
    transforms: list[Array] = field(default_factory=list)


class TransformTree:
    """The frames that are known, over the last ``memory_s`` seconds of each; those no longer sent are forgotten."""

    def __init__(self, memory_s: float = 10.0) -> None:
        self._memory_ns = memory_s / _NANOSECONDS
        # A tree that keeps all of a recording keeps every round of one that loops.
        self._jump_ns = _JUMP_NS if math.isfinite(memory_s) else math.inf
        self._edges: dict[str, _Edge] = {}
        self._newest_ns: int | None = None
        self._passed_ns = self._swept_ns = 0.0

    def add(self, extrinsics: Extrinsics, stamp_ns: int, fixed: bool = False) -> None:
        """Take in one transform; a child that changes its parent, or whose time jumps back, starts anew."""
        parent, child, T_parent_child = extrinsics.parent, extrinsics.child, extrinsics.T_parent_child
        edge = self._edges.get(child)
        jumped = edge is not None and not edge.fixed and stamp_ns < edge.stamps_ns[-1] - self._jump_ns
        if edge is None or edge.parent != parent or edge.fixed != fixed or jumped or fixed:
            edge = self._edges[child] = _Edge(parent, fixed)
        if not fixed:
            self._pass_time(stamp_ns, jumped)
            edge.sent_ns = self._passed_ns
            self._forget_unsent()
        place = bisect.bisect_left(edge.stamps_ns, stamp_ns)
        if place < len(edge.stamps_ns) and edge.stamps_ns[place] == stamp_ns:
            edge.transforms[place] = T_parent_child
            return
        edge.stamps_ns.insert(place, stamp_ns)
        edge.transforms.insert(place, T_parent_child)
        first = bisect.bisect_left(edge.stamps_ns, edge.stamps_ns[-1] - self._memory_ns)
        del edge.stamps_ns[:first], edge.transforms[:first]

    def _pass_time(self, stamp_ns: int, jumped: bool) -> None:
        """Count the time that goes by in stamps, which may jump either way."""
        if self._newest_ns is None or jumped:
            self._newest_ns = stamp_ns
        self._passed_ns += min(max(stamp_ns - self._newest_ns, 0), self._memory_ns)
        self._newest_ns = max(stamp_ns, self._newest_ns)

    def _forget_unsent(self) -> None:
        if self._passed_ns - self._swept_ns <= self._memory_ns:
            return
        self._swept_ns = self._passed_ns
        oldest_ns = self._passed_ns - _FORGOTTEN_AFTER * self._memory_ns
        self._edges = {child: edge for child, edge in self._edges.items() if edge.fixed or edge.sent_ns >= oldest_ns}

    def look_up(self, target: str, source: str, stamp_ns: int) -> Array:
        """Return T_target_source (4, 4) at a stamp, interpolated between the two nearest; never extrapolated.

        Raises ``DataError`` that names what is missing: a frame, a connection, or a transform of that time.
        """
        self.check_connected(target, source)
        from_target, from_source = self._chain(target), self._chain(source)
        common = next(frame for frame in from_source if frame in from_target)
        T_common_source = self._along(from_source[: from_source.index(common)], stamp_ns)
        T_common_target = self._along(from_target[: from_target.index(common)], stamp_ns)
        return se3.inverse(T_common_target) @ T_common_source

    def find(self, target: str, source: str, stamp_ns: int) -> Array | None:
        """Return T_target_source (4, 4) at a stamp as ``look_up`` does, None where it is not known."""
        try:
            return self.look_up(target, source, stamp_ns)
        except DataError:
            return None

    def check_connected(self, target: str, source: str) -> None:
        """Raise ``DataError`` where no transforms of any time connect the two frames."""
        if not set(self._chain(target)) & set(self._chain(source)):
            known = ", ".join(sorted(self.frames)) or "none"
            raise DataError(f"frames '{target}' and '{source}' are not connected", f"known frames: {known}")

    @property
    def frames(self) -> set[str]:
        """The names of the frames that are known."""
        return {*self._edges, *(edge.parent for edge in self._edges.values())}

    def _chain(self, frame: str) -> list[str]:
        """Return a frame and its ancestors."""
        chain = [frame]
        while chain[-1] in self._edges and self._edges[chain[-1]].parent not in chain:
            chain.append(self._edges[chain[-1]].parent)
        return chain

    def _along(self, frames: list[str], stamp_ns: int) -> Array:
        """Return the transform from the first of ``frames`` to the parent of the last."""
        transform = np.eye(4)
        for frame in frames:
            transform = self._at(frame, stamp_ns) @ transform
        return transform

    def _at(self, child: str, stamp_ns: int) -> Array:
        edge = self._edges[child]
        if edge.fixed:
            return edge.transforms[0]
        stamps = edge.stamps_ns
        place = bisect.bisect_left(stamps, stamp_ns)
        if place < len(stamps) and stamps[place] == stamp_ns:
            return edge.transforms[place]
        if not 0 < place < len(stamps):
            off_ms = min(abs(stamp_ns - stamps[0]), abs(stamp_ns - stamps[-1])) * 1e-6
            raise DataError(
                f"'{child}' in '{edge.parent}' is not known at stamp {stamp_ns}: {off_ms:.0f} ms outside what came"
            )
        share = (stamp_ns - stamps[place - 1]) / (stamps[place] - stamps[place - 1])
        return _between(edge.transforms[place - 1], edge.transforms[place], share)


def _between(first: Array, second: Array, share: float) -> Array:
    """Return the pose a ``share`` of the way: constant turning rate, straight line."""
    turn = se3.log_so3(first[:3, :3].T @ second[:3, :3])
    translation = (1.0 - share) * first[:3, 3] + share * second[:3, 3]
    return se3.make_transform(first[:3, :3] @ se3.exp_so3(share * turn), translation)
