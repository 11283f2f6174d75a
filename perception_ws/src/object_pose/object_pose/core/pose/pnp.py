"""Poses from keypoints: minimal solvers for the start, robust weighted Gauss-Newton for the answer.

All detections of a frame are solved in one batch. A start from all keypoints is enough for most; only where the fit
stays poor are starts tried from small subsets, chosen so that any few outliers are left out by at least one of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask
from object_pose.core.geometry.camera import Camera
from object_pose.core.kernels import for_kernels, kernel
from object_pose.core.pose.gauss_newton import HUBER, TUKEY, fit_keypoints, keypoint_information, whiten

MIN_KEYPOINTS = 4
INLIER_SIGMAS = 3.0
ALTERNATIVES = 3
_START_STEPS = 4
_FINAL_STEPS = 6
# Mean truncated squared error (sigmas) above which more starts are tried; 2.0 is what pure noise gives.
_POOR_COST = 4.0
_MAX_OUTLIERS = 3
_FLAT_RATIO = 0.35
_MIN_INFORMATION = 1e-6
_BEHIND_COST, _NO_COST = 1e3, 1e300
_ALTERNATIVE_ANGLE_RAD = math.radians(12.0)


@dataclass(frozen=True)
class PnpSolution:
    """Poses of B detections; a detection without any pose has ``solved`` False and arbitrary numbers elsewhere.

    ``rotation`` (B, 3, 3), ``translation`` (B, 3) metres, ``covariance`` (B, 6, 6) of a left perturbation,
    ``inliers`` (B, K) keypoints within three sigmas, ``rms_px`` (B,) over them, ``cost`` (B,) mean truncated squared
    error in sigmas. ``alternative_rotation`` (B, R, 3, 3) and ``alternative_translation``
    (B, R, 3) are the alternative minima, where ``has_alternative`` (B, R) says that there is one.
    """

    rotation: Array
    translation: Array
    covariance: Array
    inliers: Mask
    rms_px: Array
    cost: Array
    solved: Mask
    alternative_rotation: Array
    alternative_translation: Array
    has_alternative: Mask

    def take(self, index: NDArray[np.intp]) -> PnpSolution:
        """Return the solutions of the detections that ``index`` picks."""
        return PnpSolution(*(getattr(self, item.name)[index] for item in fields(self)))


@dataclass
class _Starts:
    """Start poses, several per detection: ``owner`` says which detection each belongs to."""

    rotations: list[Array]
    translations: list[Array]
    owner: list[int]

    def add(self, pose: tuple[Array, Array], owner: int) -> None:
        self.rotations.append(pose[0])
        self.translations.append(pose[1])
        self.owner.append(owner)


def solve_pnp(targets: KeypointTargets, camera: Camera) -> PnpSolution:
    """Find the pose of every detection from its keypoints, robust to up to three wrong ones in eight."""
    count = len(targets.pixels)
    rotation, translation, owner = _descend(_start_from_all(targets, camera), targets, camera)
    cost = _costs(targets, rotation, translation, owner, camera)
    poor = [i for i in range(count) if not np.any(cost[owner == i] < _POOR_COST)]
    if poor:
        extra = _Starts([], [], [])
        for index in poor:
            _start_from_subsets(extra, targets, index, camera)
        more = _descend(extra, targets, camera)
        rotation, translation = np.concatenate([rotation, more[0]]), np.concatenate([translation, more[1]])
        cost = np.concatenate([cost, _costs(targets, *more, camera)])
        owner = np.concatenate([owner, more[2]])
    return _finish(targets, rotation, translation, owner, cost, camera)


def _start_from_all(targets: KeypointTargets, camera: Camera) -> _Starts:
    """Return a start of each detection from all its keypoints, of flat objects also the pose that looks alike."""
    starts = _Starts([], [], [])
    present = np.isfinite(targets.sigmas)
    rows = np.flatnonzero(np.count_nonzero(present, axis=1) >= MIN_KEYPOINTS)
    if not len(rows):
        return starts
    thin_axes = _thin_axes(targets.points_object[rows], present[rows])
    for index, thin in zip(rows.tolist(), thin_axes.tolist()):
        points, pixels = targets.points_object[index][present[index]], targets.pixels[index][present[index]]
        pose = _minimal(points, pixels, camera, cv2.SOLVEPNP_SQPNP)
        if pose is None:
            continue
        starts.add(pose, index)
        if thin >= 0:
            starts.add(_mirrored(pose, thin), index)
    return starts


def _start_from_subsets(starts: _Starts, targets: KeypointTargets, index: int, camera: Camera) -> None:
    present = np.flatnonzero(np.isfinite(targets.sigmas[index]))
    for subset in covering_subsets(len(present)):
        chosen = present[list(subset)]
        points, pixels = targets.points_object[index][chosen], targets.pixels[index][chosen]
        pose = _minimal(points, pixels, camera, cv2.SOLVEPNP_AP3P)
        if pose is not None:
            starts.add(pose, index)


@lru_cache(maxsize=32)
def covering_subsets(count: int, outliers: int = _MAX_OUTLIERS) -> tuple[tuple[int, ...], ...]:
    """Return four-element subsets of ``range(count)`` such that any ``outliers`` elements are avoided by one of them.

    Chosen greedily; for 8 elements and 3 outliers that finds the 14 blocks of the Steiner system S(3, 4, 8).
    """
    if count < MIN_KEYPOINTS:
        return ()
    subsets = list(combinations(range(count), MIN_KEYPOINTS))
    cases = _bit_masks(list(combinations(range(count), min(outliers, count - MIN_KEYPOINTS))))
    avoids = (_bit_masks(subsets)[:, None] & cases) == 0
    chosen: list[tuple[int, ...]] = []
    while avoids.shape[1]:
        best = int(np.argmax(np.count_nonzero(avoids, axis=1)))
        chosen.append(subsets[best])
        avoids = avoids[:, ~avoids[best]]
    return tuple(chosen)


def _bit_masks(subsets: list[tuple[int, ...]]) -> NDArray[np.int64]:
    return np.array([sum(1 << element for element in subset) for subset in subsets], dtype=np.int64)


def _minimal(points: Array, pixels: Array, camera: Camera, method: int) -> tuple[Array, Array] | None:
    """Return OpenCV's first solution that is finite, or None."""
    try:
        _, rotations, translations, _ = cv2.solvePnPGeneric(
            np.ascontiguousarray(points), np.ascontiguousarray(pixels), camera.matrix, None, flags=method
        )
    except cv2.error:
        return None
    for rotation, translation in zip(rotations, translations):
        matrix = cv2.Rodrigues(rotation)[0]
        if math.isfinite(matrix.sum()) and math.isfinite(translation.sum()):
            return matrix, translation.reshape(3)
    return None


