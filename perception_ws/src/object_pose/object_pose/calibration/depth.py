"""Calibration of a depth camera against the plane of a board: scale, offset and the bias of each part of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from object_pose.calibration.boards import BoardView, board_pose
from object_pose.core.arrays import Array, DepthImage
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera

BIAS_WH = (16, 12)
_LEAST_PIXELS = 500
_LEAST_A_CELL = 50
_DISTANCE_RATIO = 1.15  # between far and near boards, below which scale and offset are one
_OUTLIER_SIGMAS = 4.0
_ROUNDS = 8
_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_STEP = 2  # pixels; neighbours say the same


@dataclass(frozen=True)
class DepthCalibration:
    """True depth is ``scale`` * measured + ``offset_m`` - bias * measured^2.

    ``bias`` (rows, columns) in 1 / m, over equal cells of an image of ``image_wh``, is what scale and offset leave: an
    error of disparity. NaN where no board was seen, which counts as 0. ``rms_before_mm`` and ``rms_after_mm`` are those
    of all pixels on the boards (single frames: they hold the noise of the sensor), ``noise_mm`` is that noise about the
    plane of best fit at ``distances_m`` (N,).
    """

    image_wh: tuple[int, int]
    scale: float
    scale_sigma: float
    offset_m: float
    offset_sigma_m: float
    bias: Array
    rms_before_mm: float
    rms_after_mm: float
    distances_m: Array
    noise_mm: Array
    bias_mm: Array
    names: tuple[str, ...]

    def corrected(self, depth_m: DepthImage) -> DepthImage:
        """Return the corrected depth image (H, W) in metres; 0 stays 0."""
        bias = cv2.resize(np.nan_to_num(self.bias).astype(np.float32), self.image_wh, interpolation=cv2.INTER_LINEAR)
        better = self.scale * depth_m + self.offset_m - bias * depth_m * depth_m
        return np.where(depth_m > 0.0, better, 0.0).astype(np.float32)


def calibrate_depth(camera: Camera, views: Sequence[BoardView], depths_m: Sequence[DepthImage]) -> DepthCalibration:
    """Compare depth images (H, W), aligned with the images of the views, with the boards in these.

    Raises ``CalibrationError`` where no depth lies on a board.
    """
    names, planes = [], []
    for view, depth_m in zip(views, depths_m):
        plane = _on_board(camera, view, depth_m)
        if len(plane) >= _LEAST_PIXELS:
            names.append(view.name)
            planes.append(plane)
    if not planes:
        raise CalibrationError(
            "no depth lies on the board in any image", "is depth aligned with colour, and the board within its range?"
        )
    x, y, measured, true = np.concatenate(planes).T
    distances = np.array([np.median(plane[:, 3]) for plane in planes])
    with_offset = distances.max() > _DISTANCE_RATIO * distances.min()
    design = np.stack([measured, np.ones_like(measured)], axis=1)[:, : 1 + with_offset]
    weights = 1.0 / true**4  # depth from disparity has an error that grows with the square
    for _ in range(_ROUNDS):
        normal = design.T @ (design * weights[:, None])
        solution = np.linalg.solve(normal, design.T @ (weights * true))
        residuals = (design @ solution - true) / true**2
        sigma = _MAD_TO_SIGMA * float(np.median(np.abs(residuals))) + 1e-9
        is_good = np.abs(residuals) < _OUTLIER_SIGMAS * sigma
        weights = is_good / true**4
    # Pixels of one image err together: its boards count, not its pixels.
    spread = np.linalg.inv(normal) * sigma**2 * len(measured) / len(planes)
    scale, offset = float(solution[0]), float(solution[1]) if with_offset else 0.0
    bias = _bias_map(camera.wh, x, y, np.where(is_good, residuals, np.nan))
    noise, shift = zip(*(_noise(plane, scale, offset) for plane in planes))
    raw = (measured - true)[is_good]
    columns, rows = BIAS_WH
    cell = (
        (y * rows / camera.height).astype(int).clip(0, rows - 1),
        (x * columns / camera.width).astype(int).clip(0, columns - 1),
    )
    after = ((residuals - np.nan_to_num(bias)[cell]) * true**2)[is_good]
    return DepthCalibration(
        camera.wh,
        scale,
        float(np.sqrt(spread[0, 0])),
        offset,
        float(np.sqrt(spread[1, 1])) if with_offset else 0.0,
        bias,
        float(np.sqrt(np.mean(raw**2)) * 1e3),
        float(np.sqrt(np.mean(after**2)) * 1e3),
        distances,
        np.array(noise),
        np.array(shift),
        tuple(names),
    )


def _on_board(camera: Camera, view: BoardView, depth_m: DepthImage) -> Array:
    """Return x, y, measured and true depth (N, 4) of pixels between a board's points."""
    if depth_m.shape != (camera.height, camera.width):
        raise CalibrationError(
            f"{view.name}: depth of {depth_m.shape[1]}x{depth_m.shape[0]} is not aligned with the image of "
            f"{camera.width}x{camera.height}"
        )
    mask = np.zeros(depth_m.shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(view.pixels).astype(np.int32)), 1)
    mask[::_STEP] = 0
    y, x = np.nonzero((mask > 0) & (depth_m > 0.0) & np.isfinite(depth_m))
    rays = camera.backproject(camera.undistort(np.stack([x, y], axis=-1).astype(np.float64)), np.ones(len(x)))
    pose = board_pose(camera, view.pixels, view.points_m)
    true = (pose[:3, 2] @ pose[:3, 3]) / (rays @ pose[:3, 2])
    return np.stack([x, y, depth_m[y, x].astype(np.float64), true], axis=-1)


def _bias_map(wh: tuple[int, int], x: Array, y: Array, residuals: Array) -> Array:
    columns, rows = BIAS_WH
    index = (y * rows / wh[1]).astype(int).clip(0, rows - 1) * columns + (x * columns / wh[0]).astype(int).clip(
        0, columns - 1
    )
    bias = np.full(rows * columns, np.nan)
    for cell in np.unique(index):
        own = residuals[index == cell]
        if np.isfinite(own).sum() >= _LEAST_A_CELL:
            bias[cell] = np.nanmedian(own)
    return bias.reshape(rows, columns)


def _noise(plane: Array, scale: float, offset: float) -> tuple[float, float]:
    """Return spread and median of an image's depth about its board, in mm, after scale and offset."""
    error = scale * plane[:, 2] + offset - plane[:, 3]
    middle = float(np.median(error))
    return _MAD_TO_SIGMA * float(np.median(np.abs(error - middle))) * 1e3, middle * 1e3
