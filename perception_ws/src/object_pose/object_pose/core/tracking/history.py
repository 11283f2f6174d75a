"""Where the tracks were in the frames of the last seconds, for what is found in one of them later."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from object_pose.core.arrays import Array
from object_pose.core.results.pose import ObjectPose

_KEPT_NS = 5_000_000_000


@dataclass(frozen=True)
class Moment:
    """The tracks as they were reported in one frame, whose camera stood at ``T_fixed_camera`` (4, 4).

    ``tentative`` ones were seen, but not reported.
    """

    stamp_ns: int
    T_fixed_camera: Array
    poses: tuple[ObjectPose, ...]
    tentative: tuple[ObjectPose, ...] = ()

    def transforms(self) -> dict[int, Array]:
        """Return T_fixed_object (4, 4) by track id."""
        return {pose.track_id: self.T_fixed_camera @ pose.T_camera_object for pose in (*self.poses, *self.tentative)}


class History:
    """The moments of the last five seconds, in the order of their stamps."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque()

    def add(self, moment: Moment) -> None:
        """Keep the newest moment and forget those that are too old."""
        self._moments.append(moment)
        while moment.stamp_ns - self._moments[0].stamp_ns > _KEPT_NS:
            self._moments.popleft()

    def nearest(self, stamp_ns: int) -> Moment | None:
        """Return the moment nearest to a stamp; None where the stamp is older than all that are kept."""
        if not self._moments or stamp_ns < self._moments[0].stamp_ns:
            return None
        return min(self._moments, key=lambda moment: abs(moment.stamp_ns - stamp_ns))

    def clear(self) -> None:
        """Forget all."""
        self._moments.clear()
