"""Land of aerial scenes: rectangles that are split into blocks and lots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array
from object_pose.simulation.generators.aerial.canvas import placed, rectangle_corners

_LEAST_SIDE_PX = 6.0


@dataclass(frozen=True)
class Lot:
    """A piece of land in pixels: ``middle`` (x, y), ``half`` sides, turn of its first axis."""

    middle: Array
    half: Array
    angle: float

    def corners(self, shrink: float = 0.0) -> Array:
        """Return its (4, 2) corners, moved in by ``shrink`` pixels."""
        return placed(rectangle_corners(np.maximum(self.half - shrink, 0.5)), self.middle, self.angle)

    def is_seen(self, size: int) -> bool:
        """Whether any of it may lie on a canvas of ``size`` pixels a side."""
        return bool(np.all(np.abs(self.middle - size / 2) < size / 2 + self.half.max() * 1.42))

    def split(self, target: float, size: int, rng: np.random.Generator) -> list[Lot]:
        """Split the land again and again until each part is about ``target`` pixels long; leave out what is not seen.

        A part's first axis is its longer one.
        """
        parts, pieces = [], [self]
        while pieces:
            item = pieces.pop()
            if not item.is_seen(size):
                continue
            lies_along = item.half[0] >= item.half[1]
            axis = item.angle + (0.0 if lies_along else np.pi / 2)
            longest = 2 * max(item.half)
            if longest <= max(target * rng.uniform(0.8, 1.5), _LEAST_SIDE_PX):
                parts.append(Lot(item.middle, item.half if lies_along else item.half[::-1], axis))
                continue
            cut = rng.uniform(0.33, 0.67)
            direction = np.array([np.cos(axis), np.sin(axis)]) * longest / 2
            for share, sign in ((cut, -1.0), (1 - cut, 1.0)):
                half = item.half.copy()
                half[0 if lies_along else 1] *= share
                pieces.append(Lot(item.middle + sign * (1 - share) * direction, half, item.angle))
        return parts
