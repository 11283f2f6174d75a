"""The geometry of an object class that poses are estimated with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, expect_shape
from object_pose.core.geometry.symmetry import Symmetry


@dataclass(frozen=True)
class TriangleMesh:
    """A surface to draw: ``vertices`` (V, 3) float32 in metres, ``faces`` (F, 3) int32, counted from 0."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]


@dataclass(frozen=True)
class ObjectModel:
    """What the pose solver knows of one class; object frame, metres.

    ``keypoints_object`` (K, 3) in the network's order; ``points_object`` (P, 3) and unit ``normals_object`` (P, 3)
    sample the surface evenly; the metric box is axis-aligned in the object frame. ``surface_object`` (S, 3), points so
    dense that contours can be drawn from them, is empty in models that were exported before there was any.
    """

    name: str
    keypoints_object: Array
    points_object: Array
    normals_object: Array
    box_center: Array
    box_size: Array
    diameter: float
    symmetry: Symmetry = field(default_factory=Symmetry)
    surface_object: Array = field(default_factory=lambda: np.zeros((0, 3)))

    def __post_init__(self) -> None:
        expect_shape("surface_object", self.surface_object, (None, 3))
        expect_shape("keypoints_object", self.keypoints_object, (None, 3))
        expect_shape("points_object", self.points_object, (None, 3))
        expect_shape("normals_object", self.normals_object, (len(self.points_object), 3))
        expect_shape("box_center", self.box_center, (3,))
        expect_shape("box_size", self.box_size, (3,))
        if not self.diameter > 0:
            raise ValueError(f"diameter of {self.name} must be positive, got {self.diameter}")
