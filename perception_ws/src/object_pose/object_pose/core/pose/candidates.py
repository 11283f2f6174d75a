"""A batch of pose candidates, and the model surface that the camera would see of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.pose.model_views import ModelViews
from object_pose.core.pose.reprojection import KeypointTargets

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Candidates:
    """B poses to be judged: ``rotation`` (B, 3, 3), ``translation`` (B, 3) metres, camera frame.

    ``owners`` (B,) are the detections they explain, ``class_ids`` (B,) their objects, ``boxes_xyxy`` (B, 4) what was
    seen of them in undistorted pixels. ``targets`` hold their keypoints; a candidate that takes the object for its own
    half turn carries the keypoints turned likewise.
    """

    rotation: Array
    translation: Array
    owners: Indices
    class_ids: Indices
    targets: KeypointTargets
    boxes_xyxy: Array

    def __len__(self) -> int:
        return len(self.owners)

    def take(self, index: Indices) -> Candidates:
        """Return the candidates that ``index`` picks."""
        return Candidates(
            self.rotation[index],
            self.translation[index],
            self.owners[index],
            self.class_ids[index],
            self.targets.take(index),
            self.boxes_xyxy[index],
        )

    def moved(self, rotation: Array, translation: Array) -> Candidates:
        """Return the same candidates at other poses."""
        return Candidates(rotation, translation, self.owners, self.class_ids, self.targets, self.boxes_xyxy)

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        """Return all candidates of several batches with equal keypoint counts."""
        return Candidates(
            np.concatenate([part.rotation for part in parts]),
            np.concatenate([part.translation for part in parts]),
            np.concatenate([part.owners for part in parts]),
            np.concatenate([part.class_ids for part in parts]),
            KeypointTargets(
                np.concatenate([part.targets.points_object for part in parts]),
                np.concatenate([part.targets.pixels for part in parts]),
                np.concatenate([part.targets.sigmas for part in parts]),
            ),
            np.concatenate([part.boxes_xyxy for part in parts]),
        )


@dataclass(frozen=True)
class Surfaces:
    """Visible surface of B candidates in their object frames: (B, N, 3) points and normals, (B, C, 3) silhouette.

    ``areas`` (B,) are the silhouettes' in square metres.
    """

    points: Array
    normals: Array
    contour_points: Array
    contour_normals: Array
    areas: Array


def visible_surfaces(candidates: Candidates, views: Sequence[ModelViews], stride: int = 1) -> Surfaces:
    """Look up what the camera sees of each candidate, every ``stride``-th surface point of it."""
    count = len(candidates)
    sample = views[0]
    points = np.empty((count, *sample.points[0, ::stride].shape))
    normals = np.empty_like(points)
    contour_points = np.empty((count, *sample.contour_points.shape[1:]))
    contour_normals = np.empty_like(contour_points)
    areas = np.empty(count)
    for class_id in np.unique(candidates.class_ids):
        rows = np.flatnonzero(candidates.class_ids == class_id)
        table = views[class_id]
        seen = table.nearest(candidates.rotation[rows], candidates.translation[rows])
        points[rows], normals[rows] = table.points[seen, ::stride], table.normals[seen, ::stride]
        contour_points[rows], contour_normals[rows] = table.contour_points[seen], table.contour_normals[seen]
        areas[rows] = table.areas[seen]
    return Surfaces(points, normals, contour_points, contour_normals, areas)
