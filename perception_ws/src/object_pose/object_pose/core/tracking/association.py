"""Tracks of objects, and which of them a pose belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.filter import PoseState, Velocity

NANOSECONDS = 1e-9
SAME_PLACE_DIAMETERS = 0.3
SLACK_RAD = 0.3  # by which poses of one object may differ beyond their covariance
_SLACK_DIAMETERS = 0.1  # the same of places
_NO_MATCH = 1e9


@dataclass
class Track:
    """One object through time: filtered ``state`` and latest ``measured`` one in the fixed frame, and its ``pose``.

    ``registered_score`` is that of its last pose which was not tracked but found anew. One that ``is_lost`` is
    remembered but not reported, for it is not where it was; one that was missed so often that it ``is_missed`` is not
    followed until it is found anew, and one that ``is_tentative`` is not reported before it is found twice. ``doubts``
    are late poses in a row that contradict it, and ``correction`` (4, 4), in the object's frame, is what they ask for.
    """

    track_id: int
    state: PoseState
    measured: PoseState
    pose: ObjectPose
    registered_score: float
    seen_ns: int
    age: int = 1
    frames_unseen: int = 0
    contradictions: int = 0
    is_lost: bool = False
    velocity: Velocity = Velocity.zero()
    doubts: int = 0
    misses: int = 0
    is_missed: bool = False
    correction: Array | None = None
    is_tentative: bool = False
    moves_itself: bool = False
    has_flipped: bool = False


@dataclass(frozen=True)
class Association:
    """Tells which track a pose belongs to.

    Positions are at most ``gate_sigmas`` off, or as far as ``max_speed_m_s`` leads within ``max_dropout_s``.
    """

    objects: Sequence[ObjectModel]
    gate_sigmas: float
    max_speed_m_s: float
    max_dropout_s: float

    def assign(
        self,
        poses: Sequence[ObjectPose],
        measured: Sequence[PoseState],
        tracks: Sequence[Track],
        T_fixed_objects: Sequence[Array],
        stamp_ns: int,
    ) -> list[Track | None]:
        """Return each pose's track, of those at ``T_fixed_objects``: the assignment of least total distance."""
        partners: list[Track | None] = [None] * len(poses)
        if not poses or not tracks:
            return partners
        cost = np.array(
            [
                [self._distance(track, known, pose, state, stamp_ns) for track, known in zip(tracks, T_fixed_objects)]
                for pose, state in zip(poses, measured)
            ]
        )
        for row, column in zip(*linear_sum_assignment(cost)):
            if cost[row, column] < _NO_MATCH:
                partners[row] = tracks[column]
        return partners

    def _distance(
        self, track: Track, T_fixed_object: Array, pose: ObjectPose, measured: PoseState, stamp_ns: int
    ) -> float:
        """Return the squared distance in sigmas; position gates, orientation only helps to choose."""
        if track.pose.class_id != pose.class_id:
            return _NO_MATCH
        innovation = self.difference(track, T_fixed_object, measured)
        model = self.objects[pose.class_id]
        # In the long pauses of a triggered camera an object is not expected to go any further.
        unseen = np.clip((stamp_ns - track.seen_ns) * NANOSECONDS, 0.0, self.max_dropout_s)
        slack = np.hypot(_SLACK_DIAMETERS * model.diameter, self.max_speed_m_s * unseen / self.gate_sigmas)
        # Not the predicted covariance: a camera that may move fast would make every pose fit every track.
        covariance = track.measured.covariance + measured.covariance
        position = covariance[:3, :3] + slack**2 * np.eye(3)
        distance = float(innovation[:3] @ np.linalg.solve(position, innovation[:3]))
        if distance > self.gate_sigmas**2:
            return _NO_MATCH
        orientation = covariance[3:, 3:] + SLACK_RAD**2 * np.eye(3)
        return distance + float(innovation[3:] @ np.linalg.solve(orientation, innovation[3:]))

    def difference(self, track: Track, T_fixed_object: Array, measured: PoseState) -> Array:
        """Return the (6,) difference of a measured pose from where a track is or was, the least of symmetric ones."""
        symmetry = self.objects[track.pose.class_id].symmetry
        nearest = symmetry.closest(measured.transform, T_fixed_object)
        return measured.at(T_fixed_object).innovation(measured.at(nearest))

    def is_taken(self, pose: ObjectPose, state: PoseState, tracks: Sequence[Track]) -> bool:
        """Return whether one of the tracks, not lost, stands where a pose is."""
        center, diameter = se3.apply(state.transform, pose.box_center[None])[0], self.objects[pose.class_id].diameter
        for track in tracks:
            reach = SAME_PLACE_DIAMETERS * min(diameter, self.objects[track.pose.class_id].diameter)
            other = se3.apply(track.state.transform, track.pose.box_center[None])[0]
            if not track.is_lost and np.linalg.norm(center - other) < reach:
                return True
        return False
