"""Frames to poses: detector, pose solver and tracker as one; every command, evaluation and node is an adapter of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from object_pose.core.arrays import Array, Mask
from object_pose.core.errors import ConfigError, ModelError
from object_pose.core.frame import AlignedDepth, CameraFrame
from object_pose.core.geometry import se3
from object_pose.core.pose.config import PROFILES, PoseSolverConfig, Profile
from object_pose.core.pose.contradiction import widen_misaligned
from object_pose.core.pose.misalignment import Misalignment, MisalignmentMonitor
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import CONTRADICTING, ObjectPose, PoseResults
from object_pose.core.tracking.known_objects import KnownObjects
from object_pose.core.tracking.precompile import compile_pose_kernels
from object_pose.core.tracking.tracker import Tracker, TrackerConfig
from object_pose.core.vision.boxes import box_iou
from object_pose.runtime.part_registration import PartRegistration
from object_pose.runtime.parts_file import SUFFIX
from object_pose.runtime.predictor import Predictor, PredictorConfig, load_card
from object_pose.runtime.recent_frames import RecentFrame, RecentFrames
from object_pose.runtime.registration import KeypointRegistration, Registration
from object_pose.runtime.timing import StageClock
from object_pose.runtime.view_cache import cached_view_models

_SAME_BOX, _NEAR_BOX = 0.6, 0.3  # overlap of a detection with a track that it confirms, and with one that it may show
# Frames through which a late pose is carried beside tracking, and then, while that waits, to the newest.
_CARRIED_FRAMES, _LAST_FRAMES = 4, 2


@dataclass(frozen=True)
class FrameEstimate:
    """What one frame gave; ``timings_ms`` per stage, and ``total``.

    ``misalignment`` is why the image and depth contradict each other in this and the latest frames, if they do.
    """

    detections: Detections
    results: PoseResults
    timings_ms: Mapping[str, float]
    misalignment: Misalignment | None = None


class PoseEstimator:
    """Estimates the poses of a model's objects, given as a file, the name of a shipped model, or one that is open.

    Of a ``.parts`` file it finds the parts that nothing was trained on; ``registration`` is how objects are found anew.
    ``profile`` is 'live' for a camera's frames, or 'single_image' for a thorough search that gives every pose with its
    score; it says what ``detector_config.decoding`` and ``solver_config`` are where they are not given. A model given
    open keeps its decoding. With a ``tracker_config`` objects have ids, taken from ``track_ids`` where several
    estimators share them, and frames come in the order of their stamps. Raises ``ModelError`` when the model cannot be
    used or does not carry the geometry of its objects, ``ConfigError`` for an unknown profile. ``track`` and
    ``register_late`` may run in two threads; everything else is for one thread at a time.
    """

    def __init__(
        self,
        model: str | Path | Predictor,
        detector_config: PredictorConfig | None = None,
        solver_config: PoseSolverConfig | None = None,
        tracker_config: TrackerConfig | None = None,
        track_ids: Iterator[int] | None = None,
        profile: str = "live",
    ) -> None:
        defaults = _find_profile(profile)
        self.path = model.path if isinstance(model, Predictor) else Path(model)
        self.card = model.card if isinstance(model, Predictor) else load_card(model)
        if not self.card.objects:
            raise ModelError(
                f"model file {self.path} carries no object geometry, so it detects but cannot estimate poses",
                "train and export it for the task 'pose'",
            )
        self.solver_config, self._tracker_config = solver_config or defaults.solver, tracker_config
        self.registration: Registration
        if self.path.suffix == SUFFIX:
            self.registration = PartRegistration(self.path, self.solver_config)
        else:
            of_detector = detector_config or PredictorConfig(), self.solver_config, defaults.decoding
            model = model if isinstance(model, Predictor) else self.path
            self.registration = KeypointRegistration(model, self.card, *of_detector)
        scale_sigma = self.solver_config.depth.scale_sigma
        self._tracker = Tracker(self.card.objects, tracker_config, track_ids, scale_sigma) if tracker_config else None
        self._alignment = MisalignmentMonitor()
        self._registered_ns: int | None = None
        self._recent = RecentFrames()
        self._verified: dict[int, int] = {}  # turns by track id
        self._found: tuple[CameraFrame, Sequence[ObjectPose]] | None = None  # anew, and not tracked since
        self._lock = threading.Lock()  # of the tracker and the recent frames

    @property
    def detector(self) -> Predictor:
        """The model, opened when it is first needed."""
        return self.registration.detector

    @cached_property
    def _aligners(self) -> tuple[KnownObjects, KnownObjects]:
        """What tracks, and what carries late poses meanwhile: each learns how the objects look."""
        views = cached_view_models(self.card.objects)
        first, second = (KnownObjects(self.card.objects, views, self.solver_config) for _ in range(2))
        return first, second

    def prepare(self) -> None:
        """Open and load now what the first frame would need."""
        compile_pose_kernels()
        _ = self._aligners if self._tracker else None
        self.registration.prepare()

    def forget_tracks(self) -> None:
        """Begin anew: what is seen next are other objects, with other ids."""
        self._registered_ns = self._found = None
        self._alignment.reset()
        with self._lock:
            self._recent.clear()
            if self._tracker:
                self._tracker.reset()

    def configure(
        self, detector_config: PredictorConfig, solver_config: PoseSolverConfig, tracker_config: TrackerConfig
    ) -> None:
        """Use other configurations from the next frame on; tracks and ids stay, as does a model given open."""
        self.registration.configure(detector_config, solver_config)
        if solver_config != self.solver_config:
            if self._tracker:
                for aligner in self._aligners:
                    aligner.configure(solver_config)
                self._tracker.scale_sigma = solver_config.depth.scale_sigma
            self.solver_config = solver_config
        if self._tracker and tracker_config != self._tracker_config:
            self._tracker.configure(tracker_config)
            self._tracker_config = tracker_config

    def estimate(self, frame: CameraFrame, T_world_camera: Array | None = None) -> FrameEstimate:
        """Register or track the next frame of a sequence, whichever is due.

        Objects are registered in the first frame, after one was lost or while none is known, where time runs backwards,
        every ``register_interval_s`` of the tracker's, and always without a tracker.
        """
        if self._is_due(frame.stamp_ns):
            return self.register(frame, T_world_camera)
        return self.track(frame, T_world_camera)

    def register(
        self,
        frame: CameraFrame,
        T_world_camera: Array | None = None,
        detections: Detections | None = None,
        with_ids: bool = True,
    ) -> FrameEstimate:
        """Find the objects of a frame anew, from ``detections`` where they are known already.

        Depth gives the poses their accuracy; where it is missing, not wanted or of no use, the contours in the colour
        image do. With the option ``second_pass`` objects are searched for again where confirmed ones cover them.
        ``T_world_camera`` (4, 4) lets the tracker follow a moving camera; without ``with_ids`` it leaves this frame
        out. Raises ``DataError`` where detections have to be made and there is no colour.
        """
        clock = StageClock()
        tracker = self._tracker if with_ids else None
        self._registered_ns = frame.stamp_ns
        with clock.stage("total"):
            depth = self._depth(frame)
            if detections is None:
                detections = self.registration.detect(frame, depth, clock)
            with clock.stage("pose"):
                expected = tracker.expected(T_world_camera) if tracker else ()
                results = self._solve(detections, frame, expected)
            if self.solver_config.second_pass and depth and results.poses:
                with clock.stage("second_pass"):
                    results = self.registration.find_covered(frame, depth, results)
            if tracker:
                with clock.stage("tracking"):
                    results = tracker.update(results, frame.stamp_ns, T_world_camera)
                self._found = frame, results.poses
                results = self._widened(results, frame)
        return FrameEstimate(detections, results, clock.timings_ms, self._alignment.found)

    def track(self, frame: CameraFrame, T_world_camera: Array | None = None) -> FrameEstimate:
        """Carry the known objects to a frame without the detector, from where the tracker predicts them.

        Each is aligned with depth, or with its contour in colour where depth is missing or of no use. What is not found
        there again is a rejection with its ``track_id``. As ``LOST`` or ``DUPLICATE`` it is not reported until it is
        found again; otherwise too little is seen of it, and it is bridged. Raises ``ConfigError`` without a tracker.
        """
        tracker = self._known_tracker()
        clock = StageClock()
        with clock.stage("total"), self._lock:
            with clock.stage("pose"):
                if self._found:
                    self._aligners[0].learn(*self._found)
                    self._found = None
                known = tracker.predicted(frame.stamp_ns, T_world_camera)
                results = self._aligners[0].align(frame, known)
            with clock.stage("tracking"):
                is_one_lost = any(item.reason in CONTRADICTING for item in results.rejections)
                results = tracker.update(results, frame.stamp_ns, T_world_camera)
            self._recent.add(RecentFrame(frame, T_world_camera))
            if is_one_lost or not results.poses:
                self._registered_ns = None
            results = self._widened(results, frame)
        detections = Detections.empty(self.card.keypoint_count)
        return FrameEstimate(detections, results, clock.timings_ms, self._alignment.found)

    def register_late(
        self,
        frame: CameraFrame,
        T_world_camera: Array | None = None,
        detections: Detections | None = None,
        is_tracked: bool = True,
        is_current: Callable[[], bool] = lambda: True,
    ) -> FrameEstimate:
        """Find the objects of a frame anew, whatever newer frames have been tracked meanwhile.

        Detections that show a tracked object where it was in that frame confirm it, and need no pose. Of others the
        poses are found and compared with the tracks as they were: they confirm, correct and, carried through the frames
        since, begin tracks; what was in full view and is not detected time and again is lost if its own evidence is
        weak. Changes show in the next frame that is tracked. Returns what the frame shows, as far as it is known now.
        One that is not ``is_tracked`` is left to this call, which updates the tracks unless newer frames have. Where
        the frame is not ``is_current`` any more, because tracks were forgotten since, they stay as they are.
        """
        tracker = self._known_tracker()
        clock = StageClock()
        with clock.stage("total"):
            if detections is None:
                detections = self.registration.detect(frame, self._depth(frame), clock)
            with self._lock:
                then = tracker.at(frame.stamp_ns)
            overlap = _overlaps(detections, then)
            has_keypoints = np.asarray(np.isfinite(detections.keypoint_sigmas).any(axis=1))
            confirmed = self._confirmed(overlap, then, has_keypoints)
            # A candidate that confirms a track needs none of its other hypotheses.
            confirmed = np.isin(detections.candidate_ids, detections.candidate_ids[confirmed])
            with clock.stage("pose"):
                doubtful = detections.select(~confirmed & has_keypoints)
                results = self._solve(doubtful, frame, then)
            seen = {pose.track_id for column, pose in enumerate(then) if np.any(overlap[:, column] >= _NEAR_BOX)}
            with clock.stage("tracking"):
                with self._lock:
                    if not is_current():
                        return FrameEstimate(detections, results, clock.timings_ms, self._alignment.found)
                    if not is_tracked and not tracker.has_passed(frame.stamp_ns):
                        results = self._widened(tracker.update(results, frame.stamp_ns, T_world_camera), frame)
                        return FrameEstimate(detections, results, clock.timings_ms, self._alignment.found)
                    matches = tracker.match_late(results, seen, frame.stamp_ns, T_world_camera)
                self._begin(matches.found, frame, T_world_camera, is_current)
        solved = {pose.track_id for pose in matches.poses}
        poses = (*matches.poses, *(pose for pose in then if pose.track_id not in solved))
        results = PoseResults(poses, results.rejections)
        return FrameEstimate(detections, results, clock.timings_ms, self._alignment.found)

    def _solve(self, detections: Detections, frame: CameraFrame, expected: Sequence[ObjectPose]) -> PoseResults:
        # Without a tracker frames have nothing to do with each other.
        known = self._alignment.found if self._tracker else None
        results = self.registration.solve(detections, frame, expected, known)
        self._alignment.add(results.image_offsets, frame.stamp_ns)
        return results

    def _widened(self, tracked: PoseResults, frame: CameraFrame) -> PoseResults:
        found = self._alignment.found
        return replace(tracked, poses=widen_misaligned(tracked.poses, found, frame.camera)) if found else tracked

    def confident(self, poses: Sequence[ObjectPose]) -> tuple[ObjectPose, ...]:
        """Return those tracked poses of a frame that detections need only confirm; one in turn is to be verified."""
        sure = [pose for pose in poses if self._is_sure(pose)]
        if not sure:
            return ()
        with self._lock:
            due = min(sure, key=lambda pose: self._verified.get(pose.track_id, -1))
            turn = max(self._verified.values(), default=0) + 1
            self._verified = {pose.track_id: self._verified.get(pose.track_id, -1) for pose in poses}
            self._verified[due.track_id] = turn
        return tuple(pose for pose in sure if pose is not due)

    def _confirmed(self, overlap: Array, then: Sequence[ObjectPose], has_keypoints: Mask) -> Mask:
        """Return which detections (N,) show a sure track where it was, and need no pose."""
        is_sure = np.array([self._is_sure(pose) for pose in then], dtype=bool)
        confirms = (overlap >= _SAME_BOX) & is_sure
        if not np.any(confirms.any(axis=1) & ~has_keypoints):
            # All have keypoints: the detection node did not know which objects are tracked.
            only_confirmed = {pose.track_id for pose in self.confident(then)}
            confirms &= np.array([pose.track_id in only_confirmed for pose in then], dtype=bool)
            return np.asarray(confirms.any(axis=1))
        return np.asarray(confirms.any(axis=1) & ~has_keypoints)

    def _is_sure(self, pose: ObjectPose) -> bool:
        assert self._tracker_config
        return pose.score >= self._tracker_config.min_sure_score and not pose.visibility <= 0.0

    def _begin(
        self,
        found: Sequence[ObjectPose],
        frame: CameraFrame,
        T_world_camera: Array | None,
        is_current: Callable[[], bool],
    ) -> None:
        """Carry new poses from their frame to the newest, and begin their tracks there; what is lost has none."""
        tracker = self._known_tracker()
        with self._lock:
            found = tracker.not_followed(found, frame.stamp_ns)
            newer = self._recent.after(frame.stamp_ns, _CARRIED_FRAMES)
        if not found:
            return
        self._aligners[1].learn(frame, found)
        found, here = self._carried(found, RecentFrame(frame, T_world_camera), newer)
        with self._lock:
            if not is_current():
                return
            # On a slow machine there would be a newer frame each time.
            found, here = self._carried(found, here, self._recent.after(here.frame.stamp_ns, _LAST_FRAMES))
            tracker.begin(found, here.frame.stamp_ns, here.T_world_camera)
            self._aligners[0].learn(here.frame, found)

    def _carried(
        self, found: Sequence[ObjectPose], here: RecentFrame, newer: Sequence[RecentFrame]
    ) -> tuple[Sequence[ObjectPose], RecentFrame]:
        """Return where poses found ``here`` are in the last of newer frames, without those that are lost, and it."""
        for recent in newer:
            moved = _seen_from(found, here.T_world_camera, recent.T_world_camera)
            results = self._aligners[1].align(recent.frame, moved)
            lost = {item.track_id for item in results.rejections if item.reason in CONTRADICTING}
            now = {pose.track_id: pose for pose in results.poses}
            kept = [pose for pose in moved if pose.track_id not in lost]
            # The score stays the one that they were found with.
            found = [replace(now.get(pose.track_id, pose), score=pose.score) for pose in kept]
            here = recent
        return found, here

    def _known_tracker(self) -> Tracker:
        if self._tracker is None:
            raise ConfigError("there is no tracker, so no object is known", "give the estimator a tracker_config")
        return self._tracker

    def _is_due(self, stamp_ns: int) -> bool:
        """Return whether objects are to be found anew."""
        if self._tracker_config is None or self._registered_ns is None:
            return True
        since_s = (stamp_ns - self._registered_ns) * 1e-9
        return since_s < 0.0 or since_s >= self._tracker_config.register_interval_s

    def _depth(self, frame: CameraFrame) -> AlignedDepth | None:
        if frame.depth_m is None or not self.solver_config.use_depth:
            return None
        return AlignedDepth(frame.depth_m, frame.camera)


def needs_color(config: PoseSolverConfig) -> bool:
    """Return whether poses of given detections may need the colour image: for contours, or for the second pass."""
    with_depth = config.second_pass or config.contour.max_judged > 0
    return config.contour.max_poses > 0 or (with_depth and config.use_depth)


def _find_profile(name: str) -> Profile:
    if name not in PROFILES:
        raise ConfigError(f"there is no profile '{name}'", f"choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def _overlaps(detections: Detections, poses: Sequence[ObjectPose]) -> Array:
    """Return the (N, M) overlap of boxes of detections with those of tracked poses of the same class, 0 of others."""
    boxes = np.array([pose.box_xyxy for pose in poses]).reshape(-1, 4)
    class_ids = np.array([pose.class_id for pose in poses], dtype=np.int64)
    return np.asarray(box_iou(detections.boxes_xyxy, boxes) * (detections.class_ids[:, None] == class_ids))


def _seen_from(
    poses: Sequence[ObjectPose], T_world_before: Array | None, T_world_now: Array | None
) -> list[ObjectPose]:
    """Return poses that stand still in the world as a camera that may have moved sees them."""
    if T_world_before is None or T_world_now is None:
        return list(poses)
    T_now_before = se3.inverse(T_world_now) @ T_world_before
    return [replace(pose, T_camera_object=T_now_before @ pose.T_camera_object) for pose in poses]
