"""Frames to poses: detector, pose solver and tracker as one; every command, evaluation and node is an adapter of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import ConfigError, DataError, ModelError
from object_pose.core.frame import AlignedDepth, CameraFrame
from object_pose.core.pose.config import PROFILES, PoseSolverConfig, Profile
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import PoseResults, RejectionReason
from object_pose.core.tracking.tracker import Tracker, TrackerConfig
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.roi import not_measured, painted_over
from object_pose.runtime.predictor import Predictor, PredictorConfig, load_card
from object_pose.runtime.timing import StageClock

# Where a tracked object is not: the image says so, or another one is there.
_CONTRADICTED = (RejectionReason.LOST, RejectionReason.DUPLICATE)


@dataclass(frozen=True)
class FrameEstimate:
    """What one frame gave; ``timings_ms`` per stage, and ``total``."""

    detections: Detections
    results: PoseResults
    timings_ms: Mapping[str, float]


class PoseEstimator:
    """Estimates the poses of a model's objects, given as a file, the name of a shipped model, or one that is open.

    ``profile`` is 'live' for a camera's frames, or 'single_image' for a thorough search that gives every pose with its
    score; it says what ``detector_config.decoding`` and ``solver_config`` are where they are not given. A model given
    open keeps its decoding. With a ``tracker_config`` objects have ids, taken from ``track_ids`` where several
    estimators share them, and frames come in the order of their stamps. Raises ``ModelError`` when the model cannot be
    used or does not carry the geometry of its objects, ``ConfigError`` for an unknown profile.
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
        self._profile = _find_profile(profile)
        self._detector = model if isinstance(model, Predictor) else None
        self._is_given = self._detector is not None
        self.path = model.path if isinstance(model, Predictor) else Path(model)
        self.card = model.card if isinstance(model, Predictor) else load_card(model)
        if not self.card.objects:
            raise ModelError(
                f"model file {self.path} carries no object geometry, so it detects but cannot estimate poses",
                "train and export it for the task 'pose'",
            )
        self._detector_config = detector_config or PredictorConfig()
        self.solver_config, self._tracker_config = solver_config or self._profile.solver, tracker_config
        self._solver = PoseSolver(self.card.objects, self.solver_config)
        self._tracker = Tracker(self.card.objects, tracker_config, track_ids) if tracker_config else None
        self._registered_ns: int | None = None

    @property
    def detector(self) -> Predictor:
        """The model's network, opened when it is first needed."""
        if self._detector is None:
            self._detector = Predictor(self.path, replace(self._detector_config, decoding=self._decoding))
        return self._detector

    def prepare(self) -> None:
        """Open now what the first frame would need."""
        if self.solver_config.second_pass:
            _ = self.detector

    def forget_tracks(self) -> None:
        """Begin anew: what is seen next are other objects, with other ids."""
        self._registered_ns = None
        if self._tracker:
            self._tracker.reset()

    def configure(
        self, detector_config: PredictorConfig, solver_config: PoseSolverConfig, tracker_config: TrackerConfig
    ) -> None:
        """Use other configurations from the next frame on; tracks and ids stay, as does a model given open."""
        if solver_config != self.solver_config:
            self._solver.configure(solver_config)
            self.solver_config = solver_config
        if self._tracker and tracker_config != self._tracker_config:
            self._tracker.configure(tracker_config)
            self._tracker_config = tracker_config
        if detector_config != self._detector_config:
            self._detector_config = detector_config
            if self._detector and not self._is_given:
                self._detector = self._detector.with_decoding(self._decoding)

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
                detections = self._detect(frame, depth, clock)
            with clock.stage("pose"):
                expected = tracker.expected(T_world_camera) if tracker else ()
                results = self._solver.solve(detections, frame.camera, frame.depth_m, expected, lambda: frame.rgb)
            if self.solver_config.second_pass and depth and results.poses:
                with clock.stage("second_pass"):
                    results = self._find_covered(frame, depth, results)
            if tracker:
                with clock.stage("tracking"):
                    results = tracker.update(results, frame.stamp_ns, T_world_camera)
        return FrameEstimate(detections, results, clock.timings_ms)

    def track(self, frame: CameraFrame, T_world_camera: Array | None = None) -> FrameEstimate:
        """Carry the known objects to a frame without the detector, from where the tracker predicts them.

        Each is aligned with depth, or with its contour in colour where depth is missing or of no use. What is not found
        there again is a rejection with its ``track_id``. As ``LOST`` or ``DUPLICATE`` it is not reported until it is
        found again; otherwise too little is seen of it, and it is bridged. Raises ``ConfigError`` without a tracker.
        """
        tracker = self._tracker
        if tracker is None:
            raise ConfigError("there is no tracker, so no object is known", "give the estimator a tracker_config")
        clock = StageClock()
        with clock.stage("total"):
            with clock.stage("pose"):
                known = tracker.predicted(T_world_camera)
                results = self._solver.follow(known, frame.camera, frame.depth_m, lambda: frame.rgb)
            with clock.stage("tracking"):
                lost = {item.track_id for item in results.rejections if item.reason in _CONTRADICTED}
                results = tracker.update(results, frame.stamp_ns, T_world_camera, lost)
            if lost or not results.poses:
                self._registered_ns = None
        return FrameEstimate(Detections.empty(self.card.keypoint_count), results, clock.timings_ms)

    @property
    def _decoding(self) -> DecodeOptions:
        return self._detector_config.decoding or self._profile.decoding

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

    def _detect(self, frame: CameraFrame, depth: AlignedDepth | None, clock: StageClock) -> Detections:
        if frame.rgb is None:
            raise DataError("there is no colour image, so nothing can be detected")
        detections: Detections = self.detector.predict(frame.rgb, clock, depth)
        return detections

    def _find_covered(self, frame: CameraFrame, depth: AlignedDepth, results: PoseResults) -> PoseResults:
        """Add what is found once the confirmed objects are removed from the image."""
        occluders = self._solver.occluders(results.poses, depth.camera, depth.depth_m)
        if frame.rgb is None or not np.any(occluders):
            return results
        remaining, remaining_depth = painted_over(frame.rgb, occluders), not_measured(depth, occluders)
        detections: Detections = self.detector.predict(remaining, depth=remaining_depth)
        more = self._solver.solve(detections, remaining_depth.camera, remaining_depth.depth_m, rgb=remaining)
        return self._solver.join(results, more)


def needs_color(config: PoseSolverConfig) -> bool:
    """Return whether poses of given detections may need the colour image: for contours, or for the second pass."""
    return config.contour.max_poses > 0 or (config.second_pass and config.use_depth)


def _find_profile(name: str) -> Profile:
    if name not in PROFILES:
        raise ConfigError(f"there is no profile '{name}'", f"choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