def _thin_axes(points: Array, present: Mask) -> NDArray[np.intp]:
    """Return along which axis (B,) the points (B, K, 3) that are present lie in a plane, -1 of solid objects."""
    inside = present[..., None]
    extents = np.where(inside, points, -np.inf).max(axis=1) - np.where(inside, points, np.inf).min(axis=1)
    is_flat = extents.min(axis=1) <= _FLAT_RATIO * np.sort(extents, axis=1)[:, 1]
    return np.where(is_flat, extents.argmin(axis=1), -1)


def _mirrored(pose: tuple[Array, Array], thin: int) -> tuple[Array, Array]:
    """Return the pose in which a flat object looks alike: its plane mirrored about the viewing ray."""
    rotation, translation = pose
    ray = translation / math.sqrt(translation @ translation)
    mirrored = rotation - 2.0 * ray[:, None] * (ray @ rotation)
    # A reflection of all three axes is left-handed; turning the thin axis back makes it a rotation.
    mirrored[:, thin] *= -1.0
    return mirrored, translation


def _descend(starts: _Starts, targets: KeypointTargets, camera: Camera) -> tuple[Array, Array, NDArray[np.intp]]:
    """Pull every start towards its minimum under Huber's loss."""
    owner = np.asarray(starts.owner, dtype=np.intp)
    if not starts.owner:
        return np.zeros((0, 3, 3)), np.zeros((0, 3)), owner
    rotation, translation = np.stack(starts.rotations), np.stack(starts.translations)
    fit_keypoints(
        *targets.take(owner).for_kernels(), pinhole_of(camera), HUBER, _START_STEPS, 1e-3, rotation, translation
    )
    return rotation, translation, owner


