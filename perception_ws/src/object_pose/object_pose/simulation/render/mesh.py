"""Triangle meshes made ready for drawing: split normals, vertex colours, baked ambient occlusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from object_pose.core.arrays import Array
from object_pose.simulation.render.rasterizer import project_affine, rasterize

FloatArray32 = NDArray[np.float32]
IntArray = NDArray[np.int32]

_VIEW_COUNT = 64
_VIEW_PIXELS = 96


@dataclass(frozen=True)
class RenderMesh:
    """A mesh in its object frame: (V, 3) float32 vertices in metres, (F, 3) int32 faces counter-clockwise from outside.

    ``normals`` (V, 3) are unit, ``colors`` (V, 3) linear RGB in [0, 1], ``ambient_occlusion`` (V,) the share of sky
    that a vertex sees past the rest of its own mesh. ``two_sided`` meshes are open and drawn from behind, too.
    """

    name: str
    vertices: FloatArray32
    faces: IntArray
    normals: FloatArray32
    colors: FloatArray32
    ambient_occlusion: FloatArray32
    two_sided: bool = False

    @property
    def radius(self) -> float:
        """Greatest distance of a vertex from the object origin, in metres."""
        return float(np.linalg.norm(self.vertices, axis=1).max())


def make_render_mesh(
    name: str,
    vertices: Array,
    faces: NDArray[np.integer],
    colors: Array | None = None,
    *,
    two_sided: bool = False,
    bake: bool = True,
    crease_deg: float = 35.0,
) -> RenderMesh:
    """Split (V, 3) vertices along creases, give them normals and (with ``bake``) ambient occlusion.

    ``colors`` (V, 3) are linear RGB; white when left out.
    """
    source, split_faces, normals = _split_creases(
        np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int32), crease_deg
    )
    points = np.ascontiguousarray(vertices[source], dtype=np.float32)
    tints = np.ones((len(source), 3)) if colors is None else colors[source]
    ambient_occlusion = np.ones(len(source))
    if bake:
        seen = vertex_views(points, normals, split_faces, two_sided)
        facing = np.maximum(normals @ view_directions().T, 0.0)
        ambient_occlusion = (facing * seen).sum(axis=1) / np.maximum(facing.sum(axis=1), 1e-9)
    return RenderMesh(
        name,
        points,
        split_faces,
        normals.astype(np.float32),
        tints.astype(np.float32),
        ambient_occlusion.astype(np.float32),
        two_sided,
    )


def face_normals(vertices: Array, faces: NDArray[np.integer]) -> Array:
    """Return (F, 3) normals whose length is twice the face's area."""
    corners = np.asarray(vertices, dtype=np.float64)[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def view_directions() -> Array:
    """Return (64, 3) unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    index = np.arange(_VIEW_COUNT) + 0.5
    z = 1.0 - 2.0 * index / _VIEW_COUNT
    angle = np.pi * (1.0 + np.sqrt(5.0)) * index
    ring = np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def vertex_views(
    vertices: FloatArray32, normals: Array, faces: IntArray, two_sided: bool, points: FloatArray32 | None = None
) -> NDArray[np.bool_]:
    """Tell which ``view_directions`` see each of P ``points`` (default: the vertices) with ``normals``: (P, 64)."""
    probes = vertices if points is None else points
    radius = float(np.linalg.norm(vertices, axis=1).max()) * 1.01
    scale = (_VIEW_PIXELS - 1) / (2.0 * radius)
    # A probe half a pixel in front of the surface, against depth that is half a pixel too coarse.
    lifted = np.ascontiguousarray(probes + normals * (0.6 / scale), dtype=np.float32)
    sides = np.full(len(faces), two_sided)
    screen, probe_screen = np.empty((len(vertices), 3)), np.empty((len(lifted), 3))
    seen = np.zeros((len(lifted), _VIEW_COUNT), dtype=bool)
    for index, direction in enumerate(view_directions()):
        matrix = orthographic(direction, np.zeros(3), radius, _VIEW_PIXELS)
        inverse_depth = np.full((_VIEW_PIXELS, _VIEW_PIXELS), -1e9, dtype=np.float32)
        triangles = np.empty(inverse_depth.shape, dtype=np.int32)
        project_affine(vertices, matrix, screen)
        rasterize(screen, faces, sides, inverse_depth, triangles)
        project_affine(lifted, matrix, probe_screen)
        pixel = np.clip(np.rint(probe_screen[:, :2]).astype(int), 0, _VIEW_PIXELS - 1)
        unhidden = probe_screen[:, 2] >= inverse_depth[pixel[:, 1], pixel[:, 0]] - 0.5 / scale
        seen[:, index] = unhidden & (normals @ direction > 0.0)
    return seen


def orthographic(direction: Array, center: Array, radius: float, pixels: int) -> Array:
    """Return the (3, 4) affine map of world points to x, y pixels and inverse depth (here metres along ``direction``).

    The square image of ``pixels`` shows the sphere of ``radius`` about ``center``, seen from ``direction`` (unit).
    """
    helper = np.array([0.0, 1.0, 0.0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    down = np.cross(right, direction)
    scale = (pixels - 1) / (2.0 * radius)
    rows = np.stack([right * scale, down * scale, direction])
    offset = -rows @ center + (0.5 * (pixels - 1), 0.5 * (pixels - 1), 0.0)
    return np.concatenate([rows, offset[:, None]], axis=1)


def _split_creases(vertices: Array, faces: IntArray, crease_deg: float) -> tuple[IntArray, IntArray, Array]:
    """Give each face corner the mean normal of its smooth neighbourhood: (source vertex, new faces, normals)."""
    weighted = face_normals(vertices, faces)
    unit = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-30)
    corner_vertex = faces.reshape(-1)
    corner_count = len(corner_vertex)
    groups = _smooth_corners(corner_vertex, faces, unit, crease_deg)
    group_count = int(groups.max()) + 1
    normals = np.zeros((group_count, 3))
    np.add.at(normals, groups, weighted[np.arange(corner_count) // 3])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    source = np.zeros(group_count, dtype=np.int32)
    source[groups] = corner_vertex
    return source, groups.astype(np.int32).reshape(-1, 3), normals


def _smooth_corners(corner_vertex: IntArray, faces: IntArray, unit: Array, crease_deg: float) -> NDArray[np.int32]:
    """Number the face corners so that corners share a number when smooth edges join them at their vertex."""
    face_count = len(faces)
    starts = faces.reshape(-1).astype(np.int64)
    ends = faces[:, [1, 2, 0]].reshape(-1).astype(np.int64)
    key = np.minimum(starts, ends) * (int(faces.max()) + 1) + np.maximum(starts, ends)
    order = np.argsort(key, kind="stable")
    same = key[order][1:] == key[order][:-1]
    first, second = order[:-1][same], order[1:][same]
    smooth = np.einsum("ij,ij->i", unit[first // 3], unit[second // 3]) > np.cos(np.radians(crease_deg))
    first, second = first[smooth], second[smooth]
    left, right = [], []
    for side in (np.zeros_like(first), np.ones_like(first)):
        corner_a = first // 3 * 3 + (first + side) % 3
        for other in (np.zeros_like(second), np.ones_like(second)):
            corner_b = second // 3 * 3 + (second + other) % 3
            match = corner_vertex[corner_a] == corner_vertex[corner_b]
            left.append(corner_a[match])
            right.append(corner_b[match])
    rows, columns = np.concatenate(left), np.concatenate(right)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(3 * face_count, 3 * face_count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int32)
