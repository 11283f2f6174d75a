"""Known poses carried to another image: where each would be seen if nothing had moved, and whether it is there.

A predicted pose takes the place of keypoints: its own, seen so loosely that depth or a contour moves them, hold the
directions that neither measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.acceptance import Doubt, find_doubt, make_pose, split_duplicates
from object_pose.core.pose.candidates import Candidates
from object_pose.core.pose.confidence import PoseEstimate, from_depth
from object_pose.core.pose.config import AcceptanceConfig, PoseSolverConfig
from object_pose.core.pose.contour import ContourSurface
from object_pose.core.pose.contour_alignment import Colour, ColourView, align_contour, from_contour, read_colour
from object_pose.core.pose.depth_evidence import MIN_MEASURED, DepthView
from object_pose.core.pose.pnp import KeypointTargets
from object_pose.core.pose.search import PoseSearch
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, RejectionReason

_MIN_DEPTH_M = 0.05
_LEAST_IN_IMAGE = 0.3  # of the box; of less too little is seen
_KEYPOINT_SIGMA = 0.1  # of the predicted keypoints, as a share of the box's longer side
# How far an object moves between two images: as a share of its distance, and radians.
_MOTION_SHARE, _MOTION_RAD = 0.03, 0.2
_CONTOUR_STARTS = 2
_SEEN_THROUGH = 0.25  # from this share of its visible surface on an object is not where it was
_LEAST_AGREEMENT = 0.35  # of a contour, below which it is not the object's


@dataclass(frozen=True)
class Followed:
    """What became of a predicted pose: None where nothing of it was measured; ``agreement`` of its contour if asked."""

    estimate: PoseEstimate | None = None
    agreement: float | None = None


def follow_poses(
    poses: Sequence[ObjectPose],
    camera: Camera,
    depth: DepthView | None,
    rgb: Colour,
    objects: Sequence[ObjectModel],
    surfaces: Sequence[ContourSurface],
    search: PoseSearch | None,
    config: PoseSolverConfig,
) -> PoseResults:
    """Align predicted poses with depth, those that it does not measure with their contours; see ``PoseSolver.follow``.

    ``search`` is needed with depth.
    """
    inside, boxes, outside = split_visible(poses, surfaces, camera)
    followed: list[Followed] = [Followed()] * len(inside)
    if depth is not None and search is not None and inside:
        found = search.follow(predicted_candidates(inside, boxes, objects, camera), depth)
        aligned = from_depth(found, depth, np.array([pose.score for pose in inside]), config.depth.scale_sigma)
        is_measured = found.evidence.measured >= MIN_MEASURED
        followed = [Followed(estimate if seen else None) for estimate, seen in zip(aligned, is_measured)]
    alone = [row for row, item in enumerate(followed) if item.estimate is None]
    image = read_colour(rgb) if alone else None
    if image is not None:
        view = ColourView(image, camera)
        for row in alone:
            followed[row] = follow_contour(inside[row], surfaces[inside[row].class_id], view)
    corners = camera.distort(boxes.reshape(-1, 2)).reshape(-1, 4)
    results = accept_followed(inside, corners, followed, objects, config.acceptance, depth is not None)
    return PoseResults(results.poses, (*results.rejections, *(not_in_image(pose) for pose in outside)))


def split_visible(
    poses: Sequence[ObjectPose], surfaces: Sequence[ContourSurface], camera: Camera
) -> tuple[list[ObjectPose], Array, list[ObjectPose]]:
    """Return the poses that lie in the image, the boxes (N, 4) of their surfaces, undistorted, and the other poses."""
    inside, boxes, outside = [], [], []
    for pose in poses:
        points = se3.apply(pose.T_camera_object, surfaces[pose.class_id].points)
        if points[:, 2].min() < _MIN_DEPTH_M:
            outside.append(pose)
            continue
        pixels = camera.project(points)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        seen = np.clip(np.minimum(high, camera.wh) - np.maximum(low, 0.0), 0.0, None)
        if np.prod(seen) < _LEAST_IN_IMAGE * np.prod(high - low):
            outside.append(pose)
        else:
            inside.append(pose)
            boxes.append(np.concatenate([low, high]))
    return inside, np.array(boxes).reshape(-1, 4), outside


def predicted_candidates(
    poses: Sequence[ObjectPose], boxes_xyxy: Array, objects: Sequence[ObjectModel], camera: Camera
) -> Candidates:
    """Return a candidate at each predicted pose; its keypoints are where the pose has them."""
    class_ids = np.array([pose.class_id for pose in poses], dtype=np.intp)
    transforms = np.stack([pose.T_camera_object for pose in poses])
    rotation, translation = transforms[:, :3, :3], transforms[:, :3, 3]
    points = np.stack([objects[class_id].keypoints_object for class_id in class_ids])
    pixels = camera.project(points @ np.swapaxes(rotation, 1, 2) + translation[:, None])
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)
    sigmas = np.repeat(_KEYPOINT_SIGMA * sides[:, None], points.shape[1], axis=1)
    targets = KeypointTargets(points, pixels, sigmas)
    return Candidates(rotation, translation, np.arange(len(poses)), class_ids, targets, boxes_xyxy)


def follow_contour(pose: ObjectPose, surface: ContourSurface, view: ColourView) -> Followed:
    """Align a predicted pose with the contour that colour shows."""
    covariance = np.diag(np.repeat([_MOTION_SHARE * pose.T_camera_object[2, 3], _MOTION_RAD], 3) ** 2)
    fit = align_contour(view, surface, pose.T_camera_object, covariance, starts=_CONTOUR_STARTS)
    if fit is None:
        return Followed()
    predicted = PoseEstimate(pose.T_camera_object, covariance, np.nan, 1.0, pose.score)
    return Followed(from_contour(predicted, fit), fit.agreement)


def accept_followed(
    poses: Sequence[ObjectPose],
    boxes_xyxy: Array,
    followed: Sequence[Followed],
    objects: Sequence[ObjectModel],
    config: AcceptanceConfig,
    has_depth: bool,
) -> PoseResults:
    """Return the predicted ``poses`` where they were found again, with their ids, and a rejection of each other one.

    One that the image contradicts is ``LOST``, one that met another a ``DUPLICATE``; of others too little is seen.
    ``boxes_xyxy`` are in the image's pixels.
    """
    found: list[ObjectPose] = []
    rejections: list[PoseRejection] = []
    for pose, box, item in zip(poses, boxes_xyxy, followed):
        if item.estimate is None:
            rejections.append(_rejection(pose, box, RejectionReason.UNCERTAIN, "nothing of it can be seen"))
        elif doubt := _loss(item) or find_doubt(item.estimate, pose.score, config, has_depth):
            rejections.append(_rejection(pose, box, *doubt))
        else:
            now = make_pose(item.estimate, objects[pose.class_id], pose.class_id, box)
            found.append(replace(now, reprojection_rms_px=np.nan, track_id=pose.track_id))
    unique, repeated = split_duplicates(found, objects, config.duplicate_distance)
    return PoseResults(tuple(unique), tuple(rejections + repeated))


def not_in_image(pose: ObjectPose) -> PoseRejection:
    """Return the rejection of a predicted pose that the camera does not see any more."""
    return _rejection(pose, pose.box_xyxy, RejectionReason.UNCERTAIN, "it is not in the image any more")


def _loss(item: Followed) -> Doubt | None:
    """Return how the image contradicts a predicted pose, if so."""
    estimate, agreement = item.estimate, item.agreement
    if estimate and estimate.depth_used and estimate.violated >= _SEEN_THROUGH:
        return RejectionReason.LOST, f"depth sees through {estimate.violated:.0%} of it"
    if agreement is not None and agreement < _LEAST_AGREEMENT:
        return RejectionReason.LOST, f"only {agreement:.0%} of its contour is there"
    return None


def _rejection(pose: ObjectPose, box_xyxy: Array, reason: RejectionReason, detail: str) -> PoseRejection:
    return PoseRejection(pose.class_id, pose.class_name, pose.score, box_xyxy, reason, detail, pose.track_id)
