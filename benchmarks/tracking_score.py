"""Identities, jitter and covariances over time: tracked poses of a sequence against its objects, which lie still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from object_pose.core.metrics.pose import MATCH_DIAMETERS, MIN_VISIBILITY, compare
from object_pose.core.metrics.uncertainty import NormalisedError, rotation_nees, translation_nees
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.scenes.live import LiveScene

Array = NDArray[np.float64]

_SHORT_OCCLUSION_S = 1.0
_HIDDEN_BELOW = 0.1
_SAME_OBJECT_M = 0.005
_NO_MATCH_M = 1e3
_NANOSECONDS = 1e-9


@dataclass(frozen=True)
class NeesScore:
    """Squared errors in units of their covariance: the mean for each three directions and the share within 95 %.

    A mean of 3 is perfect. Covariances that are too large show in the mean, those that are too small in the share.
    """

    mean_of_3: float
    within_95: float

    @classmethod
    def of(cls, errors: Sequence[NormalisedError]) -> NeesScore:
        """Summarise errors; NaN where there are none."""
        if not errors:
            return cls(float("nan"), float("nan"))
        means = [3.0 * error.squared / error.freedom for error in errors]
        return cls(float(np.mean(means)), float(np.mean([error.is_within_95 for error in errors])))


@dataclass(frozen=True)
class TrackingScore:
    """Tracking over ``seconds``; ``recall`` counts bridged poses like any other.

    An id switch is a true object that gets another track id than it had last. ``short_occlusions`` counts the times
    that an object with an identity was hidden for less than a second, ``lost_identities`` those after which it got
    another one. ``jitter_mm_p95`` is how far the reported world position of an object moves between two frames.
    ``translation`` and ``rotation`` are of the covariances of correct poses that are seen.
    """

    seconds: float
    recall: float
    id_switches: int
    short_occlusions: int
    lost_identities: int
    jitter_mm_p95: float
    translation: NeesScore
    rotation: NeesScore

    @property
    def id_switches_per_minute(self) -> float:
        """Switches in a minute."""
        return 60.0 * self.id_switches / max(self.seconds, 1e-9)


@dataclass
class _History:
    """One true object: when it could be seen, and when and where which track was reported for it."""

    class_id: int
    position_world: Array
    seen_frames: list[int] = field(default_factory=list)
    reported_frames: list[int] = field(default_factory=list)
    track_ids: list[int] = field(default_factory=list)
    reported_world: list[Array] = field(default_factory=list)

    def steps_m(self) -> list[float]:
        """Return how far the reported position moved between neighbouring frames."""
        return [
            float(np.linalg.norm(after - before))
            for before, after, first, second in zip(
                self.reported_world, self.reported_world[1:], self.reported_frames, self.reported_frames[1:]
            )
            if second == first + 1
        ]

    def switches(self) -> int:
        """Return how often the track id changed."""
        return sum(before != after for before, after in zip(self.track_ids, self.track_ids[1:]))

    def identities_around_gaps(self, stamps_s: Array) -> list[tuple[int, int]]:
        """Return the track ids right before and after each time that the object was hidden for a moment."""
        pairs = []
        for before, after in zip(self.seen_frames, self.seen_frames[1:]):
            if after == before + 1 or stamps_s[after] - stamps_s[before] >= _SHORT_OCCLUSION_S:
                continue
            earlier = [i for frame, i in zip(self.reported_frames, self.track_ids) if frame <= before]
            later = [i for frame, i in zip(self.reported_frames, self.track_ids) if frame >= after]
            if earlier and later:
                pairs.append((earlier[-1], later[0]))
        return pairs


class TrackingScorer:
    """Collects the frames of one sequence of still objects; ``objects`` are the model's, in the order of class ids."""

    def __init__(self, objects: Sequence[ObjectModel], min_visibility: float = MIN_VISIBILITY) -> None:
        self._objects = tuple(objects)
        self._min_visibility = min_visibility
        self._histories: list[_History] = []
        self._stamps_s: list[float] = []
        self._targets = self._found = 0
        self._translation: list[NormalisedError] = []
        self._rotation: list[NormalisedError] = []

    def add(
        self, poses: Sequence[ObjectPose], truths: Sequence[ObjectTruth], stamp_ns: int, T_world_camera: Array
    ) -> None:
        """Take in the poses and truths of one frame, whose camera stands at ``T_world_camera`` (4, 4)."""
        frame = len(self._stamps_s)
        self._stamps_s.append(stamp_ns * _NANOSECONDS)
        reports = _reports(poses, truths, self._objects)
        for truth in truths:
            reported = reports.get(id(truth))
            if truth.visibility >= self._min_visibility:
                self._targets += 1
                model = self._objects[truth.class_id]
                is_found = reported is not None and compare(reported, truth, model).is_correct
                self._found += is_found
                if reported is not None and is_found and reported.visibility > 0.0:
                    poses_of = reported.T_camera_object, truth.T_camera_object, reported.covariance, model.symmetry
                    self._translation.append(translation_nees(*poses_of))
                    self._rotation.append(rotation_nees(*poses_of))
            history = self._history_of(truth, T_world_camera)
            if truth.visibility >= _HIDDEN_BELOW:
                history.seen_frames.append(frame)
            if reported is not None:
                history.reported_frames.append(frame)
                history.track_ids.append(reported.track_id)
                history.reported_world.append((T_world_camera @ reported.T_camera_object)[:3, 3])

    def score(self) -> TrackingScore:
        """Return the figures of all frames so far."""
        stamps_s = np.array(self._stamps_s)
        steps = [step for history in self._histories for step in history.steps_m()]
        gaps = [pair for history in self._histories for pair in history.identities_around_gaps(stamps_s)]
        return TrackingScore(
            seconds=float(np.ptp(stamps_s)) if len(stamps_s) else 0.0,
            recall=self._found / max(self._targets, 1),
            id_switches=sum(history.switches() for history in self._histories),
            short_occlusions=len(gaps),
            lost_identities=sum(before != after for before, after in gaps),
            jitter_mm_p95=float(np.percentile(steps, 95)) * 1e3 if steps else float("nan"),
            translation=NeesScore.of(self._translation),
            rotation=NeesScore.of(self._rotation),
        )

    def _history_of(self, truth: ObjectTruth, T_world_camera: Array) -> _History:
        """Objects are still, so class and place in the world tell them apart."""
        position = (T_world_camera @ truth.T_camera_object)[:3, 3]
        for history in self._histories:
            near = np.linalg.norm(history.position_world - position) < _SAME_OBJECT_M
            if near and history.class_id == truth.class_id:
                return history
        self._histories.append(_History(truth.class_id, position))
        return self._histories[-1]


