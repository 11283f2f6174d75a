"""Errors of a pose, aware of the object's symmetry, and what they say about many frames.

ADD and ADD-S: Hinterstoisser et al., "Model based training, detection and pose estimation", 2012. The errors of the BOP
challenge are in ``core.bop_errors``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose, ObjectTruth

MIN_VISIBILITY = 0.3
ADD_SHARE = 0.1  # of the diameter, below which ADD(-S) is correct
# A pose may be this many diameters from a truth and still be assigned to it; accuracy is measured separately.
MATCH_DIAMETERS = 1.0


def add_error(T_estimate: Array, T_truth: Array, points_object: Array, symmetry: Symmetry) -> float:
    """Return the mean distance (metres) of corresponding surface points (P, 3), or ADD-S for symmetric objects."""
    if not symmetry.is_trivial:
        return adds_error(T_estimate, T_truth, points_object)
    offsets = se3.apply(T_estimate, points_object) - se3.apply(T_truth, points_object)
    return float(np.mean(np.linalg.norm(offsets, axis=1)))


def adds_error(T_estimate: Array, T_truth: Array, points_object: Array) -> float:
    """Return the mean distance (metres) from each true surface point to the nearest estimated one."""
    distances, _ = cKDTree(se3.apply(T_estimate, points_object)).query(se3.apply(T_truth, points_object))
    return float(np.mean(distances))


def translation_error(T_estimate: Array, T_truth: Array, symmetry: Symmetry) -> float:
    """Return the distance in metres of the object origins, for the symmetric estimate nearest in rotation."""
    closest = symmetry.closest(T_estimate, T_truth)
    return float(np.linalg.norm(closest[:3, 3] - T_truth[:3, 3]))


def rotation_error(T_estimate: Array, T_truth: Array, symmetry: Symmetry) -> float:
    """Return the angle in radians to the nearest symmetric estimate; turns about an axis of revolution do not count."""
    closest = symmetry.closest(T_estimate, T_truth)
    return se3.rotation_angle(closest[:3, :3], T_truth[:3, :3])


@dataclass(frozen=True)
class PoseMatch:
    """A pose and the truth it was taken for: ADD(-S) as a share of the diameter, symmetry-aware errors."""

    pose: ObjectPose
    truth: ObjectTruth
    add_share: float
    translation_error_m: float
    rotation_error_rad: float

    @property
    def is_correct(self) -> bool:
        """Whether ADD(-S) is below a tenth of the diameter."""
        return self.add_share < ADD_SHARE


@dataclass(frozen=True)
class FrameMatches:
    """The poses of one frame against its targets, the truths that are visible enough.

    Poses of truths that are hardly visible are neither right nor wrong and appear nowhere.
    """

    matches: tuple[PoseMatch, ...]
    missed: tuple[ObjectTruth, ...]
    false_poses: tuple[ObjectPose, ...]

    def above(self, min_score: float) -> FrameMatches:
        """Return what remains of it where poses from ``min_score`` on are used."""
        taken = tuple(match for match in self.matches if match.pose.score >= min_score)
        left = tuple(match.truth for match in self.matches if match.pose.score < min_score)
        false_poses = tuple(pose for pose in self.false_poses if pose.score >= min_score)
        return FrameMatches(taken, self.missed + left, false_poses)


@dataclass(frozen=True)
class PoseScore:
    """The summary of many frames; errors are over all matched poses, right or wrong, and NaN where there are none.

    ``recall_add_01d`` is the share of targets with a correct pose, ``precision`` the share of poses that are correct.
    """

    targets: int
    recall_add_01d: float
    precision: float
    translation_error_mm_p50: float
    translation_error_mm_p95: float
    rotation_error_deg_p50: float
    rotation_error_deg_p95: float
    recall_per_class: dict[str, float]


def match_frame(
    poses: Sequence[ObjectPose],
    truths: Sequence[ObjectTruth],
    objects: Sequence[ObjectModel],
    min_visibility: float = MIN_VISIBILITY,
) -> FrameMatches:
    """Give every pose, best score first, the nearest truth of its class that is still free.

    ``class_id`` of poses and truths indexes ``objects``; targets are truths of at least ``min_visibility``.
    """
    free = list(truths)
    matches: list[PoseMatch] = []
    false_poses: list[ObjectPose] = []
    for pose in sorted(poses, key=lambda item: -item.score):
        best = _best_truth(pose, free, objects[pose.class_id])
        if best is None:
            false_poses.append(pose)
            continue
        free = [truth for truth in free if truth is not best.truth]
        if best.truth.visibility >= min_visibility:
            matches.append(best)
    missed = tuple(truth for truth in free if truth.visibility >= min_visibility)
    return FrameMatches(tuple(matches), missed, tuple(false_poses))


def _best_truth(pose: ObjectPose, truths: Sequence[ObjectTruth], model: ObjectModel) -> PoseMatch | None:
    matches = [
        compare(pose, truth, model)
        for truth in truths
        if truth.class_id == pose.class_id and _distance(pose, truth) < MATCH_DIAMETERS * model.diameter
    ]
    return min(matches, key=lambda match: match.add_share, default=None)


def _distance(pose: ObjectPose, truth: ObjectTruth) -> float:
    return float(np.linalg.norm(pose.T_camera_object[:3, 3] - truth.T_camera_object[:3, 3]))


def compare(pose: ObjectPose, truth: ObjectTruth, model: ObjectModel) -> PoseMatch:
    """Return the errors of a pose against a truth of its class."""
    T_estimate, T_truth = pose.T_camera_object, truth.T_camera_object
    return PoseMatch(
        pose,
        truth,
        add_error(T_estimate, T_truth, model.points_object, model.symmetry) / model.diameter,
        translation_error(T_estimate, T_truth, model.symmetry),
        rotation_error(T_estimate, T_truth, model.symmetry),
    )


def score_frames(frames: Iterable[FrameMatches]) -> PoseScore:
    """Summarise the matches of many frames."""
    frames = list(frames)
    matches = [match for frame in frames for match in frame.matches]
    correct = [match for match in matches if match.is_correct]
    wrong = sum(len(frame.false_poses) for frame in frames)
    targets = [match.truth for match in matches] + [truth for frame in frames for truth in frame.missed]
    translation_mm = [match.translation_error_m * 1e3 for match in matches]
    rotation_deg = [float(np.degrees(match.rotation_error_rad)) for match in matches]
    return PoseScore(
        targets=len(targets),
        recall_add_01d=_ratio(len(correct), len(targets)),
        precision=_ratio(len(correct), len(matches) + wrong),
        translation_error_mm_p50=_percentile(translation_mm, 50),
        translation_error_mm_p95=_percentile(translation_mm, 95),
        rotation_error_deg_p50=_percentile(rotation_deg, 50),
        rotation_error_deg_p95=_percentile(rotation_deg, 95),
        recall_per_class=_recall_per_class(correct, targets),
    )


def _recall_per_class(correct: Sequence[PoseMatch], targets: Sequence[ObjectTruth]) -> dict[str, float]:
    found = [match.truth.class_name for match in correct]
    wanted = [truth.class_name for truth in targets]
    return {name: _ratio(found.count(name), wanted.count(name)) for name in sorted(set(wanted))}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")
