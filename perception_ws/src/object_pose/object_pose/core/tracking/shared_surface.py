"""Poses of one class that rest on the same measured surface: no more than one of them can be right."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage
from object_pose.core.frame import AlignedDepth
from object_pose.core.geometry.lens import lens_of, pixel_of, rotated
from object_pose.core.kernels import for_kernels, kernel
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.view_model import Floats, Ints, ViewTables
from object_pose.core.vision.boxes import box_iou

# Boxes of poses that may rest on one surface overlap by so much, and of the worse one's confirmed surface this share
# lies where the better one's is confirmed as well. Parts that lie in each other share less, stacked ones next to none.
_OVERLAP, _SHARED = 0.45, 0.6
_ON_SURFACE_M = 0.006
_CELL_PX = 6  # about the spacing of surface points
_LEAST_POINTS = 10
_MIN_DEPTH_M = 0.05


def find_shared_surfaces(
    poses: Sequence[ObjectPose], tables: ViewTables, views: Ints, depth: AlignedDepth
) -> list[int | None]:
    """Tell for each of N poses, seen in ``views`` (N,), which better one of its class has the same surface, or None.

    Two parts of a class cannot be seen at the same pixels: where the surface that depth confirms of a pose is that
    which it confirms of a better one, there is one part, and the other pose is a mirrored or shifted view of it.
    """
    better: list[int | None] = [None] * len(poses)
    if len(poses) < 2:
        return better
    class_ids = np.array([pose.class_id for pose in poses], dtype=np.intp)
    boxes = np.stack([pose.box_xyxy for pose in poses])
    pairs = (box_iou(boxes, boxes) >= _OVERLAP) & (class_ids == class_ids[:, None])
    np.fill_diagonal(pairs, False)
    if not pairs.any():
        return better
    depth_m, lens = for_kernels(depth.depth_m, np.float32), lens_of(depth.camera)
    cells: dict[int, NDArray[np.int64]] = {}
    # What can be seen of a pose tells more than a score that may be an old one.
    rank = [(pose.score * np.nan_to_num(pose.visibility), pose.score) for pose in poses]
    for row in sorted(range(len(poses)), key=rank.__getitem__, reverse=True):
        for other in np.flatnonzero(pairs[row]):
            if rank[other] <= rank[row] or better[other] is not None:
                continue
            for index in (row, int(other)):
                if index not in cells:
                    cells[index] = _confirmed_cells(poses[index], tables, int(views[index]), depth_m, lens)
            mine = cells[row]
            if len(mine) >= _LEAST_POINTS and np.isin(mine, cells[int(other)]).mean() >= _SHARED:
                better[row] = int(other)
                break
    return better


def _confirmed_cells(
    pose: ObjectPose, tables: ViewTables, view: int, depth_m: DepthImage, lens: Array
) -> NDArray[np.int64]:
    """Return the cells of the image, one a point, in which surface points of a pose lie on the measured surface."""
    visible = tables.visible[pose.class_id, view, : tables.visible_counts[pose.class_id, view]]
    cells = np.empty(len(visible), dtype=np.int64)
    transform = for_kernels(pose.T_camera_object, np.float64)
    return cells[: _find_confirmed(depth_m, lens, tables.surfaces[pose.class_id], visible, transform, cells)]


@kernel
def _find_confirmed(
    depth_m: DepthImage, lens: Array, surface: Floats, visible: Ints, transform: Array, cells: NDArray[np.int64]
) -> int:
    """Write the cells of the points that lie on the measured surface; returns how many these are."""
    height, width = depth_m.shape
    count = 0
    for index in visible:
        x, y, z = rotated(transform, surface[index, 0], surface[index, 1], surface[index, 2])
        x, y, z = x + transform[0, 3], y + transform[1, 3], z + transform[2, 3]
        if z < _MIN_DEPTH_M:
            continue
        u, v = pixel_of(lens, x / z, y / z)
        column, row = math.floor(u + 0.5), math.floor(v + 0.5)
        if column < 0 or row < 0 or column >= width or row >= height:
            continue
        measured = depth_m[row, column]
        if measured > 0.0 and abs(measured - z) < _ON_SURFACE_M:
            cells[count] = row // _CELL_PX * width + column // _CELL_PX
            count += 1
    return count
