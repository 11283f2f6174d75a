"""One object drawn alone: its depth, and a picture as in a catalogue."""

from __future__ import annotations

import numpy as np

from object_pose.core.arrays import Array, DepthImage, Image
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.simulation.render import rasterizer
from object_pose.simulation.render.materials import srgb_bytes
from object_pose.simulation.render.mesh import RenderMesh

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


_LIGHT = np.array([0.3, -0.5, 0.81])
_VIEW = np.array([0.55, -0.62, 0.56])
_BACKGROUND = 0.92
_MARGIN = 0.5
_OVERSAMPLING = 3


def part_picture(mesh: RenderMesh, pixels: int = 240) -> Image:
    """Return a square picture of a mesh, seen from its front right above, z up."""
    size = pixels * _OVERSAMPLING
    low, high = mesh.vertices.min(axis=0).astype(np.float64), mesh.vertices.max(axis=0).astype(np.float64)
    matrix = _upright(0.5 * (low + high), _MARGIN * float(np.linalg.norm(high - low)), size)
    screen = np.empty((len(mesh.vertices), 3))
    rasterizer.project_affine(mesh.vertices, matrix, screen)
    inverse_depth = np.full((size, size), -1e9, dtype=np.float32)
    triangles = np.full((size, size), -1, dtype=np.int32)
    rasterizer.rasterize(screen, mesh.faces, np.full(len(mesh.faces), mesh.two_sided), inverse_depth, triangles)
    colors = np.concatenate([_face_colors(mesh), np.full((1, 3), _BACKGROUND)])
    picture = colors[triangles].reshape(pixels, _OVERSAMPLING, pixels, _OVERSAMPLING, 3).mean(axis=(1, 3))
    return srgb_bytes(picture)


def _upright(centre: Array, radius: float, size: int) -> Array:
    """Return the (3, 4) affine map of points to x, y pixels and inverse depth that shows a sphere with z upwards."""
    direction = _VIEW / np.linalg.norm(_VIEW)
    right = np.cross((0.0, 0.0, 1.0), direction)
    right /= np.linalg.norm(right)
    scale = 0.5 * (size - 1) / radius
    rows = np.stack([scale * right, -scale * np.cross(direction, right), direction])
    return np.concatenate([rows, ((0.5 * (size - 1), 0.5 * (size - 1), 0.0) - rows @ centre)[:, None]], axis=1)


def _face_colors(mesh: RenderMesh) -> Array:
    """Return linear colours (F, 3): the mesh's own under a lamp and a bright sky."""
    lamp = np.abs(mesh.normals[mesh.faces].mean(axis=1) @ (_LIGHT / np.linalg.norm(_LIGHT)))
    sky = 0.5 + 0.5 * mesh.normals[mesh.faces].mean(axis=1)[:, 2]
    shade = 0.12 + 0.45 * lamp + 0.2 * sky
    return np.asarray(np.clip(mesh.colors[mesh.faces].mean(axis=1) * shade[:, None], 0.0, 1.0), dtype=np.float64)
