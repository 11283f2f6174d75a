"""From detections to poses: keypoints give the start, depth the accuracy, and doubt a rejection with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import DataError, ModelError
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera, distorted_mask
from object_pose.core.geometry.stable_poses import StablePoses
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose import estimate as pose_estimate
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.contour import ContourSurface
from object_pose.core.pose.contour_alignment import ColourView, ContourFit, align_again, align_contour
from object_pose.core.pose.depth_view import DepthNoise, DepthView, make_depth_view
from object_pose.core.pose.duplicates import find_duplicates
from object_pose.core.pose.estimate import PoseEstimate
from object_pose.core.pose.occlusion import are_covered, occluder_pixels
from object_pose.core.pose.pnp import MIN_KEYPOINTS, PnpSolution, solve_pnp
from object_pose.core.pose.reprojection import KeypointTargets
from object_pose.core.pose.search import PoseSearch
from object_pose.core.pose.support_plane import Body, find_support_plane
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, RejectionReason
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.visible_masks import VisibleMasks

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_Doubt = tuple[RejectionReason, str]

# From this score on a pose is sure enough to look behind it.
_SURE = 0.7
# What scores less, or too little to be reported, is looked for behind what is sure.
_DOUBTFUL = 0.15
# What depth lets score so much is seldom another object read as a second class.
_CONFIRMED = 0.3
_MIN_SURFACE_POINTS = 50
# Below this share of measured surface an object lies in a hole of the depth image.
_MIN_MEASURED = 0.1
# How far off their plane poses are looked for, as a share of the distance, with an outline and with keypoints alone.
_OUTLINE_REACH, _KEYPOINT_REACH = 0.05, 0.1
# An outline knows less of the distance than it says: where the plane leads is looked at, too.
_OUTLINE_DOUBT = 9.0
_LOST_AGREEMENT = 0.05  # the outline on the plane may agree so much less


class PoseSolver:
    """Estimates the poses of known objects; ``Detections.class_ids`` index ``objects``.

    Building it takes a fraction of a second per object. Raises ``ModelError`` for objects it cannot work with.
    """

    def __init__(self, objects: Sequence[ObjectModel], config: PoseSolverConfig | None = None) -> None:
        self._objects = tuple(objects)
        self._config = config or PoseSolverConfig()
        _check_objects(self._objects, self._config.use_depth)
        self._diameters = np.array([model.diameter for model in self._objects])
        self._noise = DepthNoise(self._config.depth_noise_floor_m, self._config.depth_noise_at_1m)
        self._search = (
            PoseSearch(self._objects, self._config.search_below_support, self._config.max_searches)
            if self._config.use_depth
            else None
        )
        self._surfaces = [_surface(model) for model in self._objects]
        self._shapes: list[StablePoses] = []
        if self._config.support_plane:
            pairs = zip(self._surfaces, self._objects)
            self._shapes = [StablePoses.of(surface.points, model.diameter) for surface, model in pairs]

    def solve(
        self,
        detections: Detections,
        camera: Camera,
        depth_m: DepthImage | None = None,
        expected: Sequence[ObjectPose] = (),
        rgb: Image | None = None,
    ) -> PoseResults:
        """Return a pose or a rejection for every detection of one image, (H, W, 3) ``rgb``, which outlines are seen in.

        ``depth_m`` (H, W) float32 metres along z, aligned to the image; 0, NaN and inf count as not measured. Poses
        that are ``expected``, such as a tracker's, are where the alignment with depth starts while they fit. Raises
        ``DataError`` where depth has another size than the camera or detections do not fit the objects.
        """
        view = make_depth_view(depth_m, camera, self._noise) if depth_m is not None and self._search else None
        depth = view if view is not None and view.is_usable else None
        self._check_detections(detections)
        if len(detections) == 0:
            return PoseResults((), ())
        targets = self._targets(detections, camera)
        solution = solve_pnp(targets, camera)
        diameters = self._diameters[detections.class_ids]
        estimates = pose_estimate.from_keypoints(solution, targets, detections.scores, diameters)
        solved = np.flatnonzero(solution.solved)
        boxes = camera.undistort(detections.boxes_xyxy.reshape(-1, 2)).reshape(-1, 4)
        if depth is not None and len(solved):
            self._align_with_depth(estimates, solved, detections, boxes, solution, targets, depth, expected)
        if rgb is not None:
            self._align_with_colour(estimates, solved, detections, boxes, rgb, camera, depth is not None)
        return self._results(detections, targets, solution, estimates, depth is not None)

    def occluders(self, poses: Sequence[ObjectPose], camera: Camera, depth_m: DepthImage) -> Mask:
        """Return the pixels (H, W) of an image whose depth the poses that are sure account for."""
        sure = [pose for pose in poses if pose.depth_used and pose.score >= _SURE]
        surfaces = [(self._surfaces[pose.class_id], pose.T_camera_object) for pose in sure]
        occluders = occluder_pixels(make_depth_view(depth_m, camera, self._noise), surfaces)
        return distorted_mask(occluders, camera)

    def joined(self, first: PoseResults, more: PoseResults) -> PoseResults:
        """Return what one look found and what another one found with depth, of each object the better pose."""
        measured = [pose for pose in more.poses if pose.depth_used]
        unique, repeated = self._split_duplicates([*first.poses, *measured])
        return PoseResults(tuple(unique), (*first.rejections, *repeated))

    def _align_with_depth(
        self,
        estimates: list[PoseEstimate],
        solved: NDArray[np.intp],
        detections: Detections,
        boxes: Array,
        solution: PnpSolution,
        targets: KeypointTargets,
        depth: DepthView,
        expected: Sequence[ObjectPose],
    ) -> None:
        """Replace the estimates of what depth sees; where objects that are sure cover others, look behind them."""
        search = self._search
        assert search is not None
        alone = list(estimates)

        def align(rows: NDArray[np.intp], view: DepthView) -> list[PoseEstimate]:
            of_rows = solution.take(rows), targets.take(rows), detections.class_ids[rows], boxes[rows]
            found = search.search(*of_rows, view, expected)
            aligned = pose_estimate.from_depth(found, view, detections.scores[rows], self._config.depth_scale_sigma)
            are_measured = found.evidence.measured >= _MIN_MEASURED
            return [estimate if seen else alone[row] for row, estimate, seen in zip(rows, aligned, are_measured)]

        for row, estimate in zip(solved, align(solved, depth)):
            estimates[row] = estimate
        if not self._config.second_pass:
            return
        scores = np.array([estimates[row].score for row in solved])
        sure = np.array([estimates[row].depth_used for row in solved], dtype=bool) & (scores >= _SURE)
        doubtful = scores < max(_DOUBTFUL, self._config.min_score)
        front = solved[sure]
        others = solved[doubtful & ~np.isin(detections.candidate_ids[solved], detections.candidate_ids[front])]
        covering = front[np.any(box_iou(boxes[front], boxes[others]) > 0.0, axis=1)]
        poses = [(self._surfaces[detections.class_ids[row]], estimates[row].T_camera_object) for row in covering]
        occluders = occluder_pixels(depth, poses)
        covered = others[are_covered(boxes[others], occluders)]
        if len(covered):
            for row, behind in zip(covered, align(covered, depth.without(occluders))):
                if behind.depth_used and behind.score > estimates[row].score:
                    estimates[row] = behind

    def _align_with_colour(
        self,
        estimates: list[PoseEstimate],
        solved: NDArray[np.intp],
        detections: Detections,
        boxes: Array,
        rgb: Image,
        camera: Camera,
        has_depth: bool,
    ) -> None:
        """Replace the best of the estimates that lack depth by what their outlines, and their plane, make of them."""
        class_ids = detections.class_ids
        alone = [index for index in solved if not estimates[index].depth_used]
        alone = [index for index in alone if len(self._objects[class_ids[index]].surface_object)]
        alone.sort(key=lambda index: -estimates[index].score)
        chosen = alone[: self._config.max_contours]
        if not chosen:
            return
        view = ColourView(rgb, camera)
        masks = detections.masks if self._config.contour_masks else VisibleMasks.unknown(len(detections))
        masks = masks.undistorted(camera)
        fits: dict[int, tuple[PoseEstimate, ContourFit]] = {}
        for index in chosen:
            estimate = estimates[index]
            prior = estimate.T_camera_object, estimate.covariance
            surface, starts = self._surfaces[class_ids[index]], self._config.contour_starts
            fit = align_contour(view, surface, *prior, boxes[index], starts, masks[index])
            if fit:
                fits[index] = estimate, fit
                estimates[index] = pose_estimate.from_contour(estimate, fit)
        if self._config.support_plane and not has_depth:
            self._align_on_plane(estimates, fits, self._bodies(estimates, solved, detections), class_ids, view, masks)

    def _align_on_plane(
        self,
        estimates: list[PoseEstimate],
        fits: Mapping[int, tuple[PoseEstimate, ContourFit]],
        bodies: Sequence[Body],
        class_ids: NDArray[np.int64],
        view: ColourView,
        masks: VisibleMasks,
    ) -> None:
        """Where bodies stand on one plane, align outlines once more; ``fits`` are by keypoints and by outline."""
        plane = find_support_plane(bodies)
        if plane is None:
            return
        for index, (before, fit) in fits.items():
            shape = self._shapes[class_ids[index]]
            settled = plane.settle(before.T_camera_object, before.covariance, shape, _KEYPOINT_REACH)
            if settled is None:
                continue
            there = plane.settle(fit.T_camera_object, _OUTLINE_DOUBT * fit.covariance, shape, _OUTLINE_REACH)
            start, _ = there or settled
            again = align_again(view, self._surfaces[class_ids[index]], start, *settled, masks[index])
            if again and again.agreement >= fit.agreement - _LOST_AGREEMENT:
                # The plane comes of these very poses: nobody is surer for it.
                estimates[index] = pose_estimate.from_contour(before, replace(again, covariance=fit.covariance))

    def _bodies(
        self, estimates: Sequence[PoseEstimate], solved: NDArray[np.intp], detections: Detections
    ) -> list[Body]:
        """Return the best estimate of each candidate as a body that may stand on something."""
        scores = np.array([estimates[index].score for index in solved])
        best_first = solved[np.argsort(-scores, kind="stable")]
        _, firsts = np.unique(detections.candidate_ids[best_first], return_index=True)
        best = {index: estimates[index] for index in best_first[firsts]}
        return [
            Body(pose.T_camera_object, pose.covariance, pose.score, self._shapes[detections.class_ids[index]])
            for index, pose in best.items()
            if pose.T_camera_object[2, 3] > 0.0
        ]

    def _targets(self, detections: Detections, camera: Camera) -> KeypointTargets:
        count, keypoints = detections.keypoints.shape[:2]
        points = np.zeros((count, keypoints, 3))
        if keypoints:
            points[:] = np.stack([self._objects[class_id].keypoints_object for class_id in detections.class_ids])
        pixels = camera.undistort(detections.keypoints.reshape(-1, 2)).reshape(detections.keypoints.shape)
        sigmas = detections.keypoint_sigmas * self._config.keypoint_sigma_scale
        sigmas = np.maximum(sigmas, self._config.keypoint_sigma_floor_px)
        present = np.isfinite(sigmas) & np.all(np.isfinite(pixels), axis=-1)
        return KeypointTargets(points, np.where(present[..., None], pixels, 0.0), np.where(present, sigmas, np.inf))

    def _results(
        self,
        detections: Detections,
        targets: KeypointTargets,
        solution: PnpSolution,
        estimates: list[PoseEstimate],
        has_depth: bool,
    ) -> PoseResults:
        present = np.count_nonzero(np.isfinite(targets.sigmas), axis=1)
        poses: list[ObjectPose] = []
        candidate_ids: list[int] = []
        rejections: list[PoseRejection] = []
        for index, estimate in enumerate(estimates):
            doubt = _no_pose(int(present[index]), bool(solution.solved[index]), estimate)
            score = float(detections.scores[index])
            doubt = doubt or self._doubt(estimate, score, detections.boxes_xyxy[index], has_depth)
            if doubt:
                rejections.append(self._reject(detections, index, *doubt))
            else:
                poses.append(self._accept(detections, index, estimate))
                candidate_ids.append(int(detections.candidate_ids[index]))
        unique, repeated = self._split_duplicates(poses, np.array(candidate_ids, dtype=np.int64))
        return PoseResults(tuple(unique), tuple(rejections + repeated))

    def _doubt(self, estimate: PoseEstimate, detector_score: float, box_xyxy: Array, has_depth: bool) -> _Doubt | None:
        """Say why a pose cannot be trusted, if so."""
        config = self._config
        side = float(max(box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1], 1.0))
        if estimate.depth_used:
            if not estimate.verification >= config.min_verification:
                detail = f"depth confirms only {estimate.verification:.0%} of the surface it sees"
                return RejectionReason.DEPTH_DISAGREES, detail
            if not estimate.visibility >= config.min_visibility:
                return RejectionReason.DEPTH_DISAGREES, f"depth confirms only {estimate.visibility:.0%} of the surface"
        elif estimate.inlier_share < config.min_inlier_share:
            return RejectionReason.REPROJECTION_ERROR, f"only {estimate.inlier_share:.0%} of the keypoints fit one pose"
        elif estimate.reprojection_rms_px > config.max_reprojection_error * side:
            return RejectionReason.REPROJECTION_ERROR, f"rms {estimate.reprojection_rms_px:.1f} px"
        # Colour alone is seldom sure; but whoever has depth is not given what depth could not confirm.
        if has_depth and estimate.score < config.min_score:
            against = estimate.depth_used and estimate.score < detector_score
            reason = RejectionReason.DEPTH_DISAGREES if against else RejectionReason.UNCERTAIN
            return reason, f"score {estimate.score:.2f} after all evidence"
        sigma = float(np.sqrt(np.max(np.linalg.eigvalsh(estimate.covariance[:3, :3]))))
        if not sigma <= config.max_translation_sigma_m:
            return RejectionReason.UNCERTAIN, f"position is uncertain by {sigma * 1e3:.0f} mm"
        return None

    def _accept(self, detections: Detections, index: int, estimate: PoseEstimate) -> ObjectPose:
        class_id = int(detections.class_ids[index])
        model = self._objects[class_id]
        return ObjectPose(
            class_id=class_id,
            class_name=model.name,
            score=estimate.score,
            T_camera_object=estimate.T_camera_object,
            covariance=estimate.covariance_with(model.symmetry),
            box_center=model.box_center,
            box_size=model.box_size,
            box_xyxy=detections.boxes_xyxy[index],
            reprojection_rms_px=estimate.reprojection_rms_px,
            depth_rms_m=estimate.depth_rms_m,
            visibility=estimate.visibility,
            depth_used=estimate.depth_used,
        )

    def _reject(self, detections: Detections, index: int, reason: RejectionReason, detail: str) -> PoseRejection:
        class_id = int(detections.class_ids[index])
        score, box = float(detections.scores[index]), detections.boxes_xyxy[index]
        return PoseRejection(class_id, self._objects[class_id].name, score, box, reason, detail)

    def _split_duplicates(
        self, poses: list[ObjectPose], candidate_ids: NDArray[np.int64] | None = None
    ) -> tuple[list[ObjectPose], list[PoseRejection]]:
        if not poses:
            return [], []
        scores = np.array([pose.score for pose in poses])
        class_ids = np.array([pose.class_id for pose in poses])
        diameters, distance = self._diameters[class_ids], self._config.duplicate_distance
        confirmed = np.array([pose.depth_used for pose in poses]) & (scores >= _CONFIRMED)
        confirmed_ids = np.where(confirmed, class_ids, -1)
        better = find_duplicates(_centers(poses), scores, diameters, distance, candidate_ids, confirmed_ids)
        unique, repeated = [], []
        for pose, original in zip(poses, better):
            if original is None:
                unique.append(pose)
                continue
            detail = f"the same object as a {poses[original].class_name} of score {poses[original].score:.2f}"
            repeated.append(
                PoseRejection(
                    pose.class_id, pose.class_name, pose.score, pose.box_xyxy, RejectionReason.DUPLICATE, detail
                )
            )
        return unique, repeated

    def _check_detections(self, detections: Detections) -> None:
        if len(detections) == 0:
            return
        lowest, highest = int(detections.class_ids.min()), int(detections.class_ids.max())
        if lowest < 0 or highest >= len(self._objects):
            wrong = lowest if lowest < 0 else highest
            raise DataError(
                f"a detection has class id {wrong}, but there are {len(self._objects)} objects",
                "detector and objects must come from the same model card",
            )
        expected, got = len(self._objects[0].keypoints_object), detections.keypoints.shape[1]
        if got not in (0, expected):
            raise DataError(f"detections have {got} keypoints, the objects {expected}")


def _centers(poses: Sequence[ObjectPose]) -> Array:
    """Return the (N, 3) middles of the poses' metric boxes, camera frame."""
    return np.stack([se3.apply(pose.T_camera_object, pose.box_center[None])[0] for pose in poses])


