"""Which tracked object is nearest to the camera, coarsely: what lies behind it is not measured there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage
from object_pose.core.geometry.lens import HEIGHT, WIDTH, pixel_of, rotated
from object_pose.core.kernels import inlined, kernel
from object_pose.core.tracking.modality import Objects
from object_pose.core.tracking.view_model import Floats, Ints, ViewTables

_CELL_PX = 8
_MIN_DEPTH_M, _FAR_M = 0.05, 1e6
_OVERLAP = 0.7  # half the side of the square that a surface point covers, in spacings of the points
# Another surface hides a point of an object if it is nearer by so many metres plus a share of the object's diameter.
_HIDES_M, _HIDES_DIAMETERS = 0.02, 0.1


@dataclass(frozen=True)
class Occluders:
    """The nearest tracked object in cells of the image: its index in ``nearest`` (h, w), -1 = none, and its depth."""

    nearest: NDArray[np.int32]
    depth: Floats

    @classmethod
    def none(cls, lens: Array) -> Occluders:
        """Return an image, as ``lens`` sees it, in which no object hides another."""
        shape = int(lens[HEIGHT]) // _CELL_PX + 1, int(lens[WIDTH]) // _CELL_PX + 1
        return cls(np.full(shape, -1, dtype=np.int32), np.full(shape, _FAR_M, dtype=np.float32))

    @classmethod
    def of(cls, tables: ViewTables, objects: Objects, lens: Array) -> Occluders:
        """Draw objects at their present poses as ``lens`` sees them."""
        drawn = cls.none(lens)
        if len(objects) > 1:
            _draw(
                lens,
                tables.surfaces,
                tables.visible,
                tables.visible_counts,
                tables.areas,
                objects.class_ids,
                objects.views,
                objects.rotation,
                objects.translation,
                drawn.nearest,
                drawn.depth,
            )
        return drawn


@inlined
def is_hidden(
    nearest: Ints,
    occluder_depth: Floats,
    measured: DepthImage,
    i: int,
    diameter: float,
    u: float,
    v: float,
    z: float,
) -> bool:
    """Return whether another tracked object, or ``measured`` depth (H, W) or (0, 0), is in front of a point.

    The point of object ``i`` is seen at the pixel (``u``, ``v``), within the image, and ``z`` metres away.
    """
    limit = z - _HIDES_M - _HIDES_DIAMETERS * diameter
    x, y = int(u + 0.5), int(v + 0.5)
    row, column = y // _CELL_PX, x // _CELL_PX
    by_object = nearest[row, column] >= 0 and nearest[row, column] != i and occluder_depth[row, column] < limit
    return bool(by_object or (measured.shape[0] > 0 and 0.0 < measured[y, x] < limit))


@kernel
def _draw(
    lens: Array,
    surfaces: Floats,
    visible: Ints,
    visible_counts: Ints,
    areas: Floats,
    class_ids: NDArray[np.intp],
    views: Ints,
    rotations: Array,
    translations: Array,
    nearest: Ints,
    depth: Floats,
) -> None:
    """Draw the surface points of all objects as squares into a depth buffer of cells."""
    height, width = nearest.shape
    for i in range(len(class_ids)):
        k, view = class_ids[i], views[i]
        count = visible_counts[k, view]
        r, t = rotations[i], translations[i]
        half_m = _OVERLAP * math.sqrt(areas[k, view] / max(count, 1))
        for m in range(count):
            p = surfaces[k, visible[k, view, m]]
            x, y, z = rotated(r, p[0], p[1], p[2])
            x, y, z = x + t[0], y + t[1], z + t[2]
            if z < _MIN_DEPTH_M:
                continue
            u, v = pixel_of(lens, x / z, y / z)
            half = half_m * lens[0] / z
            first_row = max(0, math.floor((v - half) / _CELL_PX))
            last_row = min(height - 1, math.floor((v + half) / _CELL_PX))
            first_column = max(0, math.floor((u - half) / _CELL_PX))
            last_column = min(width - 1, math.floor((u + half) / _CELL_PX))
            for row in range(first_row, last_row + 1):
                for column in range(first_column, last_column + 1):
                    if z < depth[row, column]:
                        nearest[row, column], depth[row, column] = i, z
