"""Where the image contradicts a pose that depth gave: keypoints and boxes lie beside it.

The silhouette of a pose that is right encloses the detection's box: an occluder takes away from the box, nothing adds
to it. A box that sticks out on one side and falls short on the other is evidence of a shift. Unlike the keypoints of
a head that reads relief beside colour, it does not move with the depth image (docs/decisions/0013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.geometry.camera import Camera
from object_pose.core.pose.candidates import Candidates, Surfaces
from object_pose.core.pose.confidence import PoseEstimate, log_odds_of, probability
from object_pose.core.pose.search import SearchResult
from object_pose.core.results.pose import ImageOffset

# Standard deviation of a box's edge: in pixels, and as a share of the silhouette's longer side.
_EDGE_SIGMA_PX, _EDGE_SIGMA_SHARE = 1.5, 0.03
# Whitened shifts up to this are noise; beyond, each further sigma takes this much of the log-odds.
_ACCEPTED = 2.0
_LOG_ODDS_PER_SIGMA = -6.0
# Beyond this, an object is one of those that show depth to be shifted.
_SUSPICIOUS = 1.5
_CONFIRMED = 0.5
# A box of this size, as a share of the silhouette's, shows the whole object; a larger one is not of the silhouette.
_WHOLE_BOX = 0.8, 1.25
_MIN_DEPTH_M = 1e-3


@dataclass(frozen=True)
class Contradictions:
    """How far the image shows B objects from their poses: ``shift_px`` (B, 2) of ``sigma_px`` (B,).

    Of keypoints and box the one that contradicts more. ``offsets`` are None where an object is too hidden to tell.
    """

    shift_px: Array
    sigma_px: Array
    offsets: tuple[ImageOffset | None, ...]


def compare_with_image(
    candidates: Candidates, surfaces: Surfaces, covariances: Array, camera: Camera
) -> Contradictions:
    """Compare poses of ``covariances`` (B, 6, 6), aligned with depth, with their keypoints and boxes in the image."""
    targets, rotation = candidates.targets, np.swapaxes(candidates.rotation, 1, 2)
    z = np.maximum(candidates.translation[:, 2], _MIN_DEPTH_M)
    pose_sigma = np.sqrt(0.5 * (covariances[:, 0, 0] + covariances[:, 1, 1])) * camera.fx / z
    low, high = _silhouettes(surfaces.contour_points @ rotation + candidates.translation[:, None], camera)
    size, box_size = high - low, candidates.boxes_xyxy[:, 2:] - candidates.boxes_xyxy[:, :2]
    low_shift, high_shift = candidates.boxes_xyxy[:, :2] - low, candidates.boxes_xyxy[:, 2:] - high
    same_side = low_shift * high_shift > 0.0
    box_shift = np.sign(low_shift) * np.minimum(np.abs(low_shift), np.abs(high_shift)) * same_side
    edge_sigma = np.hypot(_EDGE_SIGMA_PX, _EDGE_SIGMA_SHARE * size.max(axis=1))
    box_sigma = np.hypot(edge_sigma, pose_sigma)

    projected = camera.project(targets.points_object @ rotation + candidates.translation[:, None])
    keypoint_shift, keypoint_sigma = _median_shift(targets.pixels - projected, targets.sigmas)
    keypoint_sigma = np.hypot(keypoint_sigma, pose_sigma)
    by_box = _whitened(box_shift, box_sigma) >= _whitened(keypoint_shift, keypoint_sigma)
    ratio = box_size / np.maximum(size, 1.0)
    offsets: list[ImageOffset | None] = []
    for i, center in enumerate(0.5 * (low + high)):
        if np.all((ratio[i] > _WHOLE_BOX[0]) & (ratio[i] < _WHOLE_BOX[1])):
            shift, sigma = 0.5 * (low_shift[i] + high_shift[i]), float(box_sigma[i])
            scale = float(np.mean(np.log(ratio[i])))
            offsets.append(ImageOffset(center, shift, sigma, scale, float(edge_sigma[i] / size[i].mean())))
        elif np.any(ratio[i] > _WHOLE_BOX[1]) and np.isfinite(keypoint_sigma[i]):
            offsets.append(ImageOffset(center, keypoint_shift[i], float(keypoint_sigma[i])))
        else:
            offsets.append(None)
    return Contradictions(
        np.where(by_box[:, None], box_shift, keypoint_shift),
        np.where(by_box, box_sigma, keypoint_sigma),
        tuple(offsets),
    )


def weigh_contradictions(estimates: Sequence[PoseEstimate], found: SearchResult, camera: Camera) -> list[PoseEstimate]:
    """Return estimates that were aligned with depth with less score and more variance where the image contradicts them.

    The variance grows along the shift, so that it covers it. Where most objects of the image that show it are shifted,
    all are taken to be. Estimates that all other evidence confirms say how far the image shows them off.
    """
    covariances = np.array([estimate.covariance for estimate in estimates]).reshape(-1, 6, 6)
    seen = compare_with_image(found.candidates, found.surfaces, covariances, camera)
    is_confirmed = np.array([estimate.score >= _CONFIRMED for estimate in estimates], dtype=bool)
    shifts, sigmas = seen.shift_px.copy(), seen.sigma_px.copy()
    whitened = _whitened(shifts, sigmas)
    voters = np.flatnonzero([offset is not None and sure for offset, sure in zip(seen.offsets, is_confirmed)])
    if 2 * np.count_nonzero(whitened[voters] > _SUSPICIOUS) > len(voters):
        most = voters[np.argmax(whitened[voters])]
        others = whitened < whitened[most]
        shifts[others], sigmas[others] = shifts[most], sigmas[most]
    excess = _whitened(shifts, sigmas) - _ACCEPTED
    weighed = [_doubted(item, shifts[i], float(excess[i]), camera) for i, item in enumerate(estimates)]
    return [replace(weighed[i], image_offset=seen.offsets[i] if is_confirmed[i] else None) for i in range(len(weighed))]


def _doubted(estimate: PoseEstimate, shift_px: Array, excess: float, camera: Camera) -> PoseEstimate:
    if excess <= 0.0:
        return estimate
    shift_m = shift_px * estimate.T_camera_object[2, 3] / (camera.fx, camera.fy)
    covariance = estimate.covariance.copy()
    covariance[:2, :2] += min(excess, 1.0) * np.outer(shift_m, shift_m)
    score = probability(float(log_odds_of(np.array(estimate.score))) + _LOG_ODDS_PER_SIGMA * excess)
    return replace(estimate, covariance=covariance, score=score)


def _whitened(shift_px: Array, sigma_px: Array | float) -> Array:
    return np.asarray(np.linalg.norm(shift_px, axis=-1) / sigma_px)


def _silhouettes(contours_camera: Array, camera: Camera) -> tuple[Array, Array]:
    """Return the corners (B, 2), (B, 2) of boxes around contours (B, C, 3), as far as they lie in the image."""
    contours_camera[..., 2] = np.maximum(contours_camera[..., 2], _MIN_DEPTH_M)
    pixels = camera.project(contours_camera)
    limit = np.array(camera.wh, dtype=np.float64)
    return np.clip(pixels.min(axis=1), 0.0, limit), np.clip(pixels.max(axis=1), 0.0, limit)


def _median_shift(errors_px: Array, sigmas: Array) -> tuple[Array, Array]:
    """Return the shift (B, 2) that most keypoints share, and its sigma (B,): those of one object err together."""
    present = np.isfinite(sigmas)
    some = present.any(axis=1) if sigmas.shape[1] else np.zeros(len(sigmas), dtype=bool)
    shift, sigma = np.zeros((len(sigmas), 2)), np.full(len(sigmas), np.inf)
    for i in np.flatnonzero(some):
        shift[i] = np.median(errors_px[i][present[i]], axis=0)
        sigma[i] = np.median(sigmas[i][present[i]])
    return shift, sigma
