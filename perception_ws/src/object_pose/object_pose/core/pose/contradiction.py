"""Where the image contradicts poses that depth gave: how far off it shows objects, and what that makes of the poses.

Boxes are the witness of the place: the detector sees colour alone, while the keypoints of an RoI head that reads relief
move with the depth image. Keypoints are the witness of the distance. A single box may be off by as much as misaligned
depth is, so several must agree before poses lose score (docs/decisions/0013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry.camera import Camera
from object_pose.core.metrics.pose import ADD_SHARE
from object_pose.core.pose.confidence import PoseEstimate, log_odds_of, probability
from object_pose.core.pose.misalignment import Cause, Misalignment
from object_pose.core.pose.pnp import PnpSolution
from object_pose.core.pose.search import SearchResult
from object_pose.core.results.pose import ImageOffset, ObjectPose

# Standard deviation of a box's middle: in pixels, and as a share of the silhouette's longer side.
_MIDDLE_SIGMA_PX, _MIDDLE_SIGMA_SHARE = 1.5, 0.02
# A box of this size, as a share of the silhouette's, shows the whole object.
_WHOLE_BOX = 0.8, 1.25
_CONFIRMED = 0.5
# An object alone is believed from this many sigmas on: of aligned depth 1 in 100 is farther off.
_ALONE = 3.0
# The log-odds that a pose loses which is off by as much as a correct one may be.
_LOG_ODDS = -4.0
_MIN_DEPTH_M = 1e-3


def add_image_offsets(
    estimates: Sequence[PoseEstimate], found: SearchResult, solution: PnpSolution, camera: Camera
) -> list[PoseEstimate]:
    """Return the B estimates that a search aligned with depth, with how far off the image shows those it confirms.

    ``solution`` are the poses by their keypoints alone.
    """
    candidates = found.candidates
    z = np.maximum(candidates.translation[:, 2], _MIN_DEPTH_M)
    contours = found.surfaces.contour_points @ np.swapaxes(candidates.rotation, 1, 2) + candidates.translation[:, None]
    low, high = _silhouettes(contours, camera)
    box_low, box_high = candidates.boxes_xyxy[:, :2], candidates.boxes_xyxy[:, 2:]
    ratio = (box_high - box_low) / np.maximum(high - low, 1.0)
    is_whole = np.all((ratio > _WHOLE_BOX[0]) & (ratio < _WHOLE_BOX[1]), axis=1)
    low_shift, high_shift = box_low - low, box_high - high
    certain = np.sign(low_shift) * np.minimum(np.abs(low_shift), np.abs(high_shift)) * (low_shift * high_shift > 0.0)
    log_scales = np.log(np.maximum(solution.translation[:, 2], _MIN_DEPTH_M) / z)
    log_scale_sigmas = np.sqrt(solution.covariance[:, 2, 2]) / np.maximum(solution.translation[:, 2], _MIN_DEPTH_M)
    position_variances = np.array([np.diag(estimate.covariance)[:2] for estimate in estimates]).reshape(-1, 2)
    pose_sigmas = np.sqrt(position_variances.mean(axis=1)) * camera.fx / z
    sides = _MIDDLE_SIGMA_SHARE * (high - low).max(axis=1)
    sigmas = np.sqrt(_MIDDLE_SIGMA_PX**2 + sides**2 + pose_sigmas**2)
    are_certain = np.linalg.norm(certain, axis=1) > _ALONE * sigmas
    middles, shifts = 0.5 * (low + high), 0.5 * (low_shift + high_shift)
    result = list(estimates)
    for i, estimate in enumerate(estimates):
        if estimate.score >= _CONFIRMED:
            sigma = float(sigmas[i]) if is_whole[i] else np.inf
            of_scale = float(log_scales[i]), float(log_scale_sigmas[i])
            offset = ImageOffset(middles[i], shifts[i], sigma, bool(are_certain[i]), *of_scale)
            result[i] = replace(estimate, image_offset=offset)
    return result


def doubt_misaligned(
    estimate: PoseEstimate, misalignment: Misalignment | None, camera: Camera, diameter: float
) -> PoseEstimate:
    """Return an estimate by depth with what the misalignment of its image makes of its covariance and score.

    The covariance then covers the error. What one object shows alone takes no score.
    """
    if misalignment is None:
        return estimate
    across, common = _error_of(misalignment, estimate.T_camera_object[:3, 3], camera)
    covariance = estimate.covariance.copy()
    covariance[:3, :3] += common
    if misalignment.objects == 1:
        return replace(estimate, covariance=covariance)
    loss = _LOG_ODDS * float(np.linalg.norm(across)) / (ADD_SHARE * diameter)
    score = probability(float(log_odds_of(np.array(estimate.score))) + loss)
    return replace(estimate, covariance=covariance, score=score)


def widen_misaligned(poses: Sequence[ObjectPose], misalignment: Misalignment, camera: Camera) -> tuple[ObjectPose, ...]:
    """Return tracked poses with the error that misaligned depth makes in every frame: a filter takes it for noise."""
    widened = []
    for pose in poses:
        covariance = pose.covariance.copy()
        if pose.depth_used:
            covariance[:3, :3] += _error_of(misalignment, pose.T_camera_object[:3, 3], camera)[1]
        widened.append(replace(pose, covariance=covariance))
    return tuple(widened)


def _error_of(misalignment: Misalignment, translation: Array, camera: Camera) -> tuple[Array, Array]:
    """Return how far a misalignment moves a pose across its ray (3,), and the covariance (3, 3) of all it does."""
    across, variance = np.zeros(3), np.zeros((3, 3))
    if misalignment.cause is Cause.SHIFT:
        per_pixel = translation[2] / np.array([camera.fx, camera.fy])
        across[:2] = misalignment.parameters * per_pixel
        variance[:2, :2] = misalignment.covariance * np.outer(per_pixel, per_pixel)
    elif misalignment.cause is Cause.SCALE:
        # Which is wrong is not known: a focal length moves poses across the ray, depth's scale along it.
        scale = float(np.expm1(misalignment.parameters[0]))
        across[:2] = scale * translation[:2]
        variance = scale**2 * np.outer(translation, translation)
    return across, np.outer(across, across) + variance


def _silhouettes(contours_camera: Array, camera: Camera) -> tuple[Array, Array]:
    """Return the corners (B, 2), (B, 2) of boxes around contours (B, C, 3), as far as they lie in the image."""
    contours_camera[..., 2] = np.maximum(contours_camera[..., 2], _MIN_DEPTH_M)
    pixels = camera.project(contours_camera)
    limit = np.array(camera.wh, dtype=np.float64)
    return np.clip(pixels.min(axis=1), 0.0, limit), np.clip(pixels.max(axis=1), 0.0, limit)
