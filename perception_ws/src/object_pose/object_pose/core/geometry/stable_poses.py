"""How an object can stand on a plane: its stable rests, from the shape alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3

_APART_COS = float(np.cos(np.radians(15.0)))  # rests nearer to each other than this are one
_CONTACT_SHARE = 0.02  # of the diameter: what lies so near to the plane may touch it
_CORNERS = 6  # directions in which a rest's outermost contacts are sought
_RIM = 24  # directions in which the centre of mass must lie within the contacts


@dataclass(frozen=True)
class StablePose:
    """One way to stand: ``down`` (3,) unit, ``contacts`` (K, 3) near the plane and how far above it they are, (K,).

    All in the object frame, metres.
    """

    down: Array
    contacts: Array
    heights: Array


@dataclass(frozen=True)
class StablePoses:
    """The rests of one object, the most stable first; ``downs`` (F, 3) are their directions. F may be 0."""

    rests: tuple[StablePose, ...]
    downs: Array

    @classmethod
    def of(cls, points: Array, diameter: float) -> StablePoses:
        """Find the rests of a solid with the surface (P, 3): its centre of mass is lowest, and over contacts."""
        try:
            hull = ConvexHull(points)
        except (QhullError, ValueError):  # flat, or hardly any points
            return cls((), np.zeros((0, 3)))
        rests = tuple(_rests(hull, diameter))
        return cls(rests, np.array([rest.down for rest in rests]).reshape(-1, 3))

    def nearest(self, rotation: Array, down: Array) -> tuple[StablePose, float] | None:
        """Return the rest that an object turned by ``rotation`` (3, 3) is nearest to, and the angle to it, radians."""
        if not self.rests:
            return None
        cosines = self.downs @ (rotation.T @ down)
        best = int(np.argmax(cosines))
        return self.rests[best], float(np.arccos(np.clip(cosines[best], -1.0, 1.0)))


def support(T_camera_object: Array, rest: StablePose, normal: Array) -> float:
    """Return how far along ``normal`` (3,) a rest's contacts reach, in metres."""
    return float(np.max(se3.apply(T_camera_object, rest.contacts) @ normal))


def center_of_mass(hull: ConvexHull) -> Array:
    """Return the centre (3,) of the hull's volume: of the pyramids over its facets about a point inside."""
    corners = hull.points[hull.simplices]
    inside = corners.reshape(-1, 3).mean(axis=0)
    shifted = corners - inside
    areas = 0.5 * np.linalg.norm(np.cross(shifted[:, 1] - shifted[:, 0], shifted[:, 2] - shifted[:, 0]), axis=1)
    heights = np.einsum("ij,ij->i", shifted[:, 0], hull.equations[:, :3])
    pyramids = areas * heights / 3.0
    return np.asarray(inside + (pyramids[:, None] * shifted.sum(axis=1) / 4.0).sum(axis=0) / hull.volume)


def _rests(hull: ConvexHull, diameter: float) -> Iterator[StablePose]:
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
