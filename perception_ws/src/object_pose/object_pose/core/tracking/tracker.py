"""Identities over time: poses are matched to tracks, filtered, and bridged while an object is not seen."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from object_pose.core.geometry import se3
from object_pose.core.object_model import ObjectModel
from object_pose.core.params import parameter
from object_pose.core.pose.acceptance import find_duplicates
from object_pose.core.results.pose import ObjectPose, PoseResults
from object_pose.core.tracking.filter import PoseState

Array = NDArray[np.float64]

_NANOSECONDS = 1e-9
_NO_MATCH = 1e9
# Poses of one object may differ by this much beyond their covariance: diameters and radians.
_SLACK_DIAMETERS = 0.1
_SLACK_RAD = 0.3
# A rotation this many sigmas off is a flip of the estimate rather than a turn of the object.
_FLIP_SIGMAS = 3.0
_SAME_PLACE_DIAMETERS = 0.3


@dataclass(frozen=True)
class TrackerConfig:
    """How long objects are remembered, how much they and the camera may move, and how often they are found anew."""

    max_dropout_s: float = parameter(
        1.0, "how long an object that is not seen any more is still reported, in seconds", minimum=0.0, maximum=60.0
    )
    max_dropout_frames: int = parameter(
        5,
        "an object keeps its id while it is missing in no more frames than this, however long ago it was seen",
        minimum=0,
        maximum=1000,
    )
    max_bridged_sigma_m: float = parameter(
        0.015,
        "an object out of sight is reported while the standard deviation of its position is less, in m",
        minimum=0.0,
        maximum=1.0,
    )
    min_age: int = parameter(3, "updates after which a track is bridged", minimum=1, maximum=100)
    gate_sigmas: float = parameter(
        4.0, "greatest distance of a pose from its track, in standard deviations", minimum=0.5, maximum=20.0
    )
    max_speed_m_s: float = parameter(
        0.2, "fastest motion of an object that keeps its identity, in m/s", minimum=0.0, maximum=10.0
    )
    translation_noise: float = parameter(
        0.0003, "drift of an object in the world, in m per square root of a second", minimum=0.0, maximum=1.0
    )
    rotation_noise: float = parameter(
        0.003, "drift of an object in the world, in rad per square root of a second", minimum=0.0, maximum=10.0
    )
    moving_camera_factor: float = parameter(
        150.0, "factor on both drifts where the camera's own pose is not known", minimum=1.0, maximum=1000.0
    )
    repeated_share: float = parameter(
        0.2, "share of a pose's variance that repeats in every frame and does not average out", minimum=0.0, maximum=1.0
    )
    register_interval_s: float = parameter(
        0.0,
        "objects are found anew at least this often and tracked in between, in seconds; 0 finds them in every frame",
        minimum=0.0,
        maximum=3600.0,
    )
    change_patience: int = parameter(
        3, "updates in a row that contradict a track before it follows them", minimum=1, maximum=100
    )


@dataclass
class _Track:
    """One object through time: filtered ``state`` and latest ``measured`` one in the fixed frame, and its ``pose``.

    ``registered_score`` is that of its last pose which was not tracked but found anew. One that is ``lost`` is
    remembered but not reported, for it is not where it was.
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


