"""Starts beyond a detection's keypoints: where the object is expected, and where its first pose finds no support.

Keypoints fail in a few typical ways: the object taken for its own half turn, a flat object tilted to the wrong side,
a pose turned by some tens of degrees. Each becomes a start; depth decides.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.candidates import Candidates
from object_pose.core.pose.reprojection import KeypointTargets
from object_pose.core.results.pose import ObjectPose
from object_pose.core.vision.boxes import box_iou

Array = NDArray[np.float64]

_TILT_RAD = np.radians(25.0)
_SAME_ROTATION_RAD = np.radians(30.0)
_SAME_PLACE_IOU = 0.3
_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))


def expected_starts(first: Candidates, expected: Sequence[ObjectPose], camera: Camera) -> Candidates:
    """Return a start for every detection of ``first`` and ``expected`` pose of its class that would fill its box."""
    if not expected or not len(first):
        return first.take(np.zeros(0, dtype=np.intp))
    boxes = np.stack([_projected_box(pose, camera) for pose in expected])
    class_ids = np.array([pose.class_id for pose in expected])
    same = (box_iou(first.boxes_xyxy, boxes) > _SAME_PLACE_IOU) & (first.class_ids[:, None] == class_ids)
    rows, columns = np.nonzero(same)
    transforms = np.stack([pose.T_camera_object for pose in expected])[columns]
    return first.take(rows).moved(transforms[:, :3, :3], transforms[:, :3, 3])


def _projected_box(pose: ObjectPose, camera: Camera) -> Array:
    """Return the (4,) pixels around the eight corners of an object's metric box."""
    corners = pose.box_center + 0.5 * pose.box_size * _CORNERS
    pixels = camera.project(se3.apply(pose.T_camera_object, corners))
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def half_turns(model: ObjectModel) -> Array:
    """Return (F, 4, 4) half turns about the box axes that are not symmetries of the object."""
    turns = []
    for axis in np.eye(3):
        rotation = se3.exp_so3(np.pi * axis)
        turn = se3.make_transform(rotation, model.box_center - rotation @ model.box_center)
        nearest = model.symmetry.closest(turn, np.eye(4))
        if se3.rotation_angle(nearest[:3, :3], np.eye(3)) > _SAME_ROTATION_RAD:
            turns.append(turn)
    return np.stack(turns) if turns else np.zeros((0, 4, 4))


def expand(candidates: Candidates, turns: Sequence[Array]) -> Candidates:
    """Return the candidates and all their variations; ``turns``, from ``half_turns``, are indexed by class id."""
    parts = [candidates, *_tilted(candidates)]
    for index, class_id in enumerate(candidates.class_ids):
        parts += [_turned(candidates.take(np.array([index])), turn) for turn in turns[class_id]]
    return Candidates.join(parts)


def _tilted(candidates: Candidates) -> list[Candidates]:
    """Turn about the camera's axes, to both sides."""
    twists = [sign * _TILT_RAD * axis for axis in np.eye(3) for sign in (-1.0, 1.0)]
    return [candidates.moved(se3.exp_so3(twist) @ candidates.rotation, candidates.translation) for twist in twists]


def _turned(candidate: Candidates, turn: Array) -> Candidates:
    """Assume that the network took the object for its half turn: the keypoints then belong to turned places."""
    rotation = candidate.rotation @ turn[:3, :3]
    translation = candidate.translation + candidate.rotation @ turn[:3, 3]
    # A half turn is its own inverse, so turning the object's keypoints undoes the change of the pose.
    points = se3.apply(turn, candidate.targets.points_object[0])[None]
    targets = KeypointTargets(points, candidate.targets.pixels, candidate.targets.sigmas)
    return dataclasses.replace(candidate, rotation=rotation, translation=translation, targets=targets)
