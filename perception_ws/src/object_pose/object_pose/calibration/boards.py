"""Calibration boards, and where their points are in an image: whole boards and parts of them.

The frame of a board: x along its columns, y along its rows, z into the board, so that a camera before it sees x to the
right, y down and z away from it. The origin is the first point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.calibration.chessboard_detection import ChessboardGrid, find_grid, first_square_is_dark
from object_pose.core.arrays import Array, Image, expect_shape
from object_pose.core.errors import CalibrationError, ConfigError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import apply, exp, exp_so3, hat, make_transform

CHESSBOARD, CHARUCO, APRILTAG, CIRCLES, ASYMMETRIC = (
    "chessboard",
    "charuco",
    "apriltag",
    "circles",
    "asymmetric_circles",
)
GRAMMAR = (
    "chessboard:COLUMNSxROWS:SQUARE (inner corners), charuco:COLUMNSxROWS:SQUARE:MARKER:DICTIONARY (squares), "
    "apriltag:COLUMNSxROWS:TAG:GAP[:DICTIONARY] (tags), circles:COLUMNSxROWS:SPACING or "
    "asymmetric_circles:COLUMNSxROWS:SPACING (circles); lengths in metres"
)
MIN_POINTS = 8
_DEFAULT_DICTIONARY = {CHARUCO: "DICT_5X5_1000", APRILTAG: "DICT_APRILTAG_36h11"}
_LENGTHS = {CHESSBOARD: 1, CHARUCO: 2, APRILTAG: 2, CIRCLES: 1, ASYMMETRIC: 1}
_SMALLEST_PLANE_SHARE = 1e-3
_APRILTAG_SHIFT_PX = -0.5  # its lines are in pixels whose corners, not centres, are integers
_ITERATIONS, _CONVERGED = 15, 1e-10


@dataclass(frozen=True)
class Board:
    """A flat board with known points.

    ``columns`` and ``rows`` count inner corners (chessboard), squares (ChArUco), tags (AprilTag) or circles.
    ``spacing_m`` is a square's side, a tag's side, or the distance of circles (of an asymmetric grid: half the distance
    of neighbours in a row); ``marker_m`` is the side of ChArUco's markers, or the gap between tags. Raises
    ``ConfigError`` for a board that cannot exist.
    """

    kind: str
    columns: int
    rows: int
    spacing_m: float
    marker_m: float = 0.0
    dictionary: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _LENGTHS:
            raise ConfigError(f"board '{self.kind}' is not known", GRAMMAR)
        if min(self.columns, self.rows) < 2 or max(self.columns, self.rows) > 100:
            raise ConfigError(f"a board of {self.columns}x{self.rows} cannot be used", "2 to 100 each")
        lengths = (self.spacing_m, self.marker_m)[: _LENGTHS[self.kind]]
        if not all(0.0 < length < 10.0 for length in lengths):
            raise ConfigError(f"the lengths of a board must be between 0 and 10 m, got {lengths}", GRAMMAR)
        if self.kind == CHARUCO and self.marker_m >= self.spacing_m:
            raise ConfigError("the markers of a ChArUco board must be smaller than its squares", GRAMMAR)
        if self.kind in _DEFAULT_DICTIONARY:
            name = self.dictionary or _DEFAULT_DICTIONARY[self.kind]
            if not hasattr(cv2.aruco, name):
                raise ConfigError(f"marker dictionary '{name}' is not known", "such as DICT_5X5_100")
            object.__setattr__(self, "dictionary", name)

    @property
    def points_m(self) -> Array:
        """All points (N, 3) in the board's frame in metres, by their ids."""
        if self.kind in (CHARUCO, APRILTAG):
            if self.kind == CHARUCO:
                board: Any = self.aruco_board()
                return np.asarray(board.getChessboardCorners(), dtype=np.float64)
            return np.asarray(self.aruco_board().getObjPoints(), dtype=np.float64).reshape(-1, 3)
        rows, columns = np.mgrid[: self.rows, : self.columns]
        if self.kind == ASYMMETRIC:
            columns = 2 * columns + rows % 2
        grid = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).reshape(-1, 3)
        return grid * self.spacing_m

    @property
    def centre_m(self) -> Array:
        """The middle (3,) of its points."""
        points = self.points_m
        return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2.0)

    def aruco_board(self) -> cv2.aruco.Board:
        """Return OpenCV's form of a ChArUco or AprilTag board."""
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))
        size = self.columns, self.rows
        if self.kind == CHARUCO:
            return cv2.aruco.CharucoBoard(size, self.spacing_m, self.marker_m, dictionary)
        return cv2.aruco.GridBoard(size, self.spacing_m, self.marker_m, dictionary)

    def __str__(self) -> str:
        lengths = [f"{length:g}" for length in (self.spacing_m, self.marker_m)[: _LENGTHS[self.kind]]]
        parts = [self.kind, f"{self.columns}x{self.rows}", *lengths, *([self.dictionary] if self.dictionary else [])]
        return ":".join(parts)


