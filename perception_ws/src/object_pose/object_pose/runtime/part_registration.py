"""Finding parts that nothing was trained on anew in each frame: their surfaces matched with depth."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.frame import AlignedDepth, CameraFrame, Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.matching.matcher import Candidates, MatchScene, PartMatcher
from object_pose.core.matching.part_model import PartModel
from object_pose.core.matching.scale import find_scale
from object_pose.core.matching.selection import Selection, select
from object_pose.core.pose.acceptance import find_doubt, make_pose, split_duplicates
from object_pose.core.pose.confidence import PoseEstimate, add_systematic
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.contour_judge import ContourJudge
from object_pose.core.pose.depth_evidence import DepthNoise, make_depth_view
from object_pose.core.pose.misalignment import Misalignment
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, RejectionReason
from object_pose.runtime.cpus import available_cores
from object_pose.runtime.parts_file import PartsFile
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.timing import StageClock
from object_pose.runtime.view_cache import cached_view_models

logger = logging.getLogger(__name__)

# From which score on a candidate is spoken of: a share of the least of a pose, or this where every pose is wanted.
_DOUBTFUL_SHARE, _LEAST_SCORE = 0.4, 0.002
_MOST_POSES = 40
_MOST_THREADS = 4
# What a file's unit may be in place of the one that was said, by how much larger the part is then, and in how many
# frames without a part that is looked into.
_OTHER_UNITS = {
    10.0: "cm, not mm",
    25.4: "inches, not mm",
    0.01: "cm, not m",
    0.0254: "inches, not m",
    0.1: "mm, not cm",
    1.0 / 25.4: "mm, not inches",
}
_UNIT_CHECKS, _FOUND = 2, 0.5
_NO_DEPTH = "parts that nothing was trained on are found in depth, and this frame has none"


class PartRegistration:
    """Finds the parts of a ``.parts`` file in depth, without a detector: no detection is looked at.

    ``parts`` are what is matched, by class id.
    """

    def __init__(self, path: Path, config: PoseSolverConfig) -> None:
        file = PartsFile.read(path)
        self._path, self._card, self._config = path, file.card, config
        objects, views = file.card.objects, cached_view_models(file.card.objects)
        self.parts = tuple(PartModel.of(model, mesh, view) for model, mesh, view in zip(objects, file.meshes, views))
        self._pool = ThreadPoolExecutor(min(available_cores(), _MOST_THREADS), "match")
        self._unit_checks = dict.fromkeys(range(len(self.parts)), _UNIT_CHECKS)  # left, of parts never found
        self._matcher = PartMatcher(self.parts, config.depth)
        self._judge = ContourJudge(views)

    @cached_property
    def detector(self) -> Predictor:
        """The file opened as a model, which detects nothing."""
        return Predictor(self._path)

    def prepare(self) -> None:
        """Do nothing: all is open."""

    def configure(self, detector_config: PredictorConfig, solver_config: PoseSolverConfig) -> None:
        """Use another configuration of the solver from the next frame on; there is no detector."""
        if solver_config.depth != self._config.depth:
            self._matcher = PartMatcher(self.parts, solver_config.depth)
        self._config = solver_config

    def detect(self, frame: CameraFrame, depth: AlignedDepth | None, clock: StageClock) -> Detections:
        """Return no detections."""
        return Detections.empty(self._card.keypoint_count)

    def solve(
        self,
        detections: Detections,
        frame: CameraFrame,
        expected: Sequence[ObjectPose],
        misalignment: Misalignment | None,
    ) -> PoseResults:
        """Match the parts with depth, also from where they are ``expected``; raises ``DataError`` without depth."""
        config = self._config
        if frame.depth_m is None or not config.use_depth:
            raise DataError(_NO_DEPTH, "name depth with --depth, or connect a depth camera")
        noise = DepthNoise(config.depth.noise_floor_m, config.depth.noise_at_1m)
        view = make_depth_view(frame.depth_m, frame.camera, noise)
        if not view.is_usable:
            return PoseResults((), ())
        scene = self._matcher.prepare(view)
        candidates = self._matcher.propose(scene, expected, self._pool)
        least_score = max(_DOUBTFUL_SHARE * config.acceptance.min_score, _LEAST_SCORE)
        rgb = frame.rgb
        colour = Frame(rgb, frame.camera, frame.depth_m) if rgb is not None else None
        contours = partial(self._judge.agreement, colour) if colour else None
        selection = select(self.parts, candidates, scene, least_score, contours, self._pool)
        results = self._results(candidates, selection, frame.camera)
        return replace(results, rejections=(*results.rejections, *self._check_units(results, scene, colour)))

    def _check_units(self, results: PoseResults, scene: MatchScene, colour: Frame | None) -> Iterator[PoseRejection]:
        """Look for a part that was never found, one a frame, in other sizes; say where its file's unit is wrong."""
        for pose in results.poses:
            if pose.score >= _FOUND:
                self._unit_checks.pop(pose.class_id, None)
        for class_id in sorted(self._unit_checks, key=lambda class_id: -self._unit_checks[class_id])[:1]:
            self._unit_checks[class_id] -= 1
            if not self._unit_checks[class_id]:
                del self._unit_checks[class_id]
            part = self.parts[class_id]
            other = find_scale(part, tuple(_OTHER_UNITS), scene, colour, self._config.depth)
            if other:
                size = f"{1e3 * part.diameter:.0f} mm across"
                unit = _OTHER_UNITS[other.factor]
                detail = f"one {other.factor:.4g} times as large is in the picture: the file may be in {unit}"
                logger.warning("part '%s' of %s is not found, but %s", part.name, size, detail)
                box = _box(other.part, other.T_camera_object, scene.oriented.view.camera)
                yield PoseRejection(class_id, part.name, 0.0, box, RejectionReason.UNCERTAIN, detail)

    def _results(self, candidates: Candidates, selection: Selection, camera: Camera) -> PoseResults:
        """Return the chosen candidates as poses, those that are doubted as rejections."""
        poses, rejections = [], []
        for row in selection.chosen[:_MOST_POSES]:
            class_id, score = int(candidates.class_ids[row]), float(selection.scores[row])
            model = self.parts[class_id].model
            box = _box(self.parts[class_id], candidates.poses[row], camera)
            estimate = self._estimate_of(candidates, selection, row)
            doubt = find_doubt(estimate, score, self._config.acceptance, has_depth=True)
            if row in selection.mirrored:
                doubt = RejectionReason.DEPTH_DISAGREES, "what is there is the mirror image of the part"
            if doubt:
                rejections.append(PoseRejection(class_id, model.name, score, box, *doubt))
            else:
                poses.append(make_pose(estimate, model, class_id, box))
            if row in selection.alternatives:
                other = selection.alternatives[row]
                detail = f"may as well be '{model.name}': nothing that is seen tells the two apart"
                name, share = self.parts[candidates.class_ids[other]].name, float(selection.scores[other])
                doubt = RejectionReason.UNCERTAIN, detail
                rejections.append(PoseRejection(int(candidates.class_ids[other]), name, share, box, *doubt))
        distance = self._config.acceptance.duplicate_distance
        unique, repeated = split_duplicates(poses, self._card.objects, distance)
        return PoseResults(tuple(unique), (*rejections, *repeated))

    def _estimate_of(self, candidates: Candidates, selection: Selection, row: int) -> PoseEstimate:
        pose = candidates.poses[row]
        scale_sigma = self._config.depth.scale_sigma
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

    def find_covered(self, frame: CameraFrame, depth: AlignedDepth, results: PoseResults) -> PoseResults:
        """Return ``results``: matching finds what is partly covered at once."""
        return results


def _box(part: PartModel, pose: Array, camera: Camera) -> Array:
    """Return the box (4,) of a part in the image."""
    pixels = camera.distort(camera.project(se3.apply(pose, part.hull)))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    most = np.array([camera.width - 1.0, camera.height - 1.0])
    return np.concatenate([np.clip(low, 0.0, most), np.clip(high, 0.0, most)])
