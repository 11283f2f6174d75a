"""Predicted poses aligned with a frame, as poses and rejections: what the tracker expects becomes what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.frame import AlignedDepth, CameraFrame
from object_pose.core.metrics.pose import ADD_SHARE
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.acceptance import repeated_pose, split_duplicates
from object_pose.core.pose.confidence import add_systematic, free_symmetry
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, RejectionReason
from object_pose.core.tracking.aligner import AlignedPoses, AlignerConfig, FrameAligner, LossReason
from object_pose.core.tracking.shared_surface import find_shared_surfaces
from object_pose.core.tracking.view_model import Ints, ViewModel

# A share of the visible surface that depth confirms, of what it sees of it, from which on a pose is as sure as it was
# when it was found, and one below which it is worth nothing.
_SURE_SHARE, _WORTHLESS_SHARE = 0.85, 0.45
# The same of contour and texture that colour confirms, where depth does not measure the object.
_SURE_AGREEMENT, _WORTHLESS_AGREEMENT = 0.6, 0.3
_LEAST_COLOUR_SCORE = 0.15  # of what colour alone confirms
# The same of all surface that the camera should see, hidden or not: what hides may be what the pose is stuck in.
_SURE_VISIBILITY, _WORTHLESS_VISIBILITY = 0.65, 0.1
# How far contours are too large or too small as a whole: that of the model, and as a camera shows it. The other errors
# of lines and patches are alike over much of an object, too.
_CONTOUR_M, _CONTOUR_PX, _COLOUR_VARIANCE = 0.00035, 0.4, 6.0
# Colour takes as long as depth: an object that depth knows to this much in every direction does without.
_OPEN_M = 0.002
_REASONS = {
    LossReason.NOT_IN_IMAGE: (RejectionReason.UNCERTAIN, "it is not in the image any more"),
    LossReason.NOT_MEASURED: (RejectionReason.UNCERTAIN, "nothing of it can be seen"),
    LossReason.OCCLUDED: (RejectionReason.DEPTH_DISAGREES, "depth confirms only {confirmed:.0%} of its surface"),
    LossReason.SEEN_THROUGH: (RejectionReason.LOST, "depth sees through {seen_through:.0%} of it"),
    LossReason.COLOUR_DISAGREES: (RejectionReason.LOST, "colour confirms only {agreement:.0%} of contour and texture"),
}


class KnownObjects:
    """Aligns objects of the classes ``objects``, drawn as ``views``, in one call a frame."""

    def __init__(
        self, objects: Sequence[ObjectModel], views: Sequence[ViewModel], config: PoseSolverConfig | None = None
    ) -> None:
        self._objects, self._views = tuple(objects), tuple(views)
        self.configure(config or PoseSolverConfig())

    def configure(self, config: PoseSolverConfig) -> None:
        """Use another configuration from the next frame on; what was learned of the objects' looks is forgotten."""
        self._config = config
        self._aligner_config = AlignerConfig(use_depth=config.use_depth, depth=config.depth, open_direction_m=_OPEN_M)
        self._aligner = FrameAligner(self._views, self._aligner_config)

    def learn(self, frame: CameraFrame, found: Sequence[ObjectPose]) -> None:
        """Take the looks of tracks from a frame in which they were found anew; bridged poses tell nothing."""
        shown = [pose for pose in found if pose.track_id >= 0 and pose.visibility != 0.0]
        if shown:
            class_ids = np.array([pose.class_id for pose in shown], dtype=np.intp)
            track_ids = np.array([pose.track_id for pose in shown], dtype=np.intp)
            self._aligner.learn(frame, class_ids, np.stack([pose.T_camera_object for pose in shown]), track_ids)

    def align(self, frame: CameraFrame, expected: Sequence[ObjectPose]) -> PoseResults:
        """Return ``expected`` poses where they are found in a frame, with their ids, and a rejection of each other one.

        Their covariance says how far they may have moved. The score of an expected pose is the one that it was
        registered with; that of the result is less where depth contradicts it.
        """
        if not expected:
            return PoseResults((), ())
        class_ids = np.array([pose.class_id for pose in expected], dtype=np.intp)
        transforms = np.stack([pose.T_camera_object for pose in expected])
        track_ids = np.array([pose.track_id for pose in expected], dtype=np.intp)
        prior = np.linalg.inv(np.stack([pose.covariance for pose in expected]))
        aligned = self._aligner.align(frame, class_ids, transforms, prior, track_ids)
        transforms = aligned.T_camera_object
        views = self._aligner.tables.nearest(class_ids, transforms[:, :3, :3].copy(), transforms[:, :3, 3].copy())
        boxes = self._boxes(frame, class_ids, views, transforms)
        scale_sigmas = self._contour_scale_sigmas(frame, class_ids, views, transforms)
        found, found_views, rejections = [], [], []
        for row, (pose, box) in enumerate(zip(expected, boxes)):
            if not aligned.is_tracked[row]:
                rejections.append(_rejection(pose, aligned, row, box))
                continue
            now = self._measured(pose, aligned, row, box, float(scale_sigmas[row]))
            # What was found without depth may have a low score already: there counts what depth makes of it.
            min_score = self._config.acceptance.min_score
            least = min_score if pose.score >= min_score else min_score * pose.score
            if now.depth_used and now.score < least:
                detail = f"depth confirms {now.visibility:.0%} of its surface, score {now.score:.2f}"
                rejections.append(_rejected(pose, box, RejectionReason.DEPTH_DISAGREES, detail))
            elif not now.depth_used and _colour_confidence(aligned, row) * pose.score < _LEAST_COLOUR_SCORE:
                rejections.append(_rejection(pose, aligned, row, box, LossReason.COLOUR_DISAGREES))
            else:
                found.append(now)
                found_views.append(views[row])
        if frame.depth_m is not None and self._config.use_depth:
            depth = AlignedDepth(frame.depth_m, frame.camera)
            shared = find_shared_surfaces(found, self._aligner.tables, np.array(found_views, dtype=np.int32), depth)
            rejections += [repeated_pose(pose, found[row]) for pose, row in zip(found, shared) if row is not None]
            found = [pose for pose, row in zip(found, shared) if row is None]
        unique, repeated = split_duplicates(found, self._objects, self._config.acceptance.duplicate_distance)
        return PoseResults(tuple(unique), (*rejections, *repeated))

    def _measured(
        self, pose: ObjectPose, aligned: AlignedPoses, row: int, box: Array, scale_sigma: float
    ) -> ObjectPose:
        transform, model = aligned.T_camera_object[row], self._objects[pose.class_id]
        covariance, score = aligned.covariance[row], pose.score
        rms_m, visibility = np.nan, np.nan
        if aligned.depth and aligned.uses_depth[row]:
            visibility, rms_m = float(aligned.depth.confirmed[row]), float(aligned.depth.rms_m[row])
            share = visibility / max(visibility + float(aligned.depth.seen_through[row]), 1e-9)
            confidence = _between(share, _WORTHLESS_SHARE, _SURE_SHARE)
            confidence *= _between(visibility, _WORTHLESS_VISIBILITY, _SURE_VISIBILITY)
            covariance = add_systematic(covariance, transform[:3, 3], self._config.depth.scale_sigma)
        else:
            confidence = _colour_confidence(aligned, row)
            covariance = add_systematic(_COLOUR_VARIANCE * covariance, transform[:3, 3], scale_sigma)
            distance_sigma_m = scale_sigma * float(np.linalg.norm(transform[:3, 3]))
            score = min(score, math.erf(ADD_SHARE * model.diameter / (math.sqrt(2.0) * distance_sigma_m)))
        return replace(
            pose,
            score=confidence * score,
            T_camera_object=transform,
            covariance=free_symmetry(covariance, transform[:3, :3], model.symmetry),
            box_xyxy=box,
            reprojection_rms_px=np.nan,
            depth_rms_m=rms_m,
            visibility=visibility,
            depth_used=bool(np.isfinite(visibility)),
        )

    def _contour_scale_sigmas(
        self, frame: CameraFrame, class_ids: NDArray[np.intp], views: Ints, transforms: Array
    ) -> Array:
        """Return the relative errors (N,) of distances that the size of the contours tells: it errs as a whole."""
        tables = self._aligner.tables
        lengths = tables.contour_spacings[class_ids, views] * tables.contours.shape[2]
        radii = 2.0 * tables.areas[class_ids, views] / lengths
        pixel_m = transforms[:, 2, 3] / frame.camera.fx
        return np.asarray(np.hypot(_CONTOUR_M, _CONTOUR_PX * pixel_m) / np.maximum(radii, _CONTOUR_M))

    def _boxes(self, frame: CameraFrame, class_ids: NDArray[np.intp], views: Ints, transforms: Array) -> Array:
        """Return the boxes (N, 4) of the contours of poses in the image."""
        tables, camera = self._aligner.tables, frame.camera
        contours = tables.contours[class_ids, views, :, :3].astype(np.float64)
        points = contours @ np.swapaxes(transforms[:, :3, :3], 1, 2) + transforms[:, None, :3, 3]
        pixels = camera.distort(camera.project(points.reshape(-1, 3))).reshape(*points.shape[:2], 2)
        return np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)


def _between(value: float, low: float, high: float) -> float:
    """Return 0 below ``low``, 1 above ``high``, and what lies between in between."""
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def _colour_confidence(aligned: AlignedPoses, row: int) -> float:
    return _between(float(aligned.colour_agreement[row]), _WORTHLESS_AGREEMENT, _SURE_AGREEMENT)


def _rejection(
    pose: ObjectPose, aligned: AlignedPoses, row: int, box: Array, loss: LossReason | None = None
) -> PoseRejection:
    reason, text = _REASONS[loss or LossReason(int(aligned.reasons[row]))]
    depth = aligned.depth
    detail = text.format(
        confirmed=depth.confirmed[row] if depth else 0.0,
        seen_through=depth.seen_through[row] if depth else 0.0,
        agreement=aligned.colour_agreement[row],
    )
    return _rejected(pose, box, reason, detail)


def _rejected(pose: ObjectPose, box: Array, reason: RejectionReason, detail: str) -> PoseRejection:
    return PoseRejection(pose.class_id, pose.class_name, pose.score, box, reason, detail, pose.track_id)
