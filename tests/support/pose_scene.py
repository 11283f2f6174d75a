"""Detections of ray-cast solids as a good, but not perfect, network would give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.detections import Detections
from raycast import AXIS_Z, BRACKET, CAMERA, PLATE, SHAFT, model_of

BRACKET_ID, SHAFT_ID, PLATE_ID = range(3)
SOLIDS = (BRACKET, SHAFT, PLATE)
MODELS: tuple[ObjectModel, ...] = (
    model_of("bracket", BRACKET),
    model_of("shaft", SHAFT, Symmetry(axis=AXIS_Z)),
    model_of("plate", PLATE),
)


def detect(
    placed: Sequence[tuple[int, Array]],
    rng: np.random.Generator | None = None,
    *,
    noise: float = 0.03,
    camera: Camera = CAMERA,
) -> Detections:
    """Return one detection per (class id, pose); keypoint noise is a share of the object's size in pixels."""
    boxes, keypoints, sigmas = [], [], []
    for class_id, pose in placed:
        model = MODELS[class_id]
        exact = camera.project(se3.apply(model.symmetry.canonical(pose), model.keypoints_object))
        sigma = max(noise * float(np.max(np.ptp(exact, axis=0))), 0.1)
        error = rng.normal(size=exact.shape) if rng else np.zeros_like(exact)
        boxes.append([*exact.min(axis=0), *exact.max(axis=0)])
        keypoints.append(exact + sigma * error)
        sigmas.append(np.full(len(exact), sigma))
    return Detections(
        np.array(boxes),
        np.full(len(placed), 0.9),
        np.array([class_id for class_id, _ in placed]),
        np.array(keypoints),
        np.array(sigmas),
    )


def random_view(rng: np.random.Generator, distance_m: float = 0.45) -> Array:
    """Return a pose in any orientation near the middle of the image."""
    rotation = se3.rotation_from_quat_wxyz(rng.normal(size=4))
    return se3.make_transform(rotation, (*rng.uniform(-0.06, 0.06, 2), distance_m))
