"""From detections to poses: keypoints give the start, depth or the contour the accuracy, and doubt a rejection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Mask
from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera, distorted_mask
from object_pose.core.geometry.stable_poses import StablePoses
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.acceptance import accept_estimates, check_detections, check_objects, split_duplicates
from object_pose.core.pose.candidates import BuildViews, build_views_of_all
from object_pose.core.pose.confidence import (
    PoseEstimate,
    from_depth,
    from_keypoints,
    log_odds_with_contour,
    probability,
)
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.contour import ContourSurface
from object_pose.core.pose.contour_alignment import (
    Colour,
    ColourView,
    ContourFit,
    align_contour,
    from_contour,
    read_colour,
)
from object_pose.core.pose.contour_judge import ContourJudge
from object_pose.core.pose.contradiction import add_image_offsets, doubt_misaligned
from object_pose.core.pose.depth_evidence import MIN_MEASURED, DepthNoise, DepthView, make_depth_view
from object_pose.core.pose.misalignment import Misalignment, are_at_some_of, find_misalignment
from object_pose.core.pose.occlusion import CONFIRMED_SCORE, find_covered, occluder_pixels
from object_pose.core.pose.pnp import KeypointTargets, PnpSolution, solve_pnp
from object_pose.core.pose.search import PoseSearch
from object_pose.core.pose.support_plane import align_on_plane, bodies_of
from object_pose.core.results.detections import Detections, VisibleMasks
from object_pose.core.results.pose import ImageOffset, ObjectPose, PoseResults
from object_pose.core.tracking.view_model import ViewModel, draw_view_models

Rows = NDArray[np.intp]

# From this score by depth on a pose is not judged by its contour, nor where it is as far from being right.
_SURE = 0.99


@dataclass(frozen=True)
class _Problem:
    """The detections of one image, their poses by keypoints and the rows that have one; boxes undistorted."""

    detections: Detections
    boxes_xyxy: Array
    targets: KeypointTargets
    solution: PnpSolution
    solved: Rows
    surfaces: Sequence[ContourSurface]


class PoseSolver:
    """Estimates the poses of known objects; ``Detections.class_ids`` index ``objects``.

    ``build`` returns the views of the objects, which takes a fraction of a second each where it keeps none, and
    ``draw`` those by which contours are judged, a second each. Raises ``ModelError`` for objects it cannot work with.
    """

    def __init__(
        self,
        objects: Sequence[ObjectModel],
        config: PoseSolverConfig | None = None,
        build: BuildViews = build_views_of_all,
        draw: Callable[[Sequence[ObjectModel]], Sequence[ViewModel]] = draw_view_models,
    ) -> None:
        self._objects, self._build, self._draw = tuple(objects), build, draw
        self._diameters = np.array([model.diameter for model in self._objects])
        # Older models have but the surface that depth is compared with.
        samples = (item.surface_object if len(item.surface_object) else item.points_object for item in self._objects)
        self._surfaces = [ContourSurface.of(points) for points in samples]
        self.configure(config or PoseSolverConfig())

    def configure(self, config: PoseSolverConfig) -> None:
        """Use another configuration from the next image on; raises ``ModelError`` where the objects do not suffice."""
        check_objects(self._objects, config.use_depth)
        self._config = config
        self._noise = DepthNoise(config.depth.noise_floor_m, config.depth.noise_at_1m)
        # What takes long is made now rather than with the first image.
        _ = self._search if config.use_depth else None, self._shapes if config.support_plane else None

    def prepare(self) -> None:
        """Make now what the first image would need."""
        _ = self._judge if self._config.use_depth and self._config.contour.max_judged else None

    def solve(
        self,
        detections: Detections,
        camera: Camera,
        depth_m: DepthImage | None = None,
        expected: Sequence[ObjectPose] = (),
        rgb: Colour = None,
        misalignment: Misalignment | None = None,
    ) -> PoseResults:
        """Return a pose or a rejection for every detection of one image, (H, W, 3) ``rgb``, which contours are seen in.

        ``depth_m`` (H, W) float32 metres along z, aligned to the image; 0, NaN and inf count as not measured. Poses
        that are ``expected``, such as a tracker's, are where the alignment with depth starts while they fit. Poses are
        doubted by the ``misalignment`` that this image's objects show, or else the one known from other images. Raises
        ``DataError`` where depth has another size than the camera or detections do not fit the objects.
        """
        depth = self._view_depth(depth_m, camera)
        check_detections(detections, self._objects)
        if len(detections) == 0:
            return PoseResults((), ())
        problem = self._set_up(detections, camera)
        diameters = self._diameters[detections.class_ids]
        estimates = from_keypoints(problem.solution, problem.targets, detections.scores, diameters)
        if depth is not None and len(problem.solved):
            self._align_with_depth(problem, estimates, depth, expected)
        offsets = _image_offsets(estimates)
        misalignment = find_misalignment(offsets) or misalignment
        estimates = [
            doubt_misaligned(estimate, misalignment, camera, diameter) if estimate.depth_used else estimate
            for estimate, diameter in zip(estimates, diameters)
        ]
        if depth is not None and misalignment is None:
            self._judge_by_contours(problem, estimates, rgb, camera, depth_m)
        self._align_with_contours(problem, estimates, rgb, camera, depth is not None)
        results = accept_estimates(
            estimates,
            detections,
            problem.targets,
            problem.solution,
            self._objects,
            self._config.acceptance,
            depth is not None,
        )
        return replace(results, image_offsets=offsets)

    def occluders(self, poses: Sequence[ObjectPose], camera: Camera, depth_m: DepthImage) -> Mask:
        """Return the pixels (H, W) of an image whose depth the confirmed poses account for."""
        confirmed = [pose for pose in poses if pose.depth_used and pose.score >= CONFIRMED_SCORE]
        surfaces = [(self._surfaces[pose.class_id], pose.T_camera_object) for pose in confirmed]
        occluders = occluder_pixels(make_depth_view(depth_m, camera, self._noise), surfaces)
        return distorted_mask(occluders, camera)

    def join(self, first: PoseResults, second: PoseResults) -> PoseResults:
        """Return what one pass found and what another one found with depth, of each object the better pose."""
        measured = [pose for pose in second.poses if pose.depth_used]
        unique, repeated = split_duplicates(
            [*first.poses, *measured], self._objects, self._config.acceptance.duplicate_distance
        )
        return PoseResults(tuple(unique), (*first.rejections, *repeated), first.image_offsets)

    @cached_property
    def _search(self) -> PoseSearch:
        return PoseSearch(self._objects, self._build(self._objects))

    @cached_property
    def _judge(self) -> ContourJudge:
        return ContourJudge(self._draw(self._objects))

    @cached_property
    def _shapes(self) -> list[StablePoses]:
        return [StablePoses.of(surface.points, size) for surface, size in zip(self._surfaces, self._diameters)]

    def _view_depth(self, depth_m: DepthImage | None, camera: Camera) -> DepthView | None:
        """Return depth ready for use, None where it is missing, not wanted or nothing was measured."""
        if depth_m is None or not self._config.use_depth:
            return None
        view = make_depth_view(depth_m, camera, self._noise)
        return view if view.is_usable else None

    def _set_up(self, detections: Detections, camera: Camera) -> _Problem:
        count, keypoints = detections.keypoints.shape[:2]
        points = np.zeros((count, keypoints, 3))
        if keypoints:
            points[:] = np.stack([self._objects[class_id].keypoints_object for class_id in detections.class_ids])
        pixels = camera.undistort(detections.keypoints.reshape(-1, 2)).reshape(detections.keypoints.shape)
        sigmas = detections.keypoint_sigmas * self._config.keypoints.sigma_scale
        sigmas = np.maximum(sigmas, self._config.keypoints.sigma_floor_px)
        present = np.isfinite(sigmas) & np.all(np.isfinite(pixels), axis=-1)
        pixels, sigmas = np.where(present[..., None], pixels, 0.0), np.where(present, sigmas, np.inf)
        targets = KeypointTargets(points, pixels, sigmas)
        solution = solve_pnp(targets, camera)
        boxes = camera.undistort(detections.boxes_xyxy.reshape(-1, 2)).reshape(-1, 4)
        surfaces = [self._surfaces[class_id] for class_id in detections.class_ids]
        return _Problem(detections, boxes, targets, solution, np.flatnonzero(solution.solved), surfaces)

    def _align_with_depth(
        self, problem: _Problem, estimates: list[PoseEstimate], depth: DepthView, expected: Sequence[ObjectPose]
    ) -> None:
        """Replace the estimates of what depth sees; where confirmed objects cover others, search behind them."""
        config, detections = self._config, problem.detections

        def align(rows: Rows, view: DepthView) -> dict[int, PoseEstimate]:
            solution = problem.solution.take(rows)
            of_rows = solution, problem.targets.take(rows), detections.class_ids[rows]
            effort = config.search.below_support, config.search.max_searches
            found = self._search.search(*of_rows, problem.boxes_xyxy[rows], view, *effort, expected)
            aligned = from_depth(found, view, detections.scores[rows], config.depth.scale_sigma)
            aligned = add_image_offsets(aligned, found, solution, view.camera)
            is_measured = found.evidence.measured >= MIN_MEASURED
            return {row: estimate for row, estimate, seen in zip(rows, aligned, is_measured) if seen}

        for row, estimate in align(problem.solved, depth).items():
            estimates[row] = estimate
        if not config.second_pass:
            return
        of_all = problem.surfaces, detections.candidate_ids, problem.boxes_xyxy
        covered, occluders = find_covered(estimates, problem.solved, *of_all, depth, config.acceptance.min_score)
        if len(covered):
            for row, behind in align(covered, depth.without(occluders)).items():
                if behind.score > estimates[row].score:
                    estimates[row] = behind

    def _judge_by_contours(
        self,
        problem: _Problem,
        estimates: list[PoseEstimate],
        rgb: Colour,
        camera: Camera,
        depth_m: DepthImage | None,
    ) -> None:
        """Give the estimates that depth leaves in doubt the score that they have with their contour."""
        doubts = {row: abs(estimates[row].score - 0.5) for row in problem.solved if estimates[row].depth_used}
        rows = sorted((row for row in doubts if doubts[row] < _SURE - 0.5), key=doubts.__getitem__)
        rows = rows[: self._config.contour.max_judged]
        image = read_colour(rgb) if rows else None
        if image is None:
            return
        poses = np.stack([estimates[row].T_camera_object for row in rows])
        class_ids = problem.detections.class_ids[rows].astype(np.intp)
        shares = self._judge.agreement(Frame(image, camera, depth_m), class_ids, poses)
        for row, share in zip(rows, shares):
            log_odds = log_odds_with_contour(estimates[row].score, float(share))
            estimates[row] = replace(estimates[row], score=probability(log_odds))

    def _align_with_contours(
        self, problem: _Problem, estimates: list[PoseEstimate], rgb: Colour, camera: Camera, has_depth: bool
    ) -> None:
        """Align the best of the estimates that lack depth with their contours and, on request, with their plane."""
        config, detections = self._config, problem.detections
        class_ids, candidate_ids = detections.class_ids, detections.candidate_ids
        rows = [row for row in problem.solved if not estimates[row].depth_used]
        rows = [row for row in rows if len(self._objects[class_ids[row]].surface_object)]
        rows = sorted(rows, key=lambda row: -estimates[row].score)[: config.contour.max_poses]
        image = read_colour(rgb) if rows else None
        if image is None:
            return
        view = ColourView(image, camera)
        masks = detections.masks if config.contour.use_masks else VisibleMasks.unknown(len(detections))
        masks = masks.undistorted(camera)
        before, fits = list(estimates), dict[int, ContourFit]()
        for row in rows:
            pose = estimates[row].T_camera_object, estimates[row].covariance
            box, surface = problem.boxes_xyxy[row], problem.surfaces[row]
            if fit := align_contour(view, surface, *pose, box, config.contour.starts, masks[row]):
                fits[row] = fit
                estimates[row] = from_contour(before[row], fit)
        if not config.support_plane or has_depth:
            return
        shapes = [self._shapes[class_id] for class_id in class_ids]
        bodies = bodies_of(estimates, problem.solved, candidate_ids, shapes)
        for row, fit in align_on_plane(bodies, before, fits, shapes, problem.surfaces, view, masks).items():
            estimates[row] = from_contour(before[row], fit)


def _image_offsets(estimates: Sequence[PoseEstimate]) -> tuple[ImageOffset, ...]:
    """Return one offset of each object that depth confirms: that of its best estimate."""
    offsets: list[ImageOffset] = []
    for estimate in sorted(estimates, key=lambda item: -item.score):
        offset = estimate.image_offset
        if offset is not None and not are_at_some_of([offset], offsets)[0]:
            offsets.append(offset)
    return tuple(offsets)
