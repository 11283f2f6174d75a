"""Tracking as a node does it: every frame is tracked, detections come late, the camera is fast, parts come and go.

Nothing tells the tracker how the camera moves. An arm passes in front, and parts are taken away and put down again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import chi2

from object_pose.core.arrays import Array
from object_pose.core.metrics.pose import MIN_VISIBILITY, PoseMatch, compare, match_frame
from object_pose.core.metrics.uncertainty import rotation_nees, score_covariances, translation_nees
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.scenes.live import LiveScene

RATE_HZ = 30.0
_DETECTED_EVERY, _LATE_FRAMES = 3, 3
# A track may be wrong for so long before it has to be said that it is lost.
_SAID_WITHIN_S = 0.5
_COVERED = 0.999
_NANOSECONDS = 1e-9


@dataclass(frozen=True)
class LiveTrackingScore:
    """Shares of visible objects that were reported within ADD 0.1 d, and of reported poses that were.

    An id switch is an object that has another id than it had, unless it was away. A track that is wrong for half a
    second and is not said to be lost counts as ``lost_and_not_said``; as ``beyond_covariance`` it counts where all the
    time its covariance did not say either that it may be so far off (99.9 %).
    """

    seconds: float
    recall: float
    precision: float
    id_switches_per_minute: float
    lost_and_not_said: int
    beyond_covariance: int
    translation_within_95: float
    rotation_within_95: float
    translation_error_mm_p50: float


@dataclass
class WrongTracks:
    """Tracks that have been wrong for too long: ``unsaid`` are their ids."""

    unsaid: set[int] = field(default_factory=set)
    _since_s: dict[int, float] = field(default_factory=dict)

    def add(self, wrong: Collection[int], stamp_s: float) -> None:
        """Take in the ids of tracks that are wrong in one frame."""
        self._since_s = {track_id: self._since_s.get(track_id, stamp_s) for track_id in wrong}
        self.unsaid |= {track_id for track_id, since_s in self._since_s.items() if stamp_s - since_s > _SAID_WITHIN_S}


@dataclass
class LiveTrackingScorer:
    """Collects the frames of a sequence whose objects move and keep their place in ``parts_world``."""

    objects: Sequence[ObjectModel]
    _stamps_s: list[float] = field(default_factory=list)
    _targets: int = 0
    _found: int = 0
    _reported: int = 0
    _right: int = 0
    _switches: int = 0
    _ids: dict[int, int] = field(default_factory=dict)
    _wrong: WrongTracks = field(default_factory=lambda: WrongTracks())
    _beyond: WrongTracks = field(default_factory=lambda: WrongTracks())
    _pairs: list[PoseMatch] = field(default_factory=list)

    def add(
        self,
        poses: Sequence[ObjectPose],
        truths: Sequence[ObjectTruth],
        stamp_ns: int,
        T_world_camera: Array,
        parts_world: Sequence[Array],
    ) -> None:
        """Take in the poses and truths of one frame."""
        stamp_s = stamp_ns * _NANOSECONDS
        self._stamps_s.append(stamp_s)
        seen = [pose for pose in poses if not pose.visibility <= 0.0]
        # Whose pose it is says the nearest truth of the class.
        found = match_frame(seen, truths, self.objects)
        matches = {id(match.truth): match for match in found.matches}
        away = set(self._ids)
        for truth in truths:
            part = _part_of(truth, T_world_camera, parts_world)
            away.discard(part)
            match = matches.get(id(truth))
            if truth.visibility >= MIN_VISIBILITY:
                self._targets += 1
                bridged = (pose for pose in poses if pose.class_id == truth.class_id)
                model = self.objects[truth.class_id]
                self._found += any(compare(pose, truth, model).is_correct for pose in bridged)
            if match is not None and match.is_correct:
                self._switches += self._ids.get(part, match.pose.track_id) != match.pose.track_id
                self._ids[part] = match.pose.track_id
        for part in away:
            del self._ids[part]
        self._count(seen, found.matches, stamp_s)
        self._pairs += [match for match in found.matches if match.is_correct]

    def score(self) -> LiveTrackingScore:
        """Return the figures of all frames so far."""
        seconds = float(np.ptp(self._stamps_s))
        covariances = score_covariances(self._pairs, [model.symmetry for model in self.objects])
        return LiveTrackingScore(
            seconds=seconds,
            recall=self._found / max(self._targets, 1),
            precision=self._right / max(self._reported, 1),
            id_switches_per_minute=60.0 * self._switches / max(seconds, 1e-9),
            lost_and_not_said=len(self._wrong.unsaid),
            beyond_covariance=len(self._beyond.unsaid),
            translation_within_95=covariances.translation_within_95,
            rotation_within_95=covariances.rotation_within_95,
            translation_error_mm_p50=1e3 * float(np.median([match.translation_error_m for match in self._pairs])),
        )

    def _count(self, seen: Sequence[ObjectPose], matches: Sequence[PoseMatch], stamp_s: float) -> None:
        """Count right and wrong poses, and tracks that have been wrong for too long."""
        self._reported += len(seen)
        right = {match.pose.track_id for match in matches if match.is_correct}
        covered = {match.pose.track_id for match in matches if self._is_covered(match)}
        wrong = {pose.track_id for pose in seen} - right
        self._right += len(seen) - len(wrong)
        self._wrong.add(wrong, stamp_s)
        self._beyond.add(wrong - covered, stamp_s)

    def _is_covered(self, match: PoseMatch) -> bool:
        """Return whether a pose is no farther from its truth than its covariance says."""
        poses = match.pose.T_camera_object, match.truth.T_camera_object
        symmetry = self.objects[match.truth.class_id].symmetry
        errors = (measure(*poses, match.pose.covariance, symmetry) for measure in (translation_nees, rotation_nees))
        return all(error.squared <= chi2.ppf(_COVERED, error.freedom) for error in errors)


def _part_of(truth: ObjectTruth, T_world_camera: Array, parts_world: Sequence[Array]) -> int:
    """Return which part a truth is of: the one at its place."""
    T_world_object = T_world_camera @ truth.T_camera_object
    return int(np.argmin([np.abs(T_world_object - part).max() for part in parts_world]))


def track_handled_scene(
    estimator: PoseEstimator,
    scene: LiveScene,
    seconds: float,
    camera_known: bool = False,
    with_depth: bool = True,
) -> Iterator[LiveTrackingScorer]:
    """Track the simulated camera frame by frame, with detections that are 0.1 s late; yield the scorer after each."""
    scorer = LiveTrackingScorer(estimator.card.objects)
    recent: deque[tuple] = deque(maxlen=_LATE_FRAMES + 1)  # type: ignore[type-arg]
    for index in range(round(seconds * RATE_HZ)):
        time_s = index / RATE_HZ
        simulated = scene.frame(time_s, round(time_s / _NANOSECONDS))
        T_world_camera = scene.T_world_camera(time_s)
        known = T_world_camera if camera_known else None
        frame = simulated.frame if with_depth else replace(simulated.frame, depth_m=None)
        results = estimator.track(frame, known).results
        recent.append((frame, known))
        if index % _DETECTED_EVERY == 0 and len(recent) > _LATE_FRAMES:
            estimator.register_late(*recent[0])
        if index > RATE_HZ:  # a second to find everything
            truths, parts = simulated.truths, scene.parts_world
            scorer.add(results.poses, truths, simulated.frame.stamp_ns, T_world_camera, parts)
        yield scorer