def _costs(
    targets: KeypointTargets, rotation: Array, translation: Array, owner: NDArray[np.intp], camera: Camera
) -> Array:
    cost = truncated_cost(targets.take(owner), rotation, translation, camera)
    # A pose behind the camera is the last resort, to be told apart from no pose at all.
    return np.asarray(cost + _BEHIND_COST * (translation[:, 2] <= 0.0))


def _finish(
    targets: KeypointTargets, rotation: Array, translation: Array, owner: NDArray[np.intp], cost: Array, camera: Camera
) -> PnpSolution:
    """Refine the best minima of every detection and describe the winner."""
    count = len(targets.pixels)
    chosen = _distinct_minima(rotation, owner, cost, count)
    # A row that nothing was found for borrows an arbitrary pose, so that the batch stays rectangular.
    rotation = np.concatenate([rotation, np.eye(3)[None]])[chosen.reshape(-1)]
    translation = np.concatenate([translation, [[0.0, 0.0, 1.0]]])[chosen.reshape(-1)]
    minima_owner = np.repeat(np.arange(count), chosen.shape[1])
    own_targets = targets.take(minima_owner).for_kernels()
    fit_keypoints(*own_targets, pinhole_of(camera), TUKEY, _FINAL_STEPS, 1e-4, rotation, translation)
    final_cost = _costs(targets, rotation, translation, minima_owner, camera).reshape(chosen.shape)
    final_cost = np.where(chosen >= 0, final_cost, np.inf)
    order = np.argsort(final_cost, axis=1, kind="stable")
    rows = np.arange(count)[:, None]
    return _describe(
        targets,
        rotation.reshape(*chosen.shape, 3, 3)[rows, order],
        translation.reshape(*chosen.shape, 3)[rows, order],
        final_cost[rows, order],
        camera,
    )


def _distinct_minima(rotation: Array, owner: NDArray[np.intp], cost: Array, count: int) -> NDArray[np.intp]:
    """Return (count, 1 + R) candidate indices of each detection's best minima, -1 where there are no more."""
    chosen = np.full((count, 1 + ALTERNATIVES), -1, dtype=np.intp)
    _choose_minima(rotation, owner, np.where(np.isfinite(cost), cost, _NO_COST), chosen)
    return chosen


@kernel
def _choose_minima(rotation: Array, owner: NDArray[np.intp], cost: Array, chosen: NDArray[np.intp]) -> None:
    """Fill ``chosen`` (B, 1 + R), -1 so far, with the cheapest starts that are turned from all cheaper ones."""
    least_cosine = math.cos(_ALTERNATIVE_ANGLE_RAD)
    left = cost.copy()
    for index in range(len(chosen)):
        for place in range(chosen.shape[1]):
            best = -1
            for start in range(len(left)):
                if owner[start] == index and left[start] < _NO_COST and (best < 0 or left[start] < left[best]):
                    best = start
            if best < 0:
                break
            chosen[index, place] = best
            for start in range(len(left)):
                if owner[start] != index:
                    continue
                trace = 0.0
                for a in range(3):
                    for b in range(3):
                        trace += rotation[best, a, b] * rotation[start, a, b]
                if 0.5 * (trace - 1.0) >= least_cosine:
                    left[start] = _NO_COST
            left[best] = _NO_COST


