"""What is prepared of a part once: its views, the table of its point pairs, its mesh and silhouettes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.matching.drawing import draw, project
from object_pose.core.matching.oriented_depth import STRIDE, OrientedDepth
from object_pose.core.matching.point_pairs import PairTable
from object_pose.core.matching.verification import AGREEING, ORIENTED, verify
from object_pose.core.object_model import ObjectModel, TriangleMesh
from object_pose.core.pose.depth_evidence import DepthNoise, DepthView
from object_pose.core.pose.starts import RotationGrid, spread_rotations
from object_pose.core.tracking.view_model import ViewModel

_POINTS = 300  # of which pairs are made
# The depth camera that normals are simulated with.
_SIDE, _FOCAL_PX, _DISTANCE_M, _NOISE_M, _NOISE_PX, _NORMAL_RADIUS_M, _TRIALS = 256, 600.0, 0.6, 0.001, 1.0, 0.004, 16
# Of gaps of at most this share of the diameter a part has less than that share of its silhouette, or it is of wires.
_GAP_SHARE, _MOST_GAPS = 0.15, 0.15


@dataclass(frozen=True)
class PartModel:
    """A part as it is matched.

    ``shapes`` are its silhouettes in all orientations, ``hull`` (H, 3) the corners of its convex hull. ``agreement`` is
    how well normals of a depth camera at the usual distance agree with it where it is: the mean squared cosine, less
    the finer its details are. ``is_wire`` parts consist of wires, as springs do.
    """

    model: ObjectModel
    views: ViewModel
    mesh: TriangleMesh
    pairs: PairTable
    shapes: RotationGrid
    hull: Array
    agreement: float
    is_wire: bool

    @classmethod
    def of(cls, model: ObjectModel, mesh: TriangleMesh, views: ViewModel) -> PartModel:
        """Prepare a part from its model, surface and views, in a fraction of a second."""
        points = views.surface[:_POINTS].astype(np.float64)
        together = _seen_together(views, len(points))
        pairs = PairTable.of(points[:, :3], points[:, 3:], together, model.diameter)
        vertices = mesh.vertices.astype(np.float64)
        hull = vertices[ConvexHull(vertices).vertices]
        agreement, gaps = _simulated(model, mesh)
        shapes = _shapes(model.symmetry, views)
        return cls(model, views, mesh, pairs, shapes, hull, agreement, gaps > _MOST_GAPS)

    @cached_property
    def mirrored(self) -> tuple[TriangleMesh, ...]:
        """The part's mirror images in the three planes through the middle of its box."""
        images = []
        for axis in range(3):
            vertices = self.mesh.vertices.copy()
            vertices[:, axis] = 2.0 * np.float32(self.model.box_center[axis]) - vertices[:, axis]
            images.append(TriangleMesh(vertices, np.ascontiguousarray(self.mesh.faces[:, ::-1])))
        return tuple(images)

    @property
    def name(self) -> str:
        """The part's name."""
        return self.model.name

    @property
    def diameter(self) -> float:
        """The part's diameter in metres."""
        return self.model.diameter


def _seen_together(views: ViewModel, count: int) -> NDArray[np.bool_]:
    """Return which of the first ``count`` surface points a camera sees at once (M, M)."""
    seen = np.zeros((len(views.directions), count), dtype=np.float32)
    for row, visible, number in zip(seen, views.visible, views.visible_counts):
        indices = visible[:number]
        row[indices[indices < count]] = 1.0
    return np.asarray(seen.T @ seen > 0.0)


def _simulated(model: ObjectModel, mesh: TriangleMesh) -> tuple[float, float]:
    """Return how well normals agree that a depth camera measures, and the share of gaps in the silhouette.

    Both are medians over some directions.
    """
    rng = np.random.default_rng(0)
    camera = Camera(_SIDE, _SIDE, _FOCAL_PX, _FOCAL_PX, 0.5 * (_SIDE - 1), 0.5 * (_SIDE - 1))
    distance = max(_DISTANCE_M, 1.2 * _FOCAL_PX * model.diameter / _SIDE)
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    inverse, face_of = np.zeros((_SIDE, _SIDE)), np.zeros((_SIDE, _SIDE), dtype=np.int32)
    projected, shares, gaps = np.zeros((len(mesh.vertices), 3)), [], []
    side = max(3, round(_GAP_SHARE * model.diameter * camera.fx / distance))
    off_plane = np.zeros(((_SIDE + STRIDE - 1) // STRIDE,) * 2, dtype=bool)
    for rotation in spread_rotations(None)[:: 1024 // _TRIALS]:
        pose = se3.make_transform(rotation, (0.0, 0.0, distance) - rotation @ model.box_center)
        project(mesh.vertices, pose, lens, projected)
        draw(projected, mesh.faces, 0, 0, 1, inverse, face_of)
        depth = np.where(inverse > 0.0, 1.0 / np.maximum(inverse, 1e-9), distance + 2.0 * model.diameter)
        noise = cv2.GaussianBlur(rng.normal(size=depth.shape), (0, 0), _NOISE_PX) * 2.0 * _NOISE_PX * np.sqrt(np.pi)
        noisy = (depth + _NOISE_M * noise).astype(np.float32)
        scene = OrientedDepth.of(DepthView(noisy, noisy, camera, DepthNoise(_NOISE_M, 0.0)), _NORMAL_RADIUS_M)
        counts, _, _ = verify(mesh, model.diameter, pose[None], scene, off_plane, off_plane)
        shares.append(counts[0, AGREEING] / max(counts[0, ORIENTED], 1.0))
        drawn = (inverse > 0.0).astype(np.uint8)
        closed = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
        gaps.append(1.0 - int(drawn.sum()) / max(int(closed.sum()), 1))
    return float(np.median(shares)), float(np.median(gaps))


def _shapes(symmetry: Symmetry, views: ViewModel) -> RotationGrid:
    """Tabulate the silhouettes in orientations spread evenly; without those that only turn about an axis."""
    rotations = spread_rotations(symmetry.axis)
    toward = -rotations[:, 2, :]  # the direction to a camera that looks along z, in the object
    view = np.argmax(toward @ views.directions.astype(np.float64).T, axis=1)
    contours = views.contours[view, :, :3].astype(np.float64) - views.center.astype(np.float64)
    flat = (contours @ np.swapaxes(rotations, 1, 2))[..., :2]
    return RotationGrid(rotations, np.concatenate([flat.min(axis=1), flat.max(axis=1)], axis=1))
