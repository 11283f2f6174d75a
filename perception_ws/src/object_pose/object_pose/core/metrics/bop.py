"""The pose errors of the BOP challenge, and which true instances a list of estimates finds.

Hodan et al., "BOP challenge 2020 on 6D object localization". Definitions follow the public bop_toolkit: VSD compares
the surfaces that both poses show to the camera, MSSD the worst surface point, MSPD the worst projected one, the last
two for the symmetric truth that suits the estimate best. Their surface points are the model's even sample of 800.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.object_model import ObjectModel

THRESHOLDS = np.linspace(0.05, 0.5, 10)
"""Limits of MSSD and tolerances of VSD in diameters, and limits of VSD, (10,)."""
MSPD_THRESHOLDS = np.linspace(5.0, 50.0, 10)
"""Limits of MSPD in pixels of an image 640 wide, (10,)."""
MIN_VISIBILITY = 0.1
"""Instances of less visible surface are no targets."""

VSD_DELTA_M = 0.015
MAX_SYMMETRY_STEP = 0.01
_REFERENCE_WIDTH = 640.0


def symmetry_transforms(symmetry: Symmetry, max_step: float = MAX_SYMMETRY_STEP) -> Array:
    """Return the symmetric transforms (M, 4, 4), identity first, an axis of revolution in even steps.

    ``max_step`` is the greatest way, in diameters, of a surface point between two steps: 315 for the toolkit's 0.01.
    """
    discrete = np.concatenate([np.eye(4)[None], symmetry.discrete])
    if symmetry.axis is None:
        return discrete
    count = int(np.ceil(np.pi / max_step))
    rotations = se3.exp_so3(symmetry.axis * (np.arange(count) * (2.0 * np.pi / count))[:, None])
    turns = np.tile(np.eye(4), (count, 1, 1))
    turns[:, :3, :3] = rotations
    turns[:, :3, 3] = symmetry.offset - rotations @ symmetry.offset
    return np.asarray(turns[:, None] @ discrete[None]).reshape(-1, 4, 4)


class SurfaceErrors:
    """MSSD and MSPD of one object; its symmetric surfaces are computed once."""

    def __init__(self, model: ObjectModel, max_step: float = MAX_SYMMETRY_STEP) -> None:
        self._points = model.points_object
        self._transforms = symmetry_transforms(model.symmetry, max_step)

    @cached_property
    def _surfaces(self) -> Array:
        """Every symmetric surface in the object frame, (M, P, 3)."""
        return se3.apply(self._transforms, self._points)

    def mssd(self, T_estimate: Array, T_truth: Array) -> float:
        """Return the maximum symmetry-aware surface distance in metres."""
        estimated = se3.apply(se3.inverse(T_truth) @ T_estimate, self._points)
        return float(np.sqrt(np.min(np.max(_squared_lengths(self._surfaces - estimated), axis=-1))))

    def mspd(self, T_estimate: Array, T_truth: Array, camera: Camera) -> float:
        """Return the maximum symmetry-aware projection distance in pixels."""
        estimated = camera.project(se3.apply(T_estimate, self._points))
        true = camera.project(se3.apply(T_truth, self._surfaces.reshape(-1, 3))).reshape(*self._surfaces.shape[:2], 2)
        return float(np.sqrt(np.min(np.max(_squared_lengths(true - estimated), axis=-1))))


def _squared_lengths(vectors: Array) -> Array:
    return np.asarray(np.einsum("...i,...i->...", vectors, vectors))


def mspd_scale(camera: Camera) -> float:
    """Return the factor that turns this camera's pixels into those of ``MSPD_THRESHOLDS``."""
    return _REFERENCE_WIDTH / camera.width


def ray_lengths(camera: Camera) -> NDArray[np.float32]:
    """Return (H, W): how far a surface is from the camera's centre, a metre of depth along z away."""
    x = (np.arange(camera.width) - camera.cx) / camera.fx
    y = (np.arange(camera.height) - camera.cy) / camera.fy
    return np.sqrt(1.0 + x[None, :] ** 2 + y[:, None] ** 2).astype(np.float32)


def vsd_errors(
    distance_estimate: NDArray[np.float32],
    distance_truth: NDArray[np.float32],
    distance_measured: NDArray[np.float32],
    tolerances_m: Array,
    delta_m: float = VSD_DELTA_M,
) -> Array:
    """Return the visible surface discrepancy, in [0, 1], for each of (T,) tolerances.

    The images (H, W) hold distances from the camera's centre in metres: the model drawn alone in either pose, and the
    scene as measured; 0 stands for nothing there. A surface counts as visible where nothing was measured, and up to
    ``delta_m`` behind what was; as "bop19" in the toolkit.
    """
    seen_truth = _is_visible(distance_truth, distance_measured, delta_m)
    seen_estimate = _is_visible(distance_estimate, distance_measured, delta_m) | (seen_truth & (distance_estimate > 0))
    union = int(np.count_nonzero(seen_truth | seen_estimate))
    if union == 0:
        return np.ones(len(tolerances_m))
    both = seen_truth & seen_estimate
    gaps = np.sort(np.abs(distance_truth[both] - distance_estimate[both]))
    matching = np.searchsorted(gaps, tolerances_m, side="left")
    return np.asarray(1.0 - matching / union)


def _is_visible(
    distance_model: NDArray[np.float32], distance_measured: NDArray[np.float32], delta_m: float
) -> NDArray[np.bool_]:
    unhidden = (distance_model - distance_measured <= delta_m) | (distance_measured == 0.0)
    return np.asarray(unhidden & (distance_model > 0.0))


def find_instances(errors: Array, limits: Array, is_target: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which of G true instances of one object in one image are found, under each of T limits: (G, T).

    ``errors`` (E, G, T) are of E estimates, best score first. As in the toolkit, only as many estimates count as there
    are targets, and each in turn takes the free target of the least error, if that is below the limit.
    """
    found = np.zeros(errors.shape[1:], dtype=bool)
    if not is_target.any():
        return found
    columns = np.arange(len(limits))
    for candidate in errors[: int(np.count_nonzero(is_target))]:
        free = np.where(found | ~is_target[:, None], np.inf, candidate)
        nearest = np.argmin(free, axis=0)
        hit = free[nearest, columns] < limits
        found[nearest[hit], columns[hit]] = True
    return found
