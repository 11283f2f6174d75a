"""Poses that come late: those found anew in an older frame, compared with the tracks as they were in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.linear import squared_distance
from object_pose.core.results.pose import ObjectPose, PoseRejection, RejectionReason
from object_pose.core.tracking.association import Association, Track
from object_pose.core.tracking.filter import NIS_LIMIT, PoseState
from object_pose.core.tracking.history import Moment

# A late pose may differ by this much from its track beyond both covariances: diameters and radians.
_SLACK_DIAMETERS, _SLACK_RAD = 0.03, 0.1
_ASTRAY_DIAMETERS = 1.5  # how far from its object a track may go astray
_LOOKED_AT = 0.3  # visibility from which on a detector should find an object


@dataclass(frozen=True)
class LateMatches:
    """Late poses with the ids of their tracks; ``found`` are those of objects that no track follows now."""

    poses: tuple[ObjectPose, ...]
    found: tuple[ObjectPose, ...]


class LateMatcher:
    """Lets late poses confirm, doubt and find tracks.

    ``change_patience`` late poses in a row correct a track, ``miss_patience`` detections that miss it end it, unless it
    has a score of ``min_sure_score``.
    """

    def __init__(
        self, association: Association, change_patience: int, miss_patience: int, min_sure_score: float
    ) -> None:
        self._association = association
        self._change_patience, self._miss_patience = change_patience, miss_patience
        self._min_sure_score = min_sure_score

    def match(
        self,
        poses: Sequence[ObjectPose],
        measured: Sequence[PoseState],
        tracks: Sequence[Track],
        moment: Moment,
        seen_ids: Collection[int],
        stamp_ns: int,
        track_ids: Iterator[int],
    ) -> LateMatches:
        """Compare poses, ``measured`` in the tracks' frame, with tracks as they were at a moment; see ``Tracker``."""
        then = moment.transforms()
        known = [then.get(track.track_id, track.state.transform) for track in tracks]
        partners = self._association.assign(poses, measured, tracks, known, stamp_ns)
        self._find_strays(poses, measured, tracks, partners, then, seen_ids)
        matched, found = [], []
        for pose, state, partner in zip(poses, measured, partners):
            track_id = partner.track_id if partner else next(track_ids)
            age = partner.age if partner else 1
            matched.append(dataclasses.replace(pose, track_id=track_id, track_age=age))
            if partner is None or partner.is_lost or partner.track_id not in then:
                found.append(matched[-1])
                if partner is not None:
                    partner.registered_score, partner.is_tentative = pose.score, False
            else:
                self._confirm(partner, then[track_id], pose, state)
        return LateMatches(tuple(matched), tuple(found))

    def _find_strays(
        self,
        poses: Sequence[ObjectPose],
        measured: Sequence[PoseState],
        tracks: Sequence[Track],
        partners: list[Track | None],
        then: Collection[int],
        seen_ids: Collection[int],
    ) -> None:
        """Give late poses without a track those that went astray nearby: doubtful ones that nothing else shows.

        They are lost where they are, and found again under their ids where the poses are.
        """
        for row, (pose, state) in enumerate(zip(poses, measured)):
            if partners[row] is not None:
                continue
            strays = [
                (float(np.linalg.norm(state.transform[:3, 3] - track.state.transform[:3, 3])), index)
                for index, track in enumerate(tracks)
                if track.pose.class_id == pose.class_id
                and track.track_id not in seen_ids
                and not any(track is partner for partner in partners)
                and (track.is_lost or track.track_id not in then or track.pose.score < self._min_sure_score)
            ]
            distance, nearest = min(strays, default=(np.inf, -1))
            if distance < _ASTRAY_DIAMETERS * self._association.objects[pose.class_id].diameter:
                partners[row] = tracks[nearest]
                tracks[nearest].is_lost = True

    def _confirm(self, track: Track, T_fixed_object: Array, pose: ObjectPose, measured: PoseState) -> None:
        """Let a late pose confirm its track, which was at ``T_fixed_object``, or doubt it."""
        difference = self._association.difference(track, T_fixed_object, measured)
        diameter = self._association.objects[pose.class_id].diameter
        slack = np.repeat([_SLACK_DIAMETERS * diameter, _SLACK_RAD], 3) ** 2
        covariance = track.measured.covariance + measured.covariance + np.diag(slack)
        if squared_distance(covariance, difference) <= NIS_LIMIT:
            track.doubts, track.correction, track.registered_score = 0, None, pose.score
            track.is_tentative = False
            return
        # Both were measured in one frame; the one that explains it better is right.
        track.doubts = track.doubts + 1 if pose.score >= track.pose.score else 0
        if track.doubts >= self._change_patience:
            track.registered_score = pose.score
            track.correction = se3.inverse(T_fixed_object) @ measured.transform

    def end_missed(self, tracks: Sequence[Track], moment: Moment, seen_ids: Collection[int]) -> list[PoseRejection]:
        """Count the tracks in full view that were not detected; return those lost for weak evidence of their own."""
        ended = []
        in_view = {pose.track_id for pose in moment.poses if pose.visibility >= _LOOKED_AT}
        for track in tracks:
            if track.track_id in seen_ids:
                track.misses = 0
            elif track.track_id in in_view:
                track.misses += 1
            patience, is_sure = self._miss_patience, track.pose.score >= self._min_sure_score
            patience = 1 if track.is_tentative else patience
            if track.misses < patience or is_sure or track.is_lost:
                continue
            track.is_lost = track.is_missed = True
            detail = f"{track.misses} detections in a row miss it, and its own evidence is weak"
            of_pose = track.pose.class_id, track.pose.class_name, track.pose.score, track.pose.box_xyxy
            ended.append(PoseRejection(*of_pose, RejectionReason.LOST, detail, track.track_id))
        return ended
