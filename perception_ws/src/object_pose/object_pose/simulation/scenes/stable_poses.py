"""How a rigid body can lie on a horizontal plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from object_pose.core.geometry.se3 import tangents
from object_pose.core.geometry.stable_poses import center_of_mass

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RestingPoses:
    """Stable rotations (N, 3, 3) of the object on a horizontal plane and how probable each is (N,), summing to 1."""

    rotations: Array
    probabilities: Array


def resting_poses(vertices: Array) -> RestingPoses:
    """Find the facets of the convex hull of (V, 3) vertices on which the body stands without tipping over.

    The weight of a facet is the solid angle under which the hull's centroid sees it.
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
    return RestingPoses(np.asarray(rotations), probabilities)


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
    first, second = tangents(normal)
    return np.stack([first, -second, -normal])


def _solid_angle(triangle: Array) -> float:
    """Solid angle of a (3, 3) triangle from the origin (Van Oosterom and Strackee 1983)."""
    a, b, c = triangle
    norm_a, norm_b, norm_c = np.linalg.norm(triangle, axis=1)
    cosine = norm_a * norm_b * norm_c + (a @ b) * norm_c + (b @ c) * norm_a + (c @ a) * norm_b
    return abs(2.0 * float(np.arctan2(abs(np.linalg.det(triangle)), cosine)))