def _surface(model: ObjectModel) -> ContourSurface:
    """Return what outlines are drawn of; older models have but the surface that depth is compared with."""
    points = model.surface_object if len(model.surface_object) else model.points_object
    return ContourSurface.of(points) if len(points) > 1 else ContourSurface(points, 0.0)


def _no_pose(present: int, solved: bool, estimate: PoseEstimate) -> _Doubt | None:
    """Say why there is no pose at all, if so."""
    if present < MIN_KEYPOINTS:
        return RejectionReason.TOO_FEW_KEYPOINTS, f"{present} keypoints, {MIN_KEYPOINTS} are needed"
    if not solved or not np.all(np.isfinite(estimate.T_camera_object)):
        return RejectionReason.PNP_FAILED, "no pose in front of the camera explains the keypoints"
    if estimate.T_camera_object[2, 3] <= 0.0:
        return RejectionReason.BEHIND_CAMERA, f"z = {estimate.T_camera_object[2, 3]:.3f} m"
    return None


def _check_objects(objects: Sequence[ObjectModel], needs_surface: bool) -> None:
    if not objects:
        raise ModelError("there are no objects to find", "use a model whose card describes its objects")
    counts = {model.name: len(model.keypoints_object) for model in objects}
    if len(set(counts.values())) > 1:
        raise ModelError(f"objects must have equally many keypoints, got {counts}")
    for model in objects:
        if needs_surface and len(model.points_object) < _MIN_SURFACE_POINTS:
            raise ModelError(
                f"object '{model.name}' has {len(model.points_object)} surface points, "
                f"aligning with depth needs {_MIN_SURFACE_POINTS}",
                "give it some thousand points, or set use_depth to false",
            )