def _reports(
    poses: Sequence[ObjectPose], truths: Sequence[ObjectTruth], objects: Sequence[ObjectModel]
) -> dict[int, ObjectPose]:
    """Return which pose is reported for which truth, by its ``id``: the assignment of least total distance.

    A score says nothing about whose pose it is: beside a neighbour that nobody sees any more, the surer of two bridged
    poses would be taken for the other object's (CLEAR MOT, Bernardin and Stiefelhagen 2008, assigns by distance, too).
    """
    if not poses or not truths:
        return {}
    positions, true_positions = (np.stack([item.T_camera_object[:3, 3] for item in items]) for items in (poses, truths))
    distance = np.linalg.norm(positions[:, None] - true_positions, axis=2)
    reach = MATCH_DIAMETERS * np.array([objects[pose.class_id].diameter for pose in poses])
    same = np.array([pose.class_id for pose in poses])[:, None] == [truth.class_id for truth in truths]
    cost = np.where(same & (distance < reach[:, None]), distance, _NO_MATCH_M)
    pairs = zip(*linear_sum_assignment(cost))
    return {id(truths[column]): poses[row] for row, column in pairs if cost[row, column] < _NO_MATCH_M}


def track_live_scene(
    estimator: PoseEstimator, scene: LiveScene, seconds: float, rate_hz: float, camera_known: bool = True
) -> Iterator[TrackingScorer]:
    """Run an estimator with a tracker over the simulated camera, frame by frame; yield the scorer after each.

    ``camera_known`` gives the tracker the camera's pose in the world, as a robot's kinematics would.
    """
    scorer = TrackingScorer(estimator.card.objects)
    for index in range(round(seconds * rate_hz)):
        time_s = index / rate_hz
        simulated = scene.frame(time_s, round(time_s / _NANOSECONDS))
        T_world_camera = scene.T_world_camera(time_s)
        result = estimator.estimate(simulated.frame, T_world_camera if camera_known else None)
        scorer.add(result.results.poses, simulated.truths, simulated.frame.stamp_ns, T_world_camera)
        yield scorer
