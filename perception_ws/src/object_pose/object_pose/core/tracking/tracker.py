"""Identities over time: poses are matched to tracks, filtered, and bridged while an object is not seen.

Poses may come late: those that were found anew in an older frame are compared with the tracks as they were in it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.linear import squared_distance
from object_pose.core.object_model import ObjectModel
from object_pose.core.params import parameter
from object_pose.core.pose.acceptance import find_duplicates
from object_pose.core.pose.confidence import add_systematic
from object_pose.core.results.pose import CONTRADICTING, ObjectPose, PoseRejection, PoseResults, RejectionReason
from object_pose.core.tracking.association import NANOSECONDS, SAME_PLACE_DIAMETERS, SLACK_RAD, Association, Track
from object_pose.core.tracking.camera_motion import common_motion
from object_pose.core.tracking.filter import NEWEST_SHARE, PoseState, Velocity
from object_pose.core.tracking.history import History, Moment
from object_pose.core.tracking.late_matching import LateMatcher, LateMatches

# A rotation this many sigmas off is a flip of the estimate rather than a turn of the object.
_FLIP_SIGMAS = 3.0
_BESIDE_NS = 100_000_000
# How far an object may go between two frames beyond what is expected: metres, radians, and a share of its velocity.
_STEP_M, _STEP_RAD, _SURPRISE = 0.003, 0.03, 0.5
# Without depth a frame tells distances so weakly that a closer expectation outweighs it, and all objects go on as the
# camera did before it turned back: so they may be off by this share of the distance, too.
_RAY_STEP = 0.03
# What is lost is found again where it was with at least this share of its score and this much of its surface.
_FOUND_AGAIN_SCORE, _FOUND_AGAIN_VISIBILITY = 0.9, 0.5
_MOVES_ON_S = 0.25  # for how long an object is expected to go on as it moved
_LEAST_STILL = 3  # objects that say how the camera moved, with which another one can be seen to move itself


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
    miss_patience: int = parameter(
        3, "detections in a row that miss a doubtful track in full view before it is lost", minimum=1, maximum=100
    )
    min_sure_score: float = parameter(
        0.75, "a track of at least this score is not lost by missing detections", minimum=0.0, maximum=1.0
    )


class Tracker:
    """Gives poses stable ids and fills in short gaps; feed it one result per frame, in the order of the stamps.

    Tracks live in the world frame when ``T_world_camera`` is given, in the camera frame otherwise. Time that runs
    backwards, or a change between the two frames, starts all tracks anew; ids are never used twice. They are taken from
    ``track_ids``, which several trackers may share, or count from 0. Where stamps stand still poses have ids,
    but are not filtered. ``scale_sigma`` is the relative error of all depths, which no averaging takes away.
    """

    def __init__(
        self,
        objects: Sequence[ObjectModel],
        config: TrackerConfig | None = None,
        track_ids: Iterator[int] | None = None,
        scale_sigma: float = 0.0,
    ) -> None:
        self._objects = tuple(objects)
        self.scale_sigma = scale_sigma
        self._track_ids = itertools.count() if track_ids is None else track_ids
        self._tracks: list[Track] = []
        self._history = History()
        self._ended: list[PoseRejection] = []
        self.configure(config or TrackerConfig())
        self._stamp_ns: int | None = None
        self._step_s = 0.0
        self._camera_twist = np.zeros(6)  # of what stands still, as an unknown camera sees it; a second
        self._in_world = False

    def configure(self, config: TrackerConfig) -> None:
        """Use another configuration from the next update on; tracks and ids stay."""
        self._config = config
        self._association = Association(self._objects, config.gate_sigmas, config.max_speed_m_s, config.max_dropout_s)
        self._late = LateMatcher(self._association, config.change_patience, config.miss_patience, config.min_sure_score)

    def update(
        self,
        results: PoseResults,
        stamp_ns: int,
        T_world_camera: Array | None = None,
    ) -> PoseResults:
        """Return the poses of one frame with ``track_id`` and ``track_age`` (updates), and bridged ones after them.

        A pose that has the ``track_id`` of a track renews it, others are associated. A bridged pose is predicted, its
        covariance grown, its visibility 0 and its score fading; tracks rejected as ``LOST`` or ``DUPLICATE`` are
        not bridged, the latter not followed either until they are found anew.
        ``T_world_camera`` (4, 4) is the camera at the stamp.
        """
        self._advance(stamp_ns, in_world=T_world_camera is not None)
        results = self._without_doubtful_returns(results)
        measured = [self._measured(pose).moved_to(T_world_camera) for pose in results.poses]
        partners = self._partners(results.poses, measured, stamp_ns)
        before = {track.track_id: track.measured.transform for track in self._tracks if track.frames_unseen == 1}
        for pose, state, partner in zip(results.poses, measured, partners):
            if partner is None:
                self._start(pose, state, stamp_ns)
            else:
                self._renew(partner, pose, state, stamp_ns)
        self._follow_camera(before, stamp_ns)
        reasons = {item.track_id: item.reason for item in results.rejections}
        for track in self._tracks:
            reason = reasons.get(track.track_id)
            track.is_lost |= reason in CONTRADICTING
            # Followed on, what stands on another object would only slip to the next surface that it fits.
            track.is_missed |= reason is RejectionReason.DUPLICATE
        T_camera_world = None if T_world_camera is None else se3.inverse(T_world_camera)
        reported = tuple(self._report(stamp_ns, T_camera_world))
        unsure = [track for track in self._tracks if track.is_tentative and track.seen_ns == stamp_ns]
        tentative = tuple(self._describe(track, stamp_ns, T_camera_world) for track in unsure)
        self._history.add(Moment(stamp_ns, _fixed(T_world_camera), reported, tentative))
        ended, self._ended = self._ended, []
        return PoseResults(reported, (*results.rejections, *ended))

    def _without_doubtful_returns(self, results: PoseResults) -> PoseResults:
        """Reject the poses of lost tracks that were followed to where they seem to be again, but not surely."""
        lost = {track.track_id: track for track in self._tracks if track.is_lost}
        poses, rejections = [], []
        for pose in results.poses:
            track = lost.get(pose.track_id)
            if track is None or _is_found_again(pose, track.registered_score):
                poses.append(pose)
            else:
                of_pose = pose.class_id, pose.class_name, pose.score, pose.box_xyxy
                detail = "it is not surely there again"
                rejections.append(PoseRejection(*of_pose, RejectionReason.LOST, detail, pose.track_id))
        return PoseResults(tuple(poses), (*results.rejections, *rejections))

    def expected(self, T_world_camera: Array | None = None) -> tuple[ObjectPose, ...]:
        """Return where the tracked objects would be seen now if they stood still, for a solver to start from."""
        if self._in_world != (T_world_camera is not None):
            return ()
        T_camera_fixed = se3.inverse(_fixed(T_world_camera))
        return tuple(
            dataclasses.replace(track.pose, T_camera_object=T_camera_fixed @ track.state.transform)
            for track in self._tracks
        )

    def predicted(self, stamp_ns: int, T_world_camera: Array | None = None) -> tuple[ObjectPose, ...]:
        """Return where tracks are expected at a stamp, with their ids and registered scores, for a solver to follow.

        Where the latest measurement contradicts the filter the object moves, and goes on as it did. Late poses that
        contradict a track for long enough have corrected it. The covariance is how far each may be from there.
        """
        for track in self._tracks:
            self._correct(track)
        if self._in_world != (T_world_camera is not None):
            return ()
        T_camera_fixed = se3.inverse(_fixed(T_world_camera))
        step_s = (stamp_ns - self._stamp_ns) * NANOSECONDS if self._stamp_ns is not None else 0.0
        camera_motion = self._camera_motion(step_s)
        poses = []
        for track in self._tracks:
            if track.is_missed:
                continue
            seconds = (stamp_ns - track.seen_ns) * NANOSECONDS
            if track.contradictions and 0.0 <= seconds < _MOVES_ON_S:
                T_fixed_object = track.velocity.moved(track.measured.transform, seconds)
            else:
                T_fixed_object = _moved(track, step_s, camera_motion)
            poses.append(
                dataclasses.replace(
                    track.pose,
                    T_camera_object=T_camera_fixed @ T_fixed_object,
                    track_id=track.track_id,
                    score=track.registered_score,
                    covariance=self._spread(track, seconds, T_camera_fixed @ T_fixed_object),
                )
            )
        return tuple(poses)

    def _spread(self, track: Track, seconds: float, T_camera_object: Array) -> Array:
        """Return the covariance (6, 6) of where a track, expected at a pose, may be so long after it was seen."""
        is_moving = track.contradictions > 0 or track.moves_itself
        steps = math.sqrt(1.0 + track.frames_unseen)
        sigma_m, sigma_rad = (step * (2.0 if is_moving else 1.0) * steps for step in (_STEP_M, _STEP_RAD))
        if is_moving and seconds < _MOVES_ON_S:
            sigma_m += _SURPRISE * seconds * float(np.linalg.norm(track.velocity.linear))
            sigma_rad += _SURPRISE * seconds * float(np.linalg.norm(track.velocity.angular))
        covariance = np.diag((sigma_m**2, sigma_m**2, sigma_m**2, sigma_rad**2, sigma_rad**2, sigma_rad**2))
        if not track.pose.depth_used:
            covariance = add_systematic(covariance, T_camera_object[:3, 3], _RAY_STEP * steps)
        return covariance

    def at(self, stamp_ns: int) -> tuple[ObjectPose, ...]:
        """Return the poses that were reported in the frame of a stamp, or right beside it; empty where none is kept."""
        moment = self._history.nearest(stamp_ns)
        return moment.poses if moment and abs(moment.stamp_ns - stamp_ns) <= _BESIDE_NS else ()

    def has_passed(self, stamp_ns: int) -> bool:
        """Return whether the latest update was of this stamp or a later one."""
        return self._stamp_ns is not None and self._stamp_ns >= stamp_ns

    def match_late(
        self,
        results: PoseResults,
        seen_ids: Collection[int],
        stamp_ns: int,
        T_world_camera: Array | None = None,
    ) -> LateMatches:
        """Compare poses found anew in an older frame with the tracks as they were in it.

        A pose that agrees confirms its track; several in a row that contradict it correct it. Tracks of ``seen_ids``
        were detected there without being solved. What is neither, though it was in full view, is missed, and lost where
        that goes on and its own evidence is weak. ``T_world_camera`` (4, 4) is the camera at ``stamp_ns``.
        """
        moment = self._history.nearest(stamp_ns)
        if moment is None or self._in_world != (T_world_camera is not None):
            return LateMatches((), ())
        poses, tracks = results.poses, self._tracks
        measured = [self._measured(pose).moved_to(T_world_camera) for pose in poses]
        matches = self._late.match(poses, measured, tracks, moment, seen_ids, stamp_ns, self._track_ids)
        seen = {*seen_ids, *(pose.track_id for pose in matches.poses)}
        self._ended += self._late.end_missed(tracks, moment, seen)
        return matches

    def not_followed(self, poses: Sequence[ObjectPose], stamp_ns: int) -> list[ObjectPose]:
        """Return those of poses with ids whose tracks were not seen at a stamp or later, or are not there."""
        followed = {item.track_id for item in self._tracks if item.seen_ns >= stamp_ns and not item.is_lost}
        return [pose for pose in poses if pose.track_id not in followed]

    def begin(self, poses: Sequence[ObjectPose], stamp_ns: int, T_world_camera: Array | None = None) -> None:
        """Start tracks of poses that have their ids, or find again those which are known under them.

        Where a track is already, none is started. Nothing is reported before the next update.
        """
        if self._in_world != (T_world_camera is not None):
            return
        by_id = {track.track_id: track for track in self._tracks}
        for pose in poses:
            state = self._measured(pose).moved_to(T_world_camera)
            track = by_id.get(pose.track_id)
            if track is None and self._association.is_taken(pose, state, self._tracks):
                continue
            if track is None:
                is_tentative = pose.score < self._config.min_sure_score
                track = Track(pose.track_id, state, state, pose, pose.score, stamp_ns, is_tentative=is_tentative)
                self._tracks.append(track)
            elif track.is_lost or track.seen_ns < stamp_ns:
                track.state, track.measured, track.pose = state, state, pose
                track.registered_score, track.seen_ns = pose.score, stamp_ns
                track.is_lost = track.is_missed = False
                track.velocity, track.contradictions, track.frames_unseen = Velocity.zero(), 0, 0

    def reset(self) -> None:
        """Forget all tracks."""
        self._tracks = []
        self._stamp_ns = None
        self._camera_twist = np.zeros(6)
        self._history.clear()

    def _advance(self, stamp_ns: int, in_world: bool) -> None:
        """Predict all tracks to the stamp, and drop those not seen for too long, in frames as well as in seconds."""
        if in_world != self._in_world or (self._stamp_ns is not None and stamp_ns < self._stamp_ns):
            self.reset()
        self._in_world = in_world
        config = self._config
        seconds = (stamp_ns - self._stamp_ns) * NANOSECONDS if self._stamp_ns is not None else 0.0
        self._step_s = seconds
        factor = 1.0 if in_world else config.moving_camera_factor
        self._stamp_ns = stamp_ns
        self._tracks = [
            track
            for track in self._tracks
            if track.frames_unseen <= config.max_dropout_frames or self._is_recent(track, stamp_ns)
        ]
        camera_motion = self._camera_motion(seconds)
        for track in self._tracks:
            noise = factor * config.translation_noise, factor * config.rotation_noise
            track.state = track.state.predicted(seconds, *noise).at(_moved(track, seconds, camera_motion))
            track.frames_unseen += 1

    def _camera_motion(self, seconds: float) -> Array | None:
        """Return how (4, 4) what stands still moves on in the frame of a camera that moves in an unknown way."""
        if self._in_world or not 0.0 < seconds < _MOVES_ON_S:
            return None
        return se3.exp(seconds * self._camera_twist)

    def _follow_camera(self, before: Mapping[int, Array], stamp_ns: int) -> None:
        """Measure how the camera moved since the last frame, by the poses ``before`` of the tracks seen in both."""
        if self._in_world or not 0.0 < self._step_s < _MOVES_ON_S:
            self._camera_twist = np.zeros(6)
            return
        pairs = [track for track in self._tracks if track.seen_ns == stamp_ns and track.track_id in before]
        pairs = [track for track in pairs if not track.has_flipped]
        if not pairs:
            return
        expected = se3.exp(self._step_s * self._camera_twist)
        motion, is_still = common_motion(
            [before[track.track_id] for track in pairs],
            [track.measured.transform for track in pairs],
            [self._objects[track.pose.class_id].diameter for track in pairs],
            expected,
        )
        for track, still in zip(pairs, is_still):
            track.moves_itself = not still and len(pairs) >= _LEAST_STILL
        newest = se3.log(motion) / self._step_s
        self._camera_twist = (1.0 - NEWEST_SHARE) * self._camera_twist + NEWEST_SHARE * newest

    def _is_recent(self, track: Track, stamp_ns: int) -> bool:
        return (stamp_ns - track.seen_ns) * NANOSECONDS <= self._config.max_dropout_s

    def _partners(
        self, poses: Sequence[ObjectPose], measured: Sequence[PoseState], stamp_ns: int
    ) -> list[Track | None]:
        """Return each pose's track: by its id, of others the assignment of least total distance inside the gates."""
        by_id = {track.track_id: track for track in self._tracks}
        partners = [by_id.get(pose.track_id) for pose in poses]
        rows = [row for row, pose in enumerate(poses) if pose.track_id < 0]
        tracks = [track for track in self._tracks if not any(track is partner for partner in partners)]
        states = [track.state.transform for track in tracks]
        found = self._association.assign(
            [poses[row] for row in rows], [measured[row] for row in rows], tracks, states, stamp_ns
        )
        for row, partner in zip(rows, found):
            partners[row] = partner
        return partners

    def _correct(self, track: Track) -> None:
        """Move a track by the correction that late poses ask for."""
        if track.correction is None:
            return
        track.state, track.measured = (
            track.measured.at(state.transform @ track.correction) for state in (track.state, track.measured)
        )
        track.doubts, track.contradictions, track.correction = 0, 0, None

    def _measured(self, pose: ObjectPose) -> PoseState:
        # Without depth the distance is known by sizes in the image, which err in all frames alike.
        scale_sigma = self.scale_sigma if pose.depth_used else 1.0
        return PoseState.measured(pose.T_camera_object, pose.covariance, scale_sigma)

    def _symmetric_to(self, track: Track, measured: PoseState) -> PoseState:
        symmetry = self._objects[track.pose.class_id].symmetry
        if symmetry.is_trivial:
            return measured
        return measured.at(symmetry.closest(measured.transform, track.state.transform))

    def _start(self, pose: ObjectPose, state: PoseState, stamp_ns: int) -> None:
        self._tracks.append(Track(next(self._track_ids), state, state, pose, pose.score, stamp_ns))

    def _renew(self, track: Track, pose: ObjectPose, measured: PoseState, stamp_ns: int) -> None:
        measured = self._symmetric_to(track, measured)
        turn = track.state.innovation(measured)[3:]
        spread = (track.state.covariance + measured.covariance)[3:, 3:] + SLACK_RAD**2 * np.eye(3)
        flipped = squared_distance(spread, turn) > _FLIP_SIGMAS**2
        track.contradictions = track.contradictions + 1 if flipped or track.state.nis_ratio(measured) > 1.0 else 0
        seconds = (stamp_ns - track.seen_ns) * NANOSECONDS if not flipped else 0.0
        track.velocity = track.velocity.updated(track.measured.transform, measured.transform, seconds)
        track.has_flipped = flipped
        believed = track.contradictions >= self._config.change_patience
        if stamp_ns == track.seen_ns:
            # Without the time between frames nobody knows how far it moved: an average would only look precise.
            track.state = measured
        elif not flipped:
            track.state = track.state.updated(measured, follow=believed)
        elif believed:
            track.state = measured
        track.measured, track.pose, track.seen_ns, track.age = measured, pose, stamp_ns, track.age + 1
        track.is_lost, track.is_missed, track.frames_unseen = False, False, 0
        if pose.track_id < 0:
            track.registered_score = pose.score

    def _report(self, stamp_ns: int, T_camera_world: Array | None) -> list[ObjectPose]:
        """Return the tracks seen now, then those worth bridging where nothing else stands."""
        seen = [track for track in self._tracks if track.seen_ns == stamp_ns and not track.is_tentative]
        unseen = [
            track for track in self._tracks if track.seen_ns < stamp_ns and self._is_worth_bridging(track, stamp_ns)
        ]
        tracks = seen + unseen
        if not tracks:
            return []
        poses = [self._describe(track, stamp_ns, T_camera_world) for track in tracks]
        centers = np.stack([se3.apply(pose.T_camera_object, pose.box_center[None])[0] for pose in poses])
        diameters = np.array([self._objects[pose.class_id].diameter for pose in poses])
        rank = -np.arange(len(poses), dtype=np.float64)
        repeats = find_duplicates(centers, rank, diameters, SAME_PLACE_DIAMETERS)
        return [pose for i, pose in enumerate(poses) if i < len(seen) or repeats[i] is None]

    def _is_worth_bridging(self, track: Track, stamp_ns: int) -> bool:
        if track.is_lost or track.is_tentative or not self._is_recent(track, stamp_ns):
            return False
        variance = float(np.linalg.eigvalsh(track.state.covariance[:3, :3])[-1])
        return track.age >= self._config.min_age and variance <= self._config.max_bridged_sigma_m**2

    def _describe(self, track: Track, stamp_ns: int, T_camera_world: Array | None) -> ObjectPose:
        # What colour errs by hardly differs from frame to frame.
        repeated_share = self._config.repeated_share if track.pose.depth_used else 1.0
        covariance = track.state.reported_covariance(track.measured, repeated_share)
        state = PoseState.measured(track.state.transform, covariance).moved_to(T_camera_world)
        unseen = (stamp_ns - track.seen_ns) * NANOSECONDS
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


def _fixed(T_world_camera: Array | None) -> Array:
    """Return the camera (4, 4) in the frame that tracks are kept in: its own where the world's is not known."""
    return np.eye(4) if T_world_camera is None else T_world_camera


def _moved(track: Track, seconds: float, camera_motion: Array | None) -> Array:
    """Return where a track goes on to; ``camera_motion`` (4, 4) is that of what stands still before a camera."""
    if camera_motion is None:
        return track.state.transform
    if track.moves_itself:
        return track.velocity.moved(track.state.transform, seconds)
    return np.asarray(camera_motion @ track.state.transform)


def _is_found_again(pose: ObjectPose, registered_score: float) -> bool:
    """Return whether a pose that was followed is as sure as when it was found; without depth its score says so."""
    is_seen = not pose.visibility < _FOUND_AGAIN_VISIBILITY
    return pose.score >= _FOUND_AGAIN_SCORE * registered_score and is_seen