def parse_board(text: str) -> Board:
    """Return the board that a text such as ``chessboard:9x6:0.025`` describes; raises ``ConfigError``."""
    kind, *rest = text.split(":")
    count = _LENGTHS.get(kind)
    try:
        if count is None or not count + 1 <= len(rest) <= count + 2:
            raise ValueError
        columns, rows = (int(number) for number in rest[0].lower().split("x"))
        lengths = [float(number) for number in rest[1 : 1 + count]]
    except ValueError as error:
        raise ConfigError(f"board '{text}' cannot be understood", GRAMMAR) from error
    dictionary = rest[1 + count] if len(rest) > 1 + count else ""
    return Board(kind, columns, rows, lengths[0], lengths[1] if count > 1 else 0.0, dictionary)


@dataclass(frozen=True)
class BoardView:
    """Points of a board in one image.

    ``pixels`` (N, 2) are those of the real image. ``hypotheses`` (H, N, 3) are the points of the board that they may
    be, in metres: several where the board looks the same from two sides, or where only a part of a chessboard is seen;
    the first is used until ``chosen`` says another. ``edge_width_px`` is how wide a step of brightness is: about 2 in
    a sharp image.
    """

    name: str
    image_wh: tuple[int, int]
    pixels: Array
    hypotheses: Array
    edge_width_px: float = 2.0

    def __post_init__(self) -> None:
        expect_shape("pixels", self.pixels, (None, 2))
        expect_shape("hypotheses", self.hypotheses, (None, len(self.pixels), 3))

    @property
    def points_m(self) -> Array:
        """The points (N, 3) in the board's frame."""
        return np.asarray(self.hypotheses[0])

    def chosen(self, index: int) -> BoardView:
        """Return the view with one hypothesis alone."""
        return replace(self, hypotheses=self.hypotheses[index : index + 1])

    def without(self, is_bad: NDArray[np.bool_]) -> BoardView:
        """Return the view without some of its points."""
        return replace(self, pixels=self.pixels[~is_bad], hypotheses=self.hypotheses[:, ~is_bad])


def detect(board: Board, images: Iterable[tuple[str, Image]]) -> tuple[list[BoardView], list[str]]:
    """Find a board in named grey images (H, W); returns the views, and the names of images that do not show it.

    The views of a plain chessboard agree on which of its squares are dark, if any image shows it whole.
    """
    found: list[tuple[str, Image, Array, Array]] = []
    grids: list[tuple[str, Image, ChessboardGrid]] = []
    missed: list[str] = []
    for name, gray in images:
        points = None
        if board.kind == CHESSBOARD:
            grid = find_grid(gray, board.columns, board.rows)
            if grid is not None:
                grids.append((name, gray, grid))
                continue
        else:
            points = _find_marked(board, gray) if board.dictionary else _find_circles(board, gray)
        if points is None or len(points[0]) < MIN_POINTS or _is_line(points[1][0]):
            missed.append(name)
        else:
            found.append((name, gray, *points))
    is_dark = first_square_is_dark([grid for *_, grid in grids], board.columns, board.rows)
    for name, gray, grid in grids:
        ids = grid.hypotheses(board.columns, board.rows, is_dark)
        if len(ids):
            found.append((name, gray, grid.pixels[grid.seen], board.points_m[ids]))
        else:
            missed.append(name)
    views = [
        BoardView(name, (gray.shape[1], gray.shape[0]), pixels, hypotheses, _edge_width(gray, pixels))
        for name, gray, pixels, hypotheses in found
    ]
    return views, missed


def board_pose(camera: Camera, pixels: Array, points_m: Array) -> Array:
    """Return T_camera_board (4, 4) that projects flat points (N, 3) nearest to pixels (N, 2) of the real image."""
    points_m, ideal = np.ascontiguousarray(points_m), np.ascontiguousarray(camera.undistort(pixels))
    refined: list[Array] = []
    for method in (cv2.SOLVEPNP_IPPE, cv2.SOLVEPNP_SQPNP):  # the first has both minima, but fails on frontal boards
        _, rvecs, tvecs, _ = cv2.solvePnPGeneric(points_m, ideal, camera.matrix, None, flags=method)
        starts = [make_transform(exp_so3(rvec.ravel()), tvec.ravel()) for rvec, tvec in zip(rvecs, tvecs)]
        before = [pose for pose in starts if apply(pose, points_m)[:, 2].min() > 0.0]
        refined = [_refined(camera, pixels, points_m, pose) for pose in before]
        if refined:
            break
    if not refined:
        raise CalibrationError("a board that was found cannot be before this camera", "are these the right intrinsics?")
    return min(refined, key=lambda pose: float(np.sum((_projected(camera, pose, points_m) - pixels) ** 2)))


