"""Camera intrinsics from views of a board: the lens model by held-out error, and how far the result can be trusted.

Uncertainty and cross-validation follow the ideas of mrcal (D. Kogan, mrcal.secretsauce.net): what counts is where a
point of the world is projected, so a change of the intrinsics that a rotation of the camera undoes is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.calibration.boards import BoardView, board_pose
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.distortion import EQUIDISTANT, PLUMB_BOB, RATIONAL
from object_pose.core.geometry.se3 import apply, exp_so3, make_transform
from object_pose.core.params import parameter

AUTO = "auto"
MODELS = (PLUMB_BOB, EQUIDISTANT, RATIONAL)  # the simplest first
MIN_VIEWS = 4
GRID_WH = (20, 15)  # cells of the maps of uncertainty and differences
_SIMPLER = 1.03  # a simpler model may have this much more held-out error
_BAD_POINT_SIGMAS = 5.0
_BAD_VIEW_RATIO = 3.0
_ITERATIONS = 10


@dataclass(frozen=True)
class IntrinsicsConfig:
    """How intrinsics are calibrated."""

    lens_model: str = parameter(
        AUTO, "lens model; 'auto' takes the one of least held-out error", choices=(AUTO, *MODELS)
    )
    folds: int = parameter(4, "parts of the images that are held out one after another", minimum=2, maximum=20)
    max_rms_px: float = parameter(1.0, "a larger reprojection error is refused", minimum=0.0)


@dataclass(frozen=True)
class IntrinsicsFit:
    """A camera and where the board is in each view, T_camera_board (N, 4, 4); ``residuals_px`` are (n, 2) of a view."""

    camera: Camera
    T_camera_board: Array
    residuals_px: tuple[Array, ...]

    @property
    def rms_px(self) -> float:
        """Root mean square of the distances of points from where they are expected."""
        return float(np.sqrt(np.mean(np.sum(np.concatenate(self.residuals_px) ** 2, axis=1))))


@dataclass(frozen=True)
class IntrinsicsCalibration:
    """The result.

    ``held_out_px`` is the reprojection error of each model that was tried in images that were held out.
    ``sigma_px`` (rows, columns) is the standard deviation of the projection of a far point, in the worst direction,
    over a grid of the image; ``difference_px`` is how far two halves of the images differ there, and
    ``cross_validation_px`` its root mean square where points were seen. ``rejected`` names views that do not fit the
    others, ``covariance`` is of fx, fy, cx, cy and the distortion.
    """

    fit: IntrinsicsFit
    views: tuple[BoardView, ...]
    held_out_px: dict[str, float]
    sigma_px: Array
    difference_px: Array
    cross_validation_px: float
    covariance: Array
    rejected: tuple[str, ...]
    bad_points: int
    edge_width_px: float

    @property
    def camera(self) -> Camera:
        """The calibrated camera."""
        return self.fit.camera


def calibrate_intrinsics(
    views: Sequence[BoardView], config: IntrinsicsConfig = IntrinsicsConfig()
) -> IntrinsicsCalibration:
    """Calibrate from views of one camera; raises ``CalibrationError`` where they are too few or do not fit."""
    if len({view.image_wh for view in views}) > 1:
        sizes = sorted({f"{width}x{height}" for width, height in (view.image_wh for view in views)})
        raise CalibrationError(f"the images have different sizes: {', '.join(sizes)}", "give those of one camera")
    if len(views) < MIN_VIEWS:
        raise CalibrationError(
            f"{len(views)} images show the board, at least {MIN_VIEWS} are needed", "10 to 30 are advised"
        )
    models = MODELS if config.lens_model == AUTO else (config.lens_model,)
    views, rejected, bad_points = _without_bad(list(views), models[0])
    folds = max(2, min(config.folds, len(views) // 2))
    held_out = {model: _held_out(views, model, folds) for model in models}
    best = min(held_out.values())
    if not np.isfinite(best):
        raise CalibrationError(
            "the images do not determine the camera", "tilt the board by 20 to 45 degrees in more of them"
        )
    model = next(name for name, error in held_out.items() if error <= _SIMPLER * best)
    fit = fit_intrinsics(views, model)
    if fit.rms_px > config.max_rms_px:
        raise CalibrationError(
            f"the reprojection error is {fit.rms_px:.2f} px, more than {config.max_rms_px:g}",
            "is the board flat and as described, and are the images sharp and of one camera at one zoom?",
        )
    covariance, twists = _covariance(fit, views)
    grid = _grid(fit.camera)
    halves = [fit_intrinsics(views[start::2], model) for start in (0, 1)]
    difference = projection_difference(halves[0].camera, halves[1].camera, grid)
    is_seen = _seen(views, grid)
    return IntrinsicsCalibration(
        fit,
        tuple(views),
        held_out,
        _projection_sigma(fit.camera, covariance, twists, grid),
        difference,
        float(np.sqrt(np.mean(difference[is_seen] ** 2))),
        covariance[: -6 * len(views), : -6 * len(views)],
        rejected,
        bad_points,
        float(np.median([view.edge_width_px for view in views])),
    )


def fit_intrinsics(views: Sequence[BoardView], model: str) -> IntrinsicsFit:
    """Fit one model to all views by least squares; raises ``CalibrationError`` where that fails."""
    points = [np.ascontiguousarray(view.points_m, dtype=np.float32) for view in views]
    pixels = [np.ascontiguousarray(view.pixels, dtype=np.float32) for view in views]
    wh = views[0].image_wh
    try:
        if model == EQUIDISTANT:
            flags = cv2.fisheye.CALIB_RECOMPUTE_EXTRINSIC | cv2.fisheye.CALIB_FIX_SKEW
            objects, images = [p.reshape(1, -1, 3) for p in points], [p.reshape(1, -1, 2) for p in pixels]
            _, matrix, coefficients, rvecs, tvecs = cv2.fisheye.calibrate(objects, images, wh, None, None, flags=flags)
        else:
            flags = cv2.CALIB_RATIONAL_MODEL if model == RATIONAL else 0
            _, matrix, coefficients, rvecs, tvecs = cv2.calibrateCamera(points, pixels, wh, None, None, flags=flags)
        count = {PLUMB_BOB: 5, RATIONAL: 8, EQUIDISTANT: 4}[model]
        distortion = tuple(float(value) for value in np.ravel(coefficients)[:count])
        fx, fy, cx, cy = (float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        camera = Camera(*wh, fx, fy, cx, cy, distortion, model)
    except (cv2.error, CalibrationError) as error:
        raise CalibrationError(f"a camera with lens model {model} does not fit the images", str(error)) from error
    poses = np.stack([make_transform(exp_so3(np.ravel(r)), np.ravel(t)) for r, t in zip(rvecs, tvecs)])
    return IntrinsicsFit(camera, poses, _residuals(camera, poses, views))


def projection_difference(first: Camera, second: Camera, pixels: Array) -> Array:
    """Return by how many pixels two cameras differ over ``pixels`` (..., 2) of the first, for far points.

    The rotation between the two that makes the differences least is no difference: it moves the camera, not the lens.
    """
    rays = first.backproject(first.undistort(pixels), np.ones(pixels.shape[:-1])).reshape(-1, 3)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    rotation, flat = np.eye(3), pixels.reshape(-1, 2)
    for _ in range(_ITERATIONS):
        turned = rays @ rotation.T
        found, by_turn, _ = _project(second, turned)
        error = found - flat
        weight = 1.0 / np.maximum(np.linalg.norm(error, axis=-1), 0.05)  # the least sum of distances: corners differ
        normal = np.einsum("nki,n,nkj->ij", by_turn, weight, by_turn)
        rotation = exp_so3(-np.linalg.solve(normal, np.einsum("nki,n,nk->i", by_turn, weight, error))) @ rotation
    found, _, _ = _project(second, rays @ rotation.T)
    return np.asarray(np.linalg.norm(found - flat, axis=-1).reshape(pixels.shape[:-1]))


def _without_bad(views: list[BoardView], model: str) -> tuple[list[BoardView], tuple[str, ...], int]:
    """Return the views without points and whole views that do not fit the others."""
    rejected: list[str] = []
    bad_points = 0
    for _ in range(2):
        try:
            fit = fit_intrinsics(views, model)
        except CalibrationError:
            break
        lengths = [np.linalg.norm(own, axis=1) for own in fit.residuals_px]
        rms = np.array([np.sqrt(np.mean(own**2)) for own in lengths])
        is_bad = rms > _BAD_VIEW_RATIO * np.median(rms)
        if len(views) - is_bad.sum() >= MIN_VIEWS:
            rejected += [view.name for view, bad in zip(views, is_bad) if bad]
        else:
            is_bad[:] = False
        sigma = float(np.median(np.concatenate(lengths))) / 1.177  # the median of a Rayleigh distribution
        kept = []
        for view, own, bad in zip(views, lengths, is_bad):
            points = own > _BAD_POINT_SIGMAS * sigma
            if not bad:
                keep_all = (~points).sum() < 8
                bad_points += 0 if keep_all else int(points.sum())
                kept.append(view if keep_all else view.without(points))
        views = kept
    return views, tuple(rejected), bad_points


def _held_out(views: Sequence[BoardView], model: str, folds: int) -> float:
    """Return the reprojection error of views that the camera was not fitted to; infinite where the model fails."""
    errors = []
    for fold in range(folds):
        try:
            camera = fit_intrinsics([view for index, view in enumerate(views) if index % folds != fold], model).camera
            own = [view for index, view in enumerate(views) if index % folds == fold]
            poses = np.stack([board_pose(camera, view.pixels, view.points_m) for view in own])
        except CalibrationError:
            return float("inf")
        errors += list(_residuals(camera, poses, own))
    return float(np.sqrt(np.mean(np.sum(np.concatenate(errors) ** 2, axis=1))))


def _residuals(camera: Camera, poses: Array, views: Sequence[BoardView]) -> tuple[Array, ...]:
    return tuple(
        camera.distort(camera.project(apply(pose, view.points_m))) - view.pixels for pose, view in zip(poses, views)
    )


def _project(camera: Camera, points: Array) -> tuple[Array, Array, Array]:
    """Return pixels (N, 2), their derivatives by a rotation (N, 2, 3) from the left and by intrinsics (N, 2, 4 + D)."""
    pixels, by_twist, by_intrinsics = _project_all(camera, points)
    return pixels, by_twist[..., 3:], by_intrinsics


def _project_all(camera: Camera, points: Array) -> tuple[Array, Array, Array]:
    """Return pixels (N, 2), their derivatives by a twist (N, 2, 6) from the left and by intrinsics (N, 2, 4 + D)."""
    zero = np.zeros((3, 1))
    coefficients = np.array(camera.distortion)
    if camera.distortion_model == EQUIDISTANT:
        pixels, jacobian = cv2.fisheye.projectPoints(points.reshape(1, -1, 3), zero, zero, camera.matrix, coefficients)
        order = [*range(11, 14), *range(8, 11), 0, 1, 2, 3, *range(4, 8)]
    else:
        pixels, jacobian = cv2.projectPoints(points, zero, zero, camera.matrix, coefficients)
        order = [3, 4, 5, 0, 1, 2, *range(6, 10 + len(coefficients))]
    jacobian = jacobian.reshape(len(points), 2, -1)[:, :, order]
    return np.asarray(pixels).reshape(-1, 2), jacobian[:, :, :6], jacobian[:, :, 6:]


def _covariance(fit: IntrinsicsFit, views: Sequence[BoardView]) -> tuple[Array, NDArray[np.int64]]:
    """Return the covariance (P, P) of intrinsics and poses, and where the poses' twists (N, 6) are in it."""
    size = 4 + len(fit.camera.distortion)
    total = size + 6 * len(views)
    twists = size + np.arange(6 * len(views)).reshape(-1, 6)
    information = np.zeros((total, total))
    for pose, view, own in zip(fit.T_camera_board, views, twists):
        _, by_twist, by_intrinsics = _project_all(fit.camera, apply(pose, view.points_m))
        jacobian = np.concatenate([by_intrinsics, by_twist], axis=-1).reshape(-1, size + 6)
        where = np.concatenate([np.arange(size), own])
        information[np.ix_(where, where)] += jacobian.T @ jacobian
    squares = float(np.sum(np.concatenate(fit.residuals_px) ** 2))
    freedom = max(2 * sum(len(view.pixels) for view in views) - total, 1)
    scale = 1.0 / np.sqrt(np.diag(information))  # parameters have units of very different size
    inverse = np.linalg.pinv(information * np.outer(scale, scale), rcond=1e-13, hermitian=True)
    return np.asarray(inverse * np.outer(scale, scale) * squares / freedom), twists