def _describe(
    targets: KeypointTargets, rotation: Array, translation: Array, cost: Array, camera: Camera
) -> PnpSolution:
    """Describe poses that are sorted by cost, (B, 1 + R, ...), the best first."""
    best = np.ascontiguousarray(rotation[:, 0]), np.ascontiguousarray(translation[:, 0])
    whitened, present = residuals(targets, *best, camera), np.isfinite(targets.sigmas)
    inliers = (whitened < INLIER_SIGMAS) & present
    information = keypoint_information(*targets.for_kernels(), pinhole_of(camera), *best, inliers.astype(np.float64))
    squared = whitened**2 * inliers
    inlier_count = np.count_nonzero(inliers, axis=1)
    # A fit worse than the sigmas promise widens the covariance; a better one is taken for luck.
    spread = np.maximum(np.sum(squared, axis=1) / np.maximum(2 * inlier_count - 6, 1), 1.0)
    covariance = np.linalg.inv(information + np.eye(6) * _MIN_INFORMATION) * spread[:, None, None]
    pixel_squared = np.sum(squared * np.where(present, targets.sigmas, 0.0) ** 2, axis=1)
    return PnpSolution(
        rotation=best[0],
        translation=best[1],
        covariance=covariance,
        inliers=inliers,
        rms_px=np.sqrt(pixel_squared / np.maximum(inlier_count, 1)),
        cost=cost[:, 0],
        solved=np.isfinite(cost[:, 0]),
        alternative_rotation=rotation[:, 1:],
        alternative_translation=translation[:, 1:],
        has_alternative=np.isfinite(cost[:, 1:]),
    )


@dataclass(frozen=True)
class KeypointTargets:
    """Where the network saw the keypoints of B candidates.

    ``points_object`` (B, K, 3) metres, ``pixels`` (B, K, 2) undistorted, ``sigmas`` (B, K) pixels, infinite where the
    keypoint is missing.
    """

    points_object: Array
    pixels: Array
    sigmas: Array

    def take(self, index: NDArray[np.intp]) -> KeypointTargets:
        """Return the targets of the candidates that ``index`` picks, repetition allowed."""
        return KeypointTargets(self.points_object[index], self.pixels[index], self.sigmas[index])

    def for_kernels(self) -> tuple[Array, Array, Array]:
        """Return points, pixels and inverse sigmas, 0 of missing keypoints, as kernels read them."""
        points, pixels = for_kernels(self.points_object, np.float64), for_kernels(self.pixels, np.float64)
        return points, pixels, for_kernels(1.0 / self.sigmas, np.float64)


def residuals(targets: KeypointTargets, rotation: Array, translation: Array, camera: Camera) -> Array:
    """Return the lengths (B, K) of the whitened residuals of poses (B, 3, 3), (B, 3); 0 of missing keypoints."""
    return whiten(*targets.for_kernels(), pinhole_of(camera), rotation, translation)


def truncated_cost(targets: KeypointTargets, rotation: Array, translation: Array, camera: Camera) -> Array:
    """Return ``mean_truncated`` (B,) of the residuals of poses (B, 3, 3), (B, 3)."""
    return mean_truncated(residuals(targets, rotation, translation, camera), np.isfinite(targets.sigmas))


def mean_truncated(whitened: Array, present: Mask, threshold: float = 3.0) -> Array:
    """Return (B,) the mean of min(residual, threshold)^2 over the keypoints present."""
    cost = np.minimum(whitened, threshold) ** 2
    return np.asarray(np.sum(cost * present, axis=1) / np.maximum(np.sum(present, axis=1), 1))


def pinhole_of(camera: Camera) -> Array:
    """Return focal lengths and principal point (4,), as kernels read them."""
    return np.array([camera.fx, camera.fy, camera.cx, camera.cy])
