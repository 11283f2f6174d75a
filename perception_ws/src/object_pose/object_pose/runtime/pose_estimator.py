"""The whole way of a frame: detector, pose solver, tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from object_pose.runtime.predictor import Detector, DetectorConfig, Predictor
from object_pose.runtime.timing import StageClock


@dataclass(frozen=True)
class PipelineResult:
    """What one frame gave; ``timings`` in milliseconds per stage, and ``total``."""

    detections: Detections
    results: PoseResults
    timings: Mapping[str, float]


class PosePipeline:
    """Frames in, poses out, by a model file or one that is open; with a tracker frames come in order of their stamps.

    Raises ``ModelError`` when the model cannot be used or does not carry the geometry of its objects.
    """

    def __init__(
        self,
        model: str | Path | Predictor,
        detector_config: DetectorConfig | None = None,
        solver_config: PoseSolverConfig | None = None,
        tracker_config: TrackerConfig | None = None,
    ) -> None:
        self.detector = model if isinstance(model, Predictor) else Detector(model, detector_config)
        objects = self.detector.card.objects
        if not objects:
            raise ModelError(
                f"model file {self.detector.path} carries no object geometry, so it detects but cannot estimate poses",
                "train and export it for the task 'pose'",
            )
        solver_config = solver_config or PoseSolverConfig()
        self._use_depth, self._second_pass = solver_config.use_depth, solver_config.second_pass
        self._solver = PoseSolver(objects, solver_config)
        self._tracker = Tracker(objects, tracker_config) if tracker_config else None

    def process(self, frame: Frame, T_world_camera: Array | None = None) -> PipelineResult:
        """Estimate the poses of one frame; ``T_world_camera`` (4, 4) lets the tracker follow a moving camera."""
        clock = StageClock()
        with clock.stage("total"):
            depth = frame.aligned_depth if self._use_depth else None
            detections: Detections = self.detector.predict(frame.rgb, clock, depth)
            with clock.stage("pose"):
                expected = self._tracker.expected(T_world_camera) if self._tracker else ()
                results = self._solver.solve(detections, frame.camera, frame.depth_m, expected, frame.rgb)
            if self._second_pass and depth and results.poses:
                with clock.stage("behind"):
                    results = self._behind(frame.rgb, depth, results)
            if self._tracker:
                with clock.stage("tracking"):
                    results = self._tracker.update(results, frame.stamp_ns, T_world_camera)
        return PipelineResult(detections, results, clock.timings_ms)

    def _behind(self, rgb: Image, depth: AlignedDepth, results: PoseResults) -> PoseResults:
        """Add what a look without the objects that are sure finds: the rest of the image is all about the others."""
        occluders = self._solver.occluders(results.poses, depth.camera, depth.depth_m)
        if not np.any(occluders):
            return results
        rest, rest_depth = painted_over(rgb, occluders), not_measured(depth, occluders)
        detections = self.detector.predict(rest, depth=rest_depth)
        more = self._solver.solve(detections, rest_depth.camera, rest_depth.depth_m, rgb=rest)
        return self._solver.joined(results, more)
