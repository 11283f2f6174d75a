"""Frames to poses: detector, pose solver and tracker as one; every command, evaluation and node is an adapter of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.core.errors import ModelError
from object_pose.core.frame import AlignedDepth, Frame
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import PoseResults
from object_pose.core.tracking.tracker import Tracker, TrackerConfig
from object_pose.core.vision.roi import not_measured, painted_over
from object_pose.runtime.predictor import Detector, DetectorConfig, Predictor, load_card
from object_pose.runtime.timing import StageClock


@dataclass(frozen=True)
class FrameEstimate:
    """What one frame gave; ``timings_ms`` per stage, and ``total``."""

    detections: Detections
    results: PoseResults
    timings_ms: Mapping[str, float]


class PoseEstimator:
    """Estimates the poses of a model's objects, given as a file or one that is open.

    With a tracker frames come in the order of their stamps. Raises ``ModelError`` when the model cannot be used or does
    not carry the geometry of its objects.
    """

    def __init__(
        self,
        model: str | Path | Predictor,
        detector_config: DetectorConfig | None = None,
        solver_config: PoseSolverConfig | None = None,
        tracker_config: TrackerConfig | None = None,
    ) -> None:
        self._model = model
        self._detector_config = detector_config
        self.card = model.card if isinstance(model, Predictor) else load_card(model)
        if not self.card.objects:
            path = model.path if isinstance(model, Predictor) else model
            raise ModelError(
                f"model file {path} carries no object geometry, so it detects but cannot estimate poses",
                "train and export it for the task 'pose'",
            )
        solver_config = solver_config or PoseSolverConfig()
        self._use_depth, self._second_pass = solver_config.use_depth, solver_config.second_pass
        self._solver = PoseSolver(self.card.objects, solver_config)
        self._tracker = Tracker(self.card.objects, tracker_config) if tracker_config else None

    @cached_property
    def detector(self) -> Predictor:
        """The model's network, opened when it is first needed."""
        return self._model if isinstance(self._model, Predictor) else Detector(self._model, self._detector_config)

    def register(
        self, frame: Frame, T_world_camera: Array | None = None, detections: Detections | None = None
    ) -> FrameEstimate:
        """Find the objects of a frame anew, from ``detections`` where they are known already.

        ``T_world_camera`` (4, 4) lets the tracker follow a moving camera.
        """
        clock = StageClock()
        with clock.stage("total"):
            depth = frame.aligned_depth if self._use_depth else None
            if detections is None:
                detections = self._detect(frame.rgb, depth, clock)
            with clock.stage("pose"):
                expected = self._tracker.expected(T_world_camera) if self._tracker else ()
                results = self._solver.solve(detections, frame.camera, frame.depth_m, expected, frame.rgb)
            if self._second_pass and depth and results.poses:
                with clock.stage("second_pass"):
                    results = self._find_covered(frame.rgb, depth, results)
            if self._tracker:
                with clock.stage("tracking"):
                    results = self._tracker.update(results, frame.stamp_ns, T_world_camera)
        return FrameEstimate(detections, results, clock.timings_ms)

    def _detect(self, rgb: Image, depth: AlignedDepth | None, clock: StageClock | None = None) -> Detections:
        detections: Detections = self.detector.predict(rgb, clock, depth)
        return detections

    def _find_covered(self, rgb: Image, depth: AlignedDepth, results: PoseResults) -> PoseResults:
        """Add what is found once the objects that are sure are removed from the image."""
        occluders = self._solver.occluders(results.poses, depth.camera, depth.depth_m)
        if not np.any(occluders):
            return results
        rest, rest_depth = painted_over(rgb, occluders), not_measured(depth, occluders)
        more = self._solver.solve(self._detect(rest, rest_depth), rest_depth.camera, rest_depth.depth_m, rgb=rest)
        return self._solver.join(results, more)
