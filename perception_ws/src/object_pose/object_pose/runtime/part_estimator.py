"""Poses of parts that nothing was trained on: matched with depth, then tracked as all others are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.frame import AlignedDepth, CameraFrame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.matching.matcher import Candidates, PartMatcher
from object_pose.core.matching.part_model import PartModel
from object_pose.core.matching.selection import Selection, select
from object_pose.core.pose.acceptance import find_doubt, make_pose, split_duplicates
from object_pose.core.pose.confidence import PoseEstimate, add_systematic
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.contour_alignment import ColourView, read_colour
from object_pose.core.pose.depth_evidence import DepthNoise, make_depth_view
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.runtime.cpus import available_cores
from object_pose.runtime.parts_file import SUFFIX, PartsFile
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.timing import StageClock
from object_pose.runtime.view_cache import cached_view_models

# From which score on a candidate is spoken of: a share of the least of a pose, or this where every pose is wanted.
_DOUBTFUL_SHARE, _LEAST_SCORE = 0.4, 0.002
_MOST_POSES = 40
_MOST_THREADS = 4
_NO_DEPTH = "parts that nothing was trained on are found in depth, and this frame has none"


class PartEstimator(PoseEstimator):
    """Estimates the poses of the parts of a ``.parts`` file; see ``PoseEstimator``, whose verbs it has.

    Depth takes the place of the detector: what detections are given is not looked at. ``register`` raises ``DataError``
    for a frame without depth.
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
        super().__init__(model, detector_config, solver_config, tracker_config, track_ids, profile)
        file = PartsFile.read(self.path)
        objects, views = file.card.objects, cached_view_models(file.card.objects)
        self._parts = [PartModel.of(model, mesh, view) for model, mesh, view in zip(objects, file.meshes, views)]
        self._pool = ThreadPoolExecutor(min(available_cores(), _MOST_THREADS), "match")
        self._use_noise_of(self.solver_config)

    def configure(
        self, detector_config: PredictorConfig, solver_config: PoseSolverConfig, tracker_config: TrackerConfig
    ) -> None:
        """Use other configurations from the next frame on; see ``PoseEstimator``."""
        if solver_config.depth != self.solver_config.depth:
            self._use_noise_of(solver_config)
        super().configure(detector_config, solver_config, tracker_config)

    def _use_noise_of(self, config: PoseSolverConfig) -> None:
        self._matcher = PartMatcher(self._parts, config.depth)

    def _detect(self, frame: CameraFrame, depth: AlignedDepth | None, clock: StageClock) -> Detections:
        return Detections.empty(self.card.keypoint_count)

    def _solve(self, detections: Detections, frame: CameraFrame, expected: Sequence[ObjectPose]) -> PoseResults:
        """Match the parts with depth; poses that are ``expected`` are among the starts."""
        config = self.solver_config
        if frame.depth_m is None or not config.use_depth:
            raise DataError(_NO_DEPTH, "name depth with --depth, or connect a depth camera")
        noise = DepthNoise(config.depth.noise_floor_m, config.depth.noise_at_1m)
        view = make_depth_view(frame.depth_m, frame.camera, noise)
        if not view.is_usable:
            return PoseResults((), ())
        scene = self._matcher.prepare(view)
        candidates = self._matcher.propose(scene, expected, self._pool)
        least_score = max(_DOUBTFUL_SHARE * config.acceptance.min_score, _LEAST_SCORE)
        image = read_colour(lambda: frame.rgb)
        colour = ColourView(image, frame.camera) if image is not None else None
        selection = select(self._parts, candidates, scene, least_score, colour)
        return self._results(candidates, selection, frame.camera)

    def _results(self, candidates: Candidates, selection: Selection, camera: Camera) -> PoseResults:
        """Return the chosen candidates as poses, those that are doubted as rejections."""
        poses, rejections = [], []
        for row in selection.chosen[:_MOST_POSES]:
            class_id, score = int(candidates.class_ids[row]), float(selection.scores[row])
            model = self._parts[class_id].model
            box = _box(self._parts[class_id], candidates.poses[row], camera)
            estimate = self._estimate_of(candidates, selection, row)
            if doubt := find_doubt(estimate, score, self.solver_config.acceptance, has_depth=True):
                rejections.append(PoseRejection(class_id, model.name, score, box, *doubt))
            else:
                poses.append(make_pose(estimate, model, class_id, box))
        distance = self.solver_config.acceptance.duplicate_distance
        unique, repeated = split_duplicates(poses, self.card.objects, distance)
        return PoseResults(tuple(unique), (*rejections, *repeated))

    def _estimate_of(self, candidates: Candidates, selection: Selection, row: int) -> PoseEstimate:
        pose = candidates.poses[row]
        scale_sigma = self.solver_config.depth.scale_sigma
        return PoseEstimate(
            T_camera_object=pose,
            covariance=add_systematic(candidates.covariance[row], pose[:3, 3], scale_sigma),
            reprojection_rms_px=np.nan,
            inlier_share=1.0,
            score=float(selection.scores[row]),
            verification=float(selection.verification[row]),
            violated=1.0 - float(selection.verification[row]),
            visibility=float(selection.visibility[row]),
            depth_rms_m=float(selection.rms_m[row]),
        )

    def _find_covered(self, frame: CameraFrame, depth: AlignedDepth, results: PoseResults) -> PoseResults:
        return results  # matching finds what is partly covered at once


def open_estimator(
    model: str | Path | Predictor,
    detector_config: PredictorConfig | None = None,
    solver_config: PoseSolverConfig | None = None,
    tracker_config: TrackerConfig | None = None,
    track_ids: Iterator[int] | None = None,
    profile: str = "live",
) -> PoseEstimator:
    """Open the estimator of a model, or of prepared parts; see ``PoseEstimator``."""
    path = model.path if isinstance(model, Predictor) else Path(model)
    kind = PartEstimator if path.suffix == SUFFIX else PoseEstimator
    return kind(model, detector_config, solver_config, tracker_config, track_ids, profile)


def _box(part: PartModel, pose: Array, camera: Camera) -> Array:
    """Return the box (4,) of a part in the image."""
    pixels = camera.distort(camera.project(se3.apply(pose, part.hull)))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    most = np.array([camera.width - 1.0, camera.height - 1.0])
    return np.concatenate([np.clip(low, 0.0, most), np.clip(high, 0.0, most)])