def _projection_sigma(camera: Camera, covariance: Array, twists: NDArray[np.int64], grid: Array) -> Array:
    """Return the standard deviation (rows, columns) of where far points of the world are projected, in pixels."""
    rays = camera.backproject(camera.undistort(grid), np.ones(grid.shape[:-1])).reshape(-1, 3)
    _, by_turn, by_intrinsics = _project(camera, rays)
    change = np.zeros((len(rays), 2, len(covariance)))
    change[..., : by_intrinsics.shape[-1]] = by_intrinsics
    # The world moves with the boards: a point that is fixed to them moves by the mean of their rotations.
    for own in twists:
        change[..., own[3:]] = by_turn / len(twists)
    spread = change @ covariance @ np.swapaxes(change, 1, 2)
    return np.asarray(np.sqrt(np.linalg.eigvalsh(spread)[:, 1].clip(0.0)).reshape(grid.shape[:-1]))


def _grid(camera: Camera) -> Array:
    columns, rows = GRID_WH
    x, y = np.meshgrid(np.linspace(0, camera.width - 1, columns), np.linspace(0, camera.height - 1, rows))
    return np.stack([x, y], axis=-1)


def _seen(views: Sequence[BoardView], grid: Array) -> NDArray[np.bool_]:
    """Return where the grid lies within the hull of all points that were seen."""
    hull = cv2.convexHull(np.concatenate([view.pixels for view in views]).astype(np.float32))
    inside = [cv2.pointPolygonTest(hull, pixel.tolist(), False) >= 0 for pixel in grid.reshape(-1, 2)]
    return np.array(inside).reshape(grid.shape[:-1])
