"""Poses of one class that rest on the same measured surface: no more than one of them can be right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.frame import AlignedDepth
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.view_model import Ints, ViewTables
from object_pose.core.vision.boxes import box_iou

# Boxes of poses that may rest on one surface overlap by so much, and of the worse one's confirmed surface this share
# lies where the better one's is confirmed as well. Parts that lie in each other share less, stacked ones next to none.
_OVERLAP, _SHARED = 0.3, 0.6
_ON_SURFACE_M = 0.006
_CELL_PX = 6  # about the spacing of surface points
_LEAST_POINTS = 10


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
    cells: dict[int, NDArray[np.int64]] = {}
    # What can be seen of a pose tells more than a score that may be an old one.
    rank = [(pose.score * np.nan_to_num(pose.visibility), pose.score) for pose in poses]
    for row in sorted(range(len(poses)), key=rank.__getitem__, reverse=True):
        for other in np.flatnonzero(pairs[row]):
            if rank[other] <= rank[row] or better[other] is not None:
                continue
            for index in (row, int(other)):
                if index not in cells:
                    cells[index] = _confirmed_cells(poses[index], tables, int(views[index]), depth)
            mine = cells[row]
            if len(mine) >= _LEAST_POINTS and np.isin(mine, cells[int(other)]).mean() >= _SHARED:
                better[row] = int(other)
                break
    return better


def _confirmed_cells(pose: ObjectPose, tables: ViewTables, view: int, depth: AlignedDepth) -> NDArray[np.int64]:
    """Return the cells of the image, one a point, in which surface points of a pose lie on the measured surface."""
    visible = tables.visible[pose.class_id, view, : tables.visible_counts[pose.class_id, view]]
    points = se3.apply(pose.T_camera_object, tables.surfaces[pose.class_id, visible, :3].astype(np.float64))
    points = points[points[:, 2] > _ON_SURFACE_M]
    camera = depth.camera
    pixels: Array = np.floor(camera.distort(camera.project(points)) + 0.5)
    inside = np.all((pixels >= 0) & (pixels < (camera.width, camera.height)), axis=1)
    columns, rows = pixels[inside].astype(np.int64).T
    measured = depth.depth_m[rows, columns]
    confirmed = (measured > 0.0) & (np.abs(measured - points[inside, 2]) < _ON_SURFACE_M)
    return np.asarray(rows[confirmed] // _CELL_PX * camera.width + columns[confirmed] // _CELL_PX)
