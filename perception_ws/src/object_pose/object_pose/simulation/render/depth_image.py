"""The depth of one object drawn alone, without light or noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.simulation.render import rasterizer
from object_pose.simulation.render.mesh import RenderMesh

Array = NDArray[np.float64]

_NEAREST_M = 0.05


def object_depth(
    mesh: RenderMesh, T_camera_object: Array, camera: Camera, window: tuple[slice, slice] | None = None
) -> DepthImage:
    """Return depth along z in metres, 0 where the object is not; of the whole image, or of a ``window`` of it.

    A window is (rows, columns), with both ends, inside the image.
    """
    rows, columns = window or (slice(0, camera.height), slice(0, camera.width))
    screen = np.empty((len(mesh.vertices), 3))
    rasterizer.project_perspective(mesh.vertices, camera.matrix @ T_camera_object[:3], screen)
    inverse_depth = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
    sides = np.full(len(mesh.faces), mesh.two_sided)
    triangles = np.empty(inverse_depth.shape, dtype=np.int32)
    rasterizer.rasterize(screen, mesh.faces, sides, inverse_depth, triangles, columns.start, rows.start)
    covered = inverse_depth > 0.0
    inverse_depth[covered] = 1.0 / inverse_depth[covered]
    return inverse_depth


def object_window(mesh: RenderMesh, T_camera_object: Array, camera: Camera) -> tuple[slice, slice]:
    """Return the (rows, columns) of the image that the object can cover, perhaps none; all, if it is at the camera."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    corners = np.stack(np.meshgrid(*np.stack([low, high]).T.astype(np.float64)), axis=-1).reshape(-1, 3)
    points = se3.apply(T_camera_object, corners)
    if points[:, 2].min() < _NEAREST_M:
        return slice(0, camera.height), slice(0, camera.width)
    pixels = camera.project(points)
    first = np.clip(np.floor(pixels.min(axis=0)), 0, camera.wh).astype(int)
    last = np.clip(np.ceil(pixels.max(axis=0)) + 1, first, camera.wh).astype(int)
    return slice(int(first[1]), int(last[1])), slice(int(first[0]), int(last[0]))