def to_image(camera: Camera, ideal: Array) -> Array:
    """Return how pixels of the real image move with ideal ones (..., 2): (..., 2, 2)."""
    change = np.empty((*ideal.shape, 2))
    for axis, step in enumerate(0.5 * np.eye(2)):
        change[..., axis] = camera.distort(ideal + step) - camera.distort(ideal - step)
    return change


def twist_jacobian(points: Array) -> Array:
    """Return how points (..., 3) move with a twist that acts on them from the left: (..., 3, 6)."""
    return np.concatenate([np.broadcast_to(np.eye(3), (*points.shape, 3)), -hat(points)], axis=-1)


def _refined(camera: Camera, pixels: Array, points_m: Array, pose: Array) -> Array:
    """Return the pose of least squares in the real image, by Gauss and Newton's method."""
    for _ in range(_ITERATIONS):
        p_camera = apply(pose, points_m)
        ideal = camera.project(p_camera)
        by_twist = to_image(camera, ideal) @ camera.projection_jacobian(p_camera) @ twist_jacobian(p_camera)
        residuals = camera.distort(ideal) - pixels
        step = np.linalg.lstsq(by_twist.reshape(-1, 6), -residuals.ravel(), rcond=None)[0]
        pose = exp(step) @ pose
        if np.abs(step).max() < _CONVERGED:
            break
    return pose


def _projected(camera: Camera, pose: Array, points_m: Array) -> Array:
    return camera.distort(camera.project(apply(pose, points_m)))


def _find_marked(board: Board, gray: Image) -> tuple[Array, Array] | None:
    if board.kind == CHARUCO:
        charuco: Any = board.aruco_board()
        corners, ids, _, _ = cv2.aruco.CharucoDetector(charuco).detectBoard(gray)
        if ids is None:
            return None
        return np.asarray(corners, dtype=np.float64).reshape(-1, 2), board.points_m[None, ids.ravel()]
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_APRILTAG
    aruco_board = board.aruco_board()
    detector = cv2.aruco.ArucoDetector(aruco_board.getDictionary(), settings)
    corners, ids, rejected = detector.detectMarkers(gray)
    if ids is None:
        return None
    corners, ids, _, _ = detector.refineDetectedMarkers(gray, aruco_board, corners, ids, rejected)
    points, pixels = aruco_board.matchImagePoints(corners, ids)
    if points is None:
        return None
    points, pixels = (np.asarray(values, dtype=np.float64) for values in (points, pixels))
    return pixels.reshape(-1, 2) + _APRILTAG_SHIFT_PX, points.reshape(1, -1, 3)


def _find_circles(board: Board, gray: Image) -> tuple[Array, Array] | None:
    is_asymmetric = board.kind == ASYMMETRIC
    layout = cv2.CALIB_CB_ASYMMETRIC_GRID if is_asymmetric else cv2.CALIB_CB_SYMMETRIC_GRID
    for image in (gray, np.asarray(255 - gray, dtype=np.uint8)):
        found, centres = cv2.findCirclesGrid(image, (board.columns, board.rows), flags=layout)
        if found:
            pixels = np.asarray(centres, dtype=np.float64).reshape(-1, 2)
            points = board.points_m
            turned = 2.0 * board.centre_m - points
            if is_asymmetric and board.rows % 2:
                return pixels, points[None]  # half a turn maps it on another grid
            return pixels, np.stack([points, turned])
    return None


def _is_line(points_m: Array) -> bool:
    values = np.linalg.svd(points_m[:, :2] - points_m[:, :2].mean(axis=0), compute_uv=False)
    return bool(values[1] < _SMALLEST_PLANE_SHARE * values[0])


def _edge_width(gray: Image, pixels: Array) -> float:
    """Return how many pixels a step from dark to light takes where the points are."""
    low, high = np.floor(pixels.min(axis=0)).astype(int), np.ceil(pixels.max(axis=0)).astype(int)
    part = gray[max(low[1], 0) : high[1] + 1, max(low[0], 0) : high[0] + 1].astype(np.float32)
    if min(part.shape) < 3:
        return float("inf")
    slope = np.hypot(cv2.Sobel(part, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(part, cv2.CV_32F, 0, 1, scale=0.125))
    contrast = float(np.subtract(*np.percentile(part, (95, 5))))
    return contrast / max(float(np.percentile(slope, 98)), 1e-6)
