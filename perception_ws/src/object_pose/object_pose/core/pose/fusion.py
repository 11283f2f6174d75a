"""Poses of one scene that several cameras saw: one pose an object, by the covariance of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from object_pose.core.geometry import se3
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.acceptance import split_duplicates
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.filter import PoseState

_SAME_DIAMETERS = 0.3  # centres of one object are nearer than this share of its diameter, or than their uncertainty
_SAME_SIGMAS = 3.0


@dataclass
class _Object:
    """What the views show of one object, the best first."""

    poses: list[ObjectPose]
    views: set[int]


def fuse_views(
    views: Sequence[Sequence[ObjectPose]], objects: Sequence[ObjectModel], duplicate_distance: float
) -> list[ObjectPose]:
    """Return one pose an object from the poses of several views, all in one frame (``ObjectPose.in_frame``).

    Poses of one class at one place are one object; symmetric ones are brought together first. Each counts by its
    covariance, and one that contradicts those more certain by less. Views that agree raise the score: it is the
    probability that not all of them are wrong. Two objects at one place are settled as in an image.
    """
    found: list[_Object] = []
    ranked = sorted(
        ((view, pose) for view, poses in enumerate(views) for pose in poses), key=lambda item: -item[1].score
    )
    for view, pose in ranked:
        same = [item for item in found if view not in item.views and _is_same(item.poses[0], pose, objects)]
        if same:
            nearest = min(same, key=lambda item: _distance(item.poses[0], pose))
            nearest.poses.append(pose)
            nearest.views.add(view)
        else:
            found.append(_Object([pose], {view}))
    fused = [_fused(item.poses, objects[item.poses[0].class_id]) for item in found]
    return split_duplicates(fused, objects, duplicate_distance)[0]


def _fused(poses: Sequence[ObjectPose], model: ObjectModel) -> ObjectPose:
    certain, *others = sorted(poses, key=lambda pose: float(np.trace(pose.covariance[:3, :3])))
    state = PoseState.measured(certain.T_camera_object, certain.covariance)
    wrong = 1.0 - certain.score
    for pose in others:
        nearest = model.symmetry.closest(pose.T_camera_object, state.transform)
        measured = PoseState.measured(nearest, pose.covariance)
        agrees = state.nis_ratio(measured) <= 1.0
        wrong = wrong * (1.0 - pose.score) if agrees else min(wrong, 1.0 - pose.score)
        state = state.updated(measured, follow=False)
    return replace(
        poses[0],
        T_camera_object=state.transform,
        covariance=state.covariance,
        score=float(np.clip(1.0 - wrong, 0.0, 1.0)),
    )


def _is_same(first: ObjectPose, second: ObjectPose, objects: Sequence[ObjectModel]) -> bool:
    if first.class_id != second.class_id:
        return False
    spread = np.linalg.eigvalsh(first.covariance[:3, :3] + second.covariance[:3, :3])[-1]
    reach = min(_SAME_SIGMAS * float(np.sqrt(spread)), objects[first.class_id].diameter)
    return _distance(first, second) < max(reach, _SAME_DIAMETERS * objects[first.class_id].diameter)


def _distance(first: ObjectPose, second: ObjectPose) -> float:
    """Return how far the centres of two objects' boxes are from each other, in metres."""
    centres = [se3.apply(pose.T_camera_object, pose.box_center[None])[0] for pose in (first, second)]
    return float(np.linalg.norm(centres[0] - centres[1]))
