"""What is taken in and given out: objects and detections that fit, and estimates that become poses or rejections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError, ModelError
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.confidence import PoseEstimate
from object_pose.core.pose.config import AcceptanceConfig
from object_pose.core.pose.pnp import MIN_KEYPOINTS, KeypointTargets, PnpSolution
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, RejectionReason

Ids = NDArray[np.int64]
Doubt = tuple[RejectionReason, str]

_MIN_SURFACE_POINTS = 50
# A pose that depth gives this score is confirmed: seldom another object detected as a second class.
_CONFIRMED = 0.3


def check_objects(objects: Sequence[ObjectModel], needs_surface: bool) -> None:
    """Raise ``ModelError`` where a solver cannot work with the objects."""
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


def check_detections(detections: Detections, objects: Sequence[ObjectModel]) -> None:
    """Raise ``DataError`` where detections are not of the objects."""
    if len(detections) == 0:
        return
    for class_id in (int(detections.class_ids.min()), int(detections.class_ids.max())):
        if not 0 <= class_id < len(objects):
            raise DataError(
                f"a detection has class id {class_id}, but there are {len(objects)} objects",
                "detector and objects must come from the same model card",
            )
    expected, got = len(objects[0].keypoints_object), detections.keypoints.shape[1]
    if got not in (0, expected):
        raise DataError(f"detections have {got} keypoints, the objects {expected}")


def accept_estimates(
    estimates: Sequence[PoseEstimate],
    detections: Detections,
    targets: KeypointTargets,
    solution: PnpSolution,
    objects: Sequence[ObjectModel],
    config: AcceptanceConfig,
    has_depth: bool,
) -> PoseResults:
    """Return a pose or a rejection for every detection; ``has_depth`` is whether the image had usable depth."""
    present = np.count_nonzero(np.isfinite(targets.sigmas), axis=1)
    poses: list[ObjectPose] = []
    candidate_ids: list[int] = []
    rejections: list[PoseRejection] = []
    for row, estimate in enumerate(estimates):
        model, class_id = objects[detections.class_ids[row]], int(detections.class_ids[row])
        score, box = float(detections.scores[row]), detections.boxes_xyxy[row]
        doubt = _no_pose(int(present[row]), bool(solution.solved[row]), estimate)
        doubt = doubt or _keypoint_doubt(estimate, box, config) or find_doubt(estimate, score, config, has_depth)
        if doubt:
            rejections.append(PoseRejection(class_id, model.name, score, box, *doubt))
        else:
            poses.append(make_pose(estimate, model, class_id, box))
            candidate_ids.append(int(detections.candidate_ids[row]))
    unique, repeated = split_duplicates(poses, objects, config.duplicate_distance, np.array(candidate_ids, np.int64))
    return PoseResults(tuple(unique), tuple(rejections + repeated))


def find_doubt(
    estimate: PoseEstimate, detector_score: float, config: AcceptanceConfig, has_depth: bool
) -> Doubt | None:
    """Return why a pose cannot be trusted by depth, score and covariance, if so."""
    if estimate.depth_used and not estimate.verification >= config.min_verification:
        detail = f"depth confirms only {estimate.verification:.0%} of the surface it sees"
        return RejectionReason.DEPTH_DISAGREES, detail
    if estimate.depth_used and not estimate.visibility >= config.min_visibility:
        return RejectionReason.DEPTH_DISAGREES, f"depth confirms only {estimate.visibility:.0%} of the surface"
    # Colour alone seldom scores high; with depth, what it does not confirm is not given.
    if has_depth and estimate.score < config.min_score:
        against = estimate.depth_used and estimate.score < detector_score
        reason = RejectionReason.DEPTH_DISAGREES if against else RejectionReason.UNCERTAIN
        return reason, f"score {estimate.score:.2f} after all evidence"
    limit = config.max_translation_sigma_m if has_depth else config.max_translation_sigma_without_depth_m
    of_position = estimate.covariance[:3, :3]
    # The sum of the variances along the axes bounds that of any direction, and costs less.
    if not np.trace(of_position) <= limit**2:
        sigma = float(np.sqrt(np.max(np.linalg.eigvalsh(of_position))))
        if not sigma <= limit:
            return RejectionReason.UNCERTAIN, f"position is uncertain by {sigma * 1e3:.0f} mm"
    return None


def make_pose(estimate: PoseEstimate, model: ObjectModel, class_id: int, box_xyxy: Array) -> ObjectPose:
    """Return an estimate as the pose of an object seen in a box (4,)."""
    return ObjectPose(
        class_id=class_id,
        class_name=model.name,
        score=estimate.score,
        T_camera_object=estimate.T_camera_object,
        covariance=estimate.covariance_with(model.symmetry),
        box_center=model.box_center,
        box_size=model.box_size,
        box_xyxy=box_xyxy,
        reprojection_rms_px=estimate.reprojection_rms_px,
        depth_rms_m=estimate.depth_rms_m,
        visibility=estimate.visibility,
        depth_used=estimate.depth_used,
    )


def split_duplicates(
    poses: Sequence[ObjectPose], objects: Sequence[ObjectModel], distance: float, candidate_ids: Ids | None = None
) -> tuple[list[ObjectPose], list[PoseRejection]]:
    """Return the best pose of each object, and the others as rejections; see ``find_duplicates``."""
    if not poses:
        return [], []
    transforms = np.stack([pose.T_camera_object for pose in poses])
    middles = np.stack([pose.box_center for pose in poses])
    centers = np.einsum("nij,nj->ni", transforms[:, :3, :3], middles) + transforms[:, :3, 3]
    scores = np.array([pose.score for pose in poses])
    class_ids = np.array([pose.class_id for pose in poses])
    diameters = np.array([objects[class_id].diameter for class_id in class_ids])
    confirmed = np.array([pose.depth_used for pose in poses]) & (scores >= _CONFIRMED)
    confirmed_ids = np.where(confirmed, class_ids, -1)
    better = find_duplicates(centers, scores, diameters, distance, candidate_ids, confirmed_ids)
    unique, repeated = [], []
    for pose, original in zip(poses, better):
        if original is None:
            unique.append(pose)
        else:
            repeated.append(repeated_pose(pose, poses[original]))
    return unique, repeated


def repeated_pose(pose: ObjectPose, better: ObjectPose) -> PoseRejection:
    """Return the rejection of a pose that is of the same object as a better one."""
    detail = f"the same object as a {better.class_name} of score {better.score:.2f}"
    of_pose = pose.class_id, pose.class_name, pose.score, pose.box_xyxy
    return PoseRejection(*of_pose, RejectionReason.DUPLICATE, detail, pose.track_id)


def find_duplicates(
    centers: Array,
    scores: Array,
    diameters: Array,
    distance: float,
    candidate_ids: Ids | None = None,
    confirmed_ids: Ids | None = None,
) -> list[int | None]:
    """Tell for each of N poses which better one it repeats, or None.

    Two poses are one object where their (N, 3) centres are nearer than ``distance`` times the smaller diameter, or
    where their ``candidate_ids`` (N,) are the same. ``confirmed_ids`` (N,) are the classes of confirmed poses,
    -1 of others: two that are confirmed as two classes are two objects, one in or on the other.
    """
    candidate_ids = np.arange(len(scores)) if candidate_ids is None else candidate_ids
    ids = np.full(len(scores), -1) if confirmed_ids is None else confirmed_ids
    better: list[int | None] = [None] * len(scores)
    apart = np.linalg.norm(centers[:, None] - centers, axis=2)
    near = (apart < distance * np.minimum(diameters, diameters[:, None])) | (candidate_ids == candidate_ids[:, None])
    if np.count_nonzero(near) == len(scores):  # each is near itself
        return better
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        reach = distance * np.minimum(diameters[kept], diameters[index])
        is_near = np.linalg.norm(centers[kept] - centers[index], axis=1) < reach
        nested = (ids[kept] != ids[index]) & (ids[kept] >= 0) & (ids[index] >= 0)
        same = np.flatnonzero((is_near & ~nested) | (candidate_ids[kept] == candidate_ids[index]))
        if len(same):
            better[index] = kept[same[0]]
        else:
            kept.append(int(index))
    return better


def _no_pose(present: int, solved: bool, estimate: PoseEstimate) -> Doubt | None:
    """Return why keypoints give no pose at all, if so."""
    if present < MIN_KEYPOINTS:
        return RejectionReason.TOO_FEW_KEYPOINTS, f"{present} keypoints, {MIN_KEYPOINTS} are needed"
    if not solved or not np.all(np.isfinite(estimate.T_camera_object)):
        return RejectionReason.PNP_FAILED, "no pose in front of the camera fits the keypoints"
    if estimate.T_camera_object[2, 3] <= 0.0:
        return RejectionReason.BEHIND_CAMERA, f"z = {estimate.T_camera_object[2, 3]:.3f} m"
    return None


def _keypoint_doubt(estimate: PoseEstimate, box_xyxy: Array, config: AcceptanceConfig) -> Doubt | None:
    """Return why the keypoints of a pose that depth does not decide cannot be trusted, if so."""
    if estimate.depth_used:
        return None
    side = float(max(box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1], 1.0))
    if estimate.inlier_share < config.min_inlier_share:
        return RejectionReason.REPROJECTION_ERROR, f"only {estimate.inlier_share:.0%} of the keypoints fit one pose"
    if estimate.reprojection_rms_px > config.max_reprojection_error * side:
        return RejectionReason.REPROJECTION_ERROR, f"rms {estimate.reprojection_rms_px:.1f} px"
    return None
