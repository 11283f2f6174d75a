"""Stable poses of a rigid body on a plane, from its shape alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3

_APART_COS = float(np.cos(np.radians(15.0)))  # stable poses nearer to each other than this are one
_CONTACT_SHARE = 0.02  # of the diameter: what lies so near to the plane may touch it
_CORNERS = 6  # directions in which the outermost contacts are sought
_RIM = 24  # directions in which the centre of mass must lie within the contacts


@dataclass(frozen=True)
class StablePose:
    """One stable pose: ``down`` (3,) unit, ``contacts`` (K, 3) near the plane and their ``heights`` above it, (K,).

    All in the object frame, metres.
    """

    down: Array
    contacts: Array
    heights: Array


@dataclass(frozen=True)
class StablePoses:
    """The stable poses of one object, the most stable first; ``downs`` (F, 3) are their directions. F may be 0."""

    poses: tuple[StablePose, ...]
    downs: Array

    @classmethod
    def of(cls, points: Array, diameter: float) -> StablePoses:
        """Find those of a solid with the surface (P, 3): where its centre of mass is lowest, and above contacts."""
        try:
            hull = ConvexHull(points)
        except (QhullError, ValueError):  # flat, or hardly any points
            return cls((), np.zeros((0, 3)))
        poses = tuple(_stable_poses(hull, diameter))
        return cls(poses, np.array([pose.down for pose in poses]).reshape(-1, 3))

    def nearest(self, rotation: Array, down: Array) -> tuple[StablePose, float] | None:
        """Return the stable pose nearest to an object turned by ``rotation`` (3, 3), and the angle to it, radians."""
        if not self.poses:
            return None
        cosines = self.downs @ (rotation.T @ down)
        best = int(np.argmax(cosines))
        return self.poses[best], float(np.arccos(np.clip(cosines[best], -1.0, 1.0)))


def support(T_camera_object: Array, pose: StablePose, normal: Array) -> float:
    """Return how far along ``normal`` (3,) the contacts of a stable pose reach, in metres."""
    return float(np.max(se3.apply(T_camera_object, pose.contacts) @ normal))


@dataclass(frozen=True)
class StableRotations:
    """Rotations (N, 3, 3) in which an object is stable on a horizontal plane, and their probabilities (N,)."""

    rotations: Array
    probabilities: Array


def stable_rotations(vertices: Array) -> StableRotations:
    """Find the facets of the convex hull of (V, 3) vertices on which a body stands without tipping over.

    A facet is as probable as the solid angle is large under which the hull's centroid sees it.
    """
    hull = ConvexHull(vertices)
    corners = hull.points[hull.simplices]
    outward = hull.equations[:, :3]
    centroid = center_of_mass(hull)
    facets = _coplanar_groups(hull.equations)
    rotations, weights = [], []
    for group in range(int(facets.max()) + 1):
        members = facets == group
        normal = outward[members][0]
        triangles = corners[members] - centroid
        if _projects_inside(triangles.reshape(-1, 3), normal):
            rotations.append(_turn_onto(normal))
            weights.append(sum(_solid_angle(triangle) for triangle in triangles))
    probabilities = np.asarray(weights) / np.sum(weights)
    return StableRotations(np.asarray(rotations), probabilities)


def center_of_mass(hull: ConvexHull) -> Array:
    """Return the centre (3,) of the hull's volume: of the pyramids over its facets about a point inside."""
    corners = hull.points[hull.simplices]
    inside = corners.reshape(-1, 3).mean(axis=0)
    shifted = corners - inside
    areas = 0.5 * np.linalg.norm(np.cross(shifted[:, 1] - shifted[:, 0], shifted[:, 2] - shifted[:, 0]), axis=1)
    heights = np.einsum("ij,ij->i", shifted[:, 0], hull.equations[:, :3])
    pyramids = areas * heights / 3.0
    return np.asarray(inside + (pyramids[:, None] * shifted.sum(axis=1) / 4.0).sum(axis=0) / hull.volume)


def _stable_poses(hull: ConvexHull, diameter: float) -> Iterator[StablePose]:
    corners = hull.points[hull.vertices]
    center = center_of_mass(hull)
    normals = hull.equations[:, :3]
    heights = -(normals @ center + hull.equations[:, 3])
    found: list[Array] = []
    for facet in np.argsort(heights, kind="stable"):
        down = normals[facet]
        cosines = normals @ down
        if heights[facet] > heights[cosines > _APART_COS].min() or any(down @ other > _APART_COS for other in found):
            continue
        reach = corners @ down
        near = corners[reach > reach.max() - _CONTACT_SHARE * diameter]
        on_plane = (near - center) @ np.stack(se3.tangents(down), axis=1)
        around = on_plane @ _directions(_RIM)
        if around.max(axis=0).min() < 0.0:  # it would topple
            continue
        outermost = np.unique((on_plane @ _directions(_CORNERS)).argmax(axis=0))
        found.append(down)
        yield StablePose(down, near[outermost], reach.max() - near[outermost] @ down)


def _directions(count: int) -> Array:
    angles = 2.0 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)])


def _coplanar_groups(equations: Array) -> NDArray[np.int64]:
    """Number hull triangles by the plane that they lie in."""
    scale = np.abs(equations[:, 3]).max()
    rounded = np.rint(np.column_stack([equations[:, :3], equations[:, 3] / scale]) * 500.0)
    return np.asarray(np.unique(rounded, axis=0, return_inverse=True)[1], dtype=np.int64).reshape(-1)


def _projects_inside(points: Array, normal: Array) -> bool:
    """Whether the origin, dropped along ``normal``, lands inside the convex hull of coplanar ``points``."""
    flat = points @ _turn_onto(normal)[:2].T
    try:
        return bool(np.all(ConvexHull(flat).equations[:, 2] <= 0.0))
    except QhullError:  # a facet too thin to have a hull does not carry anything
        return False


def _turn_onto(normal: Array) -> Array:
    """Return a rotation (3, 3) that turns the unit ``normal`` to -z."""
    first, second = se3.tangents(normal)
    return np.stack([first, -second, -normal])


def _solid_angle(triangle: Array) -> float:
    """Solid angle of a (3, 3) triangle from the origin (Van Oosterom and Strackee 1983)."""
    a, b, c = triangle
    norm_a, norm_b, norm_c = np.linalg.norm(triangle, axis=1)
    cosine = norm_a * norm_b * norm_c + (a @ b) * norm_c + (b @ c) * norm_a + (c @ a) * norm_b
    return abs(2.0 * float(np.arctan2(abs(np.linalg.det(triangle)), cosine)))
