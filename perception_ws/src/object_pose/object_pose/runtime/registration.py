"""Finding the objects of a frame anew: what every way of doing so has in common, and the way of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from object_pose.core.errors import DataError
from object_pose.core.frame import AlignedDepth, CameraFrame
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.misalignment import Misalignment, find_misalignment
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseResults
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.roi import not_measured, painted_over
from object_pose.runtime.card import ModelCard
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.timing import StageClock
from object_pose.runtime.view_cache import cached_search_views, cached_view_models


class Registration(Protocol):
    """A way to find the poses of a model's objects in a frame."""

    @property
    def detector(self) -> Predictor:
        """The model, opened when it is first needed."""

    def prepare(self) -> None:
        """Open now what the first frame would need, detections being given."""

    def configure(self, detector_config: PredictorConfig, solver_config: PoseSolverConfig) -> None:
        """Use other configurations from the next frame on."""

    def detect(self, frame: CameraFrame, depth: AlignedDepth | None, clock: StageClock) -> Detections:
        """Return what may be an object of the model; raises ``DataError`` where the frame lacks what that needs."""

    def solve(
        self,
        detections: Detections,
        frame: CameraFrame,
        expected: Sequence[ObjectPose],
        misalignment: Misalignment | None,
    ) -> PoseResults:
        """Return the poses of a frame; see ``PoseSolver.solve``."""

    def find_covered(self, frame: CameraFrame, depth: AlignedDepth, results: PoseResults) -> PoseResults:
        """Add what is found once the confirmed objects are removed from the frame."""


class KeypointRegistration:
    """Detects keypoints with a model's network, opened when it is first needed, and solves the poses from them.

    A ``model`` given open keeps its decoding; otherwise it is that of the config, or else ``decoding``.
    """

    def __init__(
        self,
        model: Path | Predictor,
        card: ModelCard,
        detector_config: PredictorConfig,
        solver_config: PoseSolverConfig,
        decoding: DecodeOptions,
    ) -> None:
        self._path = model.path if isinstance(model, Predictor) else model
        self._detector = model if isinstance(model, Predictor) else None
        self._is_given = self._detector is not None
        self._default_decoding = decoding
        self._detector_config, self._solver_config = detector_config, solver_config
        self._solver = PoseSolver(card.objects, solver_config, cached_search_views, cached_view_models)

    @property
    def detector(self) -> Predictor:
        """The model, opened when it is first needed."""
        if self._detector is None:
            self._detector = Predictor(self._path, replace(self._detector_config, decoding=self._decoding))
        return self._detector

    def prepare(self) -> None:
        """Make what solving needs, and open the network where a second pass will run it."""
        self._solver.prepare()
        if self._solver_config.second_pass:
            _ = self.detector

    def configure(self, detector_config: PredictorConfig, solver_config: PoseSolverConfig) -> None:
        """Use other configurations from the next frame on; a model given open stays as it is."""
        if solver_config != self._solver_config:
            self._solver.configure(solver_config)
        self._detector_config, self._solver_config = detector_config, solver_config
        if self._detector and not self._is_given:
            self._detector = self._detector.with_decoding(self._decoding)

    def detect(self, frame: CameraFrame, depth: AlignedDepth | None, clock: StageClock) -> Detections:
        """Run the network; raises ``DataError`` for a frame without colour."""
        if frame.rgb is None:
            raise DataError("there is no colour image, so nothing can be detected")
        detections: Detections = self.detector.predict(frame.rgb, clock, depth)
        return detections

    def solve(
        self,
        detections: Detections,
        frame: CameraFrame,
        expected: Sequence[ObjectPose],
        misalignment: Misalignment | None,
    ) -> PoseResults:
        """Return a pose or a rejection for every detection."""
        of_frame = detections, frame.camera, frame.depth_m
        return self._solver.solve(*of_frame, expected, lambda: frame.rgb, misalignment)

    def find_covered(self, frame: CameraFrame, depth: AlignedDepth, results: PoseResults) -> PoseResults:
        """Run network and solver once more, without the pixels of the confirmed objects."""
        occluders = self._solver.occluders(results.poses, depth.camera, depth.depth_m)
        if frame.rgb is None or not np.any(occluders):
            return results
        remaining, remaining_depth = painted_over(frame.rgb, occluders), not_measured(depth, occluders)
        detections: Detections = self.detector.predict(remaining, depth=remaining_depth)
        of_frame = detections, remaining_depth.camera, remaining_depth.depth_m
        misalignment = find_misalignment(results.image_offsets)
        more = self._solver.solve(*of_frame, rgb=remaining, misalignment=misalignment)
        return self._solver.join(results, more)

    @property
    def _decoding(self) -> DecodeOptions:
        decoding = self._detector_config.decoding or self._default_decoding
        return replace(decoding, visible_masks=decoding.visible_masks or self._solver_config.contour.use_masks)