class Tracker:
    """Gives poses stable ids and fills in short gaps; feed it one result per frame, in the order of the stamps.

    Tracks live in the world frame when ``T_world_camera`` is given, in the camera frame otherwise. Time that runs
    backwards, or a change between the two frames, starts all tracks anew; ids are never used twice. They are taken from
    ``track_ids``, which several trackers may share, or count from 0. Where stamps stand still poses have ids,
    but are not filtered.
    """

    def __init__(
        self,
        objects: Sequence[ObjectModel],
        config: TrackerConfig | None = None,
        track_ids: Iterator[int] | None = None,
    ) -> None:
        self._objects = tuple(objects)
        self._track_ids = itertools.count() if track_ids is None else track_ids
        self._tracks: list[_Track] = []
        self.configure(config or TrackerConfig())
        self._stamp_ns: int | None = None
        self._in_world = False

    def configure(self, config: TrackerConfig) -> None:
        """Use another configuration from the next update on; tracks and ids stay."""
        self._config = config

    def update(
        self,
        results: PoseResults,
        stamp_ns: int,
        T_world_camera: Array | None = None,
        lost_ids: Collection[int] = (),
    ) -> PoseResults:
        """Return the poses of one frame with ``track_id`` and ``track_age`` (updates), and bridged ones after them.

        A pose that has the ``track_id`` of a track renews it, others are associated. A bridged pose is predicted, its
        covariance grown, its visibility 0 and its score fading; tracks of ``lost_ids`` are not bridged.
        ``T_world_camera`` (4, 4) is the camera at the stamp.
        """
        T_fixed_camera = np.eye(4) if T_world_camera is None else T_world_camera
        self._advance(stamp_ns, in_world=T_world_camera is not None)
        measured = [PoseState(pose.T_camera_object, pose.covariance).moved_to(T_fixed_camera) for pose in results.poses]
        partners = self._partners(results.poses, measured, stamp_ns)
        for pose, state, partner in zip(results.poses, measured, partners):
            if partner is None:
                self._start(pose, state, stamp_ns)
            else:
                self._renew(partner, pose, state, stamp_ns)
        for track in self._tracks:
            track.is_lost |= track.track_id in lost_ids
        return PoseResults(tuple(self._report(stamp_ns, se3.inverse(T_fixed_camera))), results.rejections)

    def expected(self, T_world_camera: Array | None = None) -> tuple[ObjectPose, ...]:
        """Return where the tracked objects would be seen now if they stood still, for a solver to start from."""
        if self._in_world != (T_world_camera is not None):
            return ()
        T_camera_fixed = np.eye(4) if T_world_camera is None else se3.inverse(T_world_camera)
        return tuple(
            dataclasses.replace(track.pose, T_camera_object=T_camera_fixed @ track.state.transform)
            for track in self._tracks
        )

    def predicted(self, T_world_camera: Array | None = None) -> tuple[ObjectPose, ...]:
        """Return the poses of all tracks, with their ids and registered scores, for a solver to follow.

        Where the latest measurement contradicts the filter the object moves, and that measurement is the prediction.
        """
        poses = []
        for track, pose in zip(self._tracks, self.expected(T_world_camera)):
            if track.contradictions:
                T_fixed_camera = np.eye(4) if T_world_camera is None else T_world_camera
                moved = se3.inverse(T_fixed_camera) @ track.measured.transform
                pose = dataclasses.replace(pose, T_camera_object=moved)
            poses.append(dataclasses.replace(pose, track_id=track.track_id, score=track.registered_score))
        return tuple(poses)

    def reset(self) -> None:
        """Forget all tracks."""
        self._tracks = []
        self._stamp_ns = None

    def _advance(self, stamp_ns: int, in_world: bool) -> None:
        """Predict all tracks to the stamp, and drop those not seen for too long, in frames as well as in seconds."""
        if in_world != self._in_world or (self._stamp_ns is not None and stamp_ns < self._stamp_ns):
            self.reset()
        self._in_world = in_world
        config = self._config
        seconds = (stamp_ns - self._stamp_ns) * _NANOSECONDS if self._stamp_ns is not None else 0.0
        factor = 1.0 if in_world else config.moving_camera_factor
        self._stamp_ns = stamp_ns
        self._tracks = [
            track
            for track in self._tracks
            if track.frames_unseen <= config.max_dropout_frames or self._is_recent(track, stamp_ns)
        ]
        for track in self._tracks:
            noise = factor * config.translation_noise, factor * config.rotation_noise
            track.state = track.state.predicted(seconds, *noise)
            track.frames_unseen += 1

    def _is_recent(self, track: _Track, stamp_ns: int) -> bool:
        return (stamp_ns - track.seen_ns) * _NANOSECONDS <= self._config.max_dropout_s

    def _partners(
        self, poses: Sequence[ObjectPose], measured: Sequence[PoseState], stamp_ns: int
    ) -> list[_Track | None]:
        """Return each pose's track: by its id, of others the assignment of least total distance inside the gates."""
        by_id = {track.track_id: track for track in self._tracks}
        partners = [by_id.get(pose.track_id) for pose in poses]
        rows = [row for row, pose in enumerate(poses) if pose.track_id < 0]
        tracks = [track for track in self._tracks if not any(track is partner for partner in partners)]
        if not rows or not tracks:
            return partners
        cost = np.array(
            [[self._distance(track, poses[row], measured[row], stamp_ns) for track in tracks] for row in rows]
        )
        for place, column in zip(*linear_sum_assignment(cost)):
            if cost[place, column] < _NO_MATCH:
                partners[rows[place]] = tracks[column]
        return partners

    def _distance(self, track: _Track, pose: ObjectPose, measured: PoseState, stamp_ns: int) -> float:
        """Return the squared distance in sigmas; position gates, orientation only helps to choose."""
        if track.pose.class_id != pose.class_id:
            return _NO_MATCH
        innovation = track.state.innovation(self._symmetric_to(track, measured))
        model = self._objects[pose.class_id]
        # In the long pauses of a triggered camera an object is not expected to go any further.
        unseen = min((stamp_ns - track.seen_ns) * _NANOSECONDS, self._config.max_dropout_s)
        slack = np.hypot(
            _SLACK_DIAMETERS * model.diameter, self._config.max_speed_m_s * unseen / self._config.gate_sigmas
        )
        # Not the predicted covariance: a camera that may move fast would make every pose fit every track.
        covariance = track.measured.covariance + measured.covariance
        position = covariance[:3, :3] + slack**2 * np.eye(3)
        distance = float(innovation[:3] @ np.linalg.solve(position, innovation[:3]))
        if distance > self._config.gate_sigmas**2:
            return _NO_MATCH
        orientation = covariance[3:, 3:] + _SLACK_RAD**2 * np.eye(3)
        return distance + float(innovation[3:] @ np.linalg.solve(orientation, innovation[3:]))

    def _symmetric_to(self, track: _Track, measured: PoseState) -> PoseState:
        symmetry = self._objects[track.pose.class_id].symmetry
        return PoseState(symmetry.closest(measured.transform, track.state.transform), measured.covariance)

    def _start(self, pose: ObjectPose, state: PoseState, stamp_ns: int) -> None:
        self._tracks.append(_Track(next(self._track_ids), state, state, pose, pose.score, stamp_ns))

    def _renew(self, track: _Track, pose: ObjectPose, measured: PoseState, stamp_ns: int) -> None:
        measured = self._symmetric_to(track, measured)
        turn = track.state.innovation(measured)[3:]
        spread = (track.state.covariance + measured.covariance)[3:, 3:] + _SLACK_RAD**2 * np.eye(3)
        flipped = float(turn @ np.linalg.solve(spread, turn)) > _FLIP_SIGMAS**2
        track.contradictions = track.contradictions + 1 if flipped or track.state.nis_ratio(measured) > 1.0 else 0
        believed = track.contradictions >= self._config.change_patience
        if stamp_ns == track.seen_ns:
            # Without the time between frames nobody knows how far it moved: an average would only look precise.
            track.state = measured
        elif not flipped:
            track.state = track.state.updated(measured, follow=believed)
        elif believed:
            track.state = measured
        track.measured, track.pose, track.seen_ns, track.age = measured, pose, stamp_ns, track.age + 1
        track.is_lost, track.frames_unseen = False, 0
        if pose.track_id < 0:
            track.registered_score = pose.score

    def _report(self, stamp_ns: int, T_camera_fixed: Array) -> list[ObjectPose]:
        """Return the tracks seen now, then those worth bridging where nothing else stands."""
        seen = [track for track in self._tracks if track.seen_ns == stamp_ns]
        unseen = [
            track for track in self._tracks if track.seen_ns < stamp_ns and self._is_worth_bridging(track, stamp_ns)
        ]
        tracks = seen + unseen
        if not tracks:
            return []
        poses = [self._describe(track, stamp_ns, T_camera_fixed) for track in tracks]
        centers = np.stack([se3.apply(pose.T_camera_object, pose.box_center[None])[0] for pose in poses])
        diameters = np.array([self._objects[pose.class_id].diameter for pose in poses])
        rank = -np.arange(len(poses), dtype=np.float64)
        repeats = find_duplicates(centers, rank, diameters, _SAME_PLACE_DIAMETERS)
        return [pose for i, pose in enumerate(poses) if i < len(seen) or repeats[i] is None]

    def _is_worth_bridging(self, track: _Track, stamp_ns: int) -> bool:
        if track.is_lost or not self._is_recent(track, stamp_ns):
            return False
        variance = float(np.linalg.eigvalsh(track.state.covariance[:3, :3])[-1])
        return track.age >= self._config.min_age and variance <= self._config.max_bridged_sigma_m**2

    def _describe(self, track: _Track, stamp_ns: int, T_camera_fixed: Array) -> ObjectPose:
        repeated = self._config.repeated_share * track.measured.covariance
        state = PoseState(track.state.transform, track.state.covariance + repeated).moved_to(T_camera_fixed)
        unseen = (stamp_ns - track.seen_ns) * _NANOSECONDS
        pose = dataclasses.replace(
            track.pose,
            T_camera_object=state.transform,
            covariance=state.covariance,
            track_id=track.track_id,
            track_age=track.age,
        )
        if unseen <= 0.0:
            return pose
        fading = 1.0 - unseen / self._config.max_dropout_s if self._config.max_dropout_s > 0.0 else 0.0
        return dataclasses.replace(pose, visibility=0.0, score=pose.score * max(fading, 0.0))
