"""Closed solids by constructive geometry (manifold3d), in millimetres as drawings are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from manifold3d import CrossSection, Manifold, Mesh
from numpy.typing import ArrayLike, NDArray

from object_pose.core.arrays import Array

_WELD_DECIMALS = 4  # what files in single precision cannot tell apart must be one vertex


def cylinder(radius: float, z_range: tuple[float, float], segments: int = 48, chamfer: float = 0.0) -> Manifold:
    """Return a cylinder about z, its outer edges broken by ``chamfer``."""
    low, high = z_range
    if chamfer <= 0.0:
        return Manifold.cylinder(high - low, radius, radius, segments).translate((0.0, 0.0, low))
    profile = [(0.0, low), (radius - chamfer, low), (radius, low + chamfer)]
    profile += [(radius, high - chamfer), (radius - chamfer, high), (0.0, high)]
    return revolve(profile, segments)


def revolve(profile_rz: Sequence[tuple[float, float]], segments: int = 48) -> Manifold:
    """Turn a closed counter-clockwise polygon of (radius, z) corners about z."""
    return Manifold.revolve(CrossSection([np.asarray(profile_rz, dtype=np.float64)]), segments)


def box(low: ArrayLike, high: ArrayLike) -> Manifold:
    """Return the axis-aligned box between two corners."""
    low_corner = np.asarray(low, dtype=np.float64)
    size = np.asarray(high, dtype=np.float64) - low_corner
    return Manifold.cube(tuple(size)).translate(tuple(low_corner))


def prism(contour_xy: Array, z_range: tuple[float, float], holes_xy: Sequence[Array] = ()) -> Manifold:
    """Extrude a counter-clockwise (N, 2) contour, less its holes, along z."""
    section = CrossSection([contour_xy])
    for hole in holes_xy:
        section = section - CrossSection([hole])
    return Manifold.extrude(section, z_range[1] - z_range[0]).translate((0.0, 0.0, z_range[0]))


def circle(radius: float, center: tuple[float, float] = (0.0, 0.0), segments: int = 32) -> Array:
    """Return a counter-clockwise (segments, 2) polygon."""
    angle = np.arange(segments) * (2.0 * np.pi / segments)
    return np.stack([center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle)], axis=1)


def sweep(path: Array, radius: float, segments: int) -> Manifold:
    """Sweep a circle along a (N, 3) ``path`` with parallel transport and close both ends."""
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    normal = np.cross(tangents[0], (0.3, 0.2, 0.9))
    angle = np.arange(segments) * (2.0 * np.pi / segments)
    rings = []
    for point, tangent in zip(path, tangents):
        normal = normal - tangent * (normal @ tangent)
        normal = normal / np.linalg.norm(normal)
        binormal = np.cross(tangent, normal)
        rings.append(point + radius * (np.cos(angle)[:, None] * normal + np.sin(angle)[:, None] * binormal))
    vertices = np.concatenate([*rings, path[:1], path[-1:]])
    return from_triangles(vertices, _tube_faces(len(path), segments))


def from_triangles(vertices: Array, faces: NDArray[np.int64]) -> Manifold:
    """Return the solid that a closed, consistently wound triangle mesh bounds."""
    return Manifold(Mesh(np.asarray(vertices, dtype=np.float32), np.asarray(faces, dtype=np.uint32)))


def triangles(solid: Manifold) -> tuple[Array, NDArray[np.int64]]:
    """Return the (V, 3) vertices and (F, 3) faces of a solid, outward normals by the right-hand rule."""
    mesh = solid.to_mesh()
    corners = np.asarray(mesh.vert_properties[:, :3], dtype=np.float64).round(_WELD_DECIMALS)
    vertices, index = np.unique(corners, axis=0, return_inverse=True)
    faces = index.reshape(-1)[np.asarray(mesh.tri_verts, dtype=np.int64)]
    return vertices, faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]


def _tube_faces(ring_count: int, segments: int) -> NDArray[np.int64]:
    around = np.arange(segments)
    following = (around + 1) % segments
    faces = []
    for ring in range(ring_count - 1):
        low, high = ring * segments, (ring + 1) * segments
        faces.append(np.stack([low + around, low + following, high + following], axis=1))
        faces.append(np.stack([low + around, high + following, high + around], axis=1))
    first, last = ring_count * segments, ring_count * segments + 1
    end = (ring_count - 1) * segments
    faces.append(np.stack([np.full(segments, first), following, around], axis=1))
    faces.append(np.stack([np.full(segments, last), end + around, end + following], axis=1))
    return np.concatenate(faces)
