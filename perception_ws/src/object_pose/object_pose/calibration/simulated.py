"""Boards to print, pictures of boards through a camera, and hand-eye samples with known truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.calibration.boards import APRILTAG, CHARUCO, CHESSBOARD, Board, BoardView
from object_pose.calibration.hand_eye_start import EYE_IN_HAND
from object_pose.core.arrays import Array, Image
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import exp, exp_so3, inverse, make_transform

_MARGIN = 0.6  # of white around the points, in squares, tags or circles
_CIRCLE_RADIUS = 0.35
_LIGHT, _DARK, _BACKGROUND = 235, 25, 110


def board_print(board: Board, pixels_a_metre: float) -> tuple[Image, Array]:
    """Return a grey picture (H, W) of a board to print, and the pixel (2,) of the board's origin in it."""
    margin = _MARGIN * board.spacing_m
    low, high = board.points_m[:, :2].min(axis=0), board.points_m[:, :2].max(axis=0)
    if board.kind != APRILTAG:  # a square, or a circle, is around the points
        low, high = low - board.spacing_m, high + board.spacing_m
    wh = np.rint((high - low + 2.0 * margin) * pixels_a_metre).astype(int)
    origin = (margin - low) * pixels_a_metre - 0.5
    if board.kind in (CHESSBOARD, CHARUCO, APRILTAG):
        y, x = (np.mgrid[: wh[1], : wh[0]] - origin[::-1, None, None]) / pixels_a_metre
        is_dark = _tags(board, x, y) if board.dictionary else np.zeros(x.shape, dtype=bool)
        if board.kind != APRILTAG:
            is_dark |= _squares(board, x, y, low, high)
        return np.where(is_dark, 0, 255).astype(np.uint8), origin
    picture = np.full(wh[::-1], 255, dtype=np.uint8)
    radius = _CIRCLE_RADIUS * board.spacing_m * pixels_a_metre
    for centre in board.points_m[:, :2] * pixels_a_metre + origin:
        cv2.circle(picture, np.rint(centre * 16).astype(int).tolist(), round(radius * 16), 0, -1, cv2.LINE_AA, 4)
    return picture, origin


def _squares(board: Board, x: Array, y: Array, low: Array, high: Array) -> NDArray[np.bool_]:
    """Return where the dark squares of a chessboard are, at places x, y in metres in the board's frame."""
    is_board = (x >= low[0]) & (x < high[0]) & (y >= low[1]) & (y < high[1])
    return np.asarray(is_board & ((np.floor(x / board.spacing_m) + np.floor(y / board.spacing_m)) % 2 == 0))


def _tags(board: Board, x: Array, y: Array) -> NDArray[np.bool_]:
    """Return where the markers of a board are dark."""
    layout = board.aruco_board()
    dictionary = layout.getDictionary()
    is_dark = np.zeros(x.shape, dtype=bool)
    for index, corners in zip(np.ravel(layout.getIds()), layout.getObjPoints()):
        side = dictionary.markerSize + 2
        bits = dictionary.generateImageMarker(int(index), side)
        left, top, _ = np.min(corners, axis=0)
        size = float(np.ptp(corners, axis=0)[0])
        columns, rows = np.floor((x - left) / size * side).astype(int), np.floor((y - top) / size * side).astype(int)
        is_here = (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
        is_dark[is_here] = bits[rows[is_here], columns[is_here]] == 0
    return is_dark


def board_picture(board: Board, camera: Camera, T_camera_board: Array, noise: float = 2.0, seed: int = 0) -> Image:
    """Return what a camera sees of a board: a grey image (H, W) with pixel noise."""
    fine = camera.resized(2 * camera.width, 2 * camera.height)
    distance = float((T_camera_board[:3, :3] @ board.centre_m + T_camera_board[:3, 3])[2])
    picture, origin = board_print(board, 1.5 * fine.fx / distance)
    scale = 1.5 * fine.fx / distance
    rows, columns = np.mgrid[: fine.height, : fine.width].astype(np.float64)
    rays = fine.backproject(fine.undistort(np.stack([columns, rows], axis=-1)), np.ones(rows.shape))
    to_board = inverse(T_camera_board)
    towards, eye = rays @ to_board[:3, :3].T, to_board[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        on_board = eye[:2] - towards[..., :2] * (eye[2] / towards[..., 2])[..., None]
    x, y = np.nan_to_num((on_board * scale + origin), nan=-1e4).clip(-1e4, 1e5).astype(np.float32).transpose(2, 0, 1)
    paper = np.asarray(_DARK + picture.astype(np.float32) * ((_LIGHT - _DARK) / 255.0), dtype=np.float32)
    seen = cv2.remap(paper, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_BACKGROUND)
    seen = cv2.GaussianBlur(cv2.resize(seen, camera.wh, interpolation=cv2.INTER_AREA), (0, 0), 0.6)
    noisy = seen + np.random.default_rng(seed).normal(0.0, noise, seen.shape)
    return np.asarray(np.rint(noisy).clip(0, 255), dtype=np.uint8)


def exact_view(
    board: Board,
    camera: Camera,
    T_camera_board: Array,
    name: str = "",
    generator: np.random.Generator | None = None,
    sigma_px: float = 0.0,
) -> BoardView:
    """Return the points of a board that a camera sees, with noise of ``sigma_px`` in both directions."""
    points = board.points_m
    p_camera = points @ T_camera_board[:3, :3].T + T_camera_board[:3, 3]
    pixels = camera.distort(camera.project(p_camera))
    if generator is not None:
        pixels = pixels + generator.normal(0.0, sigma_px, pixels.shape)
    is_inside = np.all((pixels >= 0) & (pixels <= np.array(camera.wh) - 1), axis=-1) & (p_camera[:, 2] > 0)
    return BoardView(name, camera.wh, pixels[is_inside], points[None, is_inside])


def pose_before(board: Board, distance_m: float, tilt: Array, roll: float, shift: Array | None = None) -> Array:
    """Return T_camera_board (4, 4) of a camera that looks at the board's centre.

    ``tilt`` (2,) and ``roll`` are rotations in radians about the camera's axes, ``shift`` (2,) moves the centre by
    metres in the image.
    """
    rotation = exp_so3([0.0, 0.0, roll]) @ exp_so3([tilt[0], tilt[1], 0.0])
    centre = np.array([*(np.zeros(2) if shift is None else shift), distance_m])
    return make_transform(rotation, centre - rotation @ board.centre_m)


@dataclass(frozen=True)
class SimulatedHandEye:
    """Hand-eye samples: views, the robot's stated poses (N, 4, 4), the truth, and the names of spoilt samples."""

    views: list[BoardView]
    T_base_gripper: Array
    T_camera_board: Array
    X: Array
    Y: Array
    bad: tuple[str, ...]


def simulate_hand_eye(
    board: Board,
    camera: Camera,
    mounting: str = EYE_IN_HAND,
    samples: int = 20,
    sigma_px: float = 0.3,
    robot_sigma_mm: float = 0.1,
    robot_sigma_deg: float = 0.02,
    bad: int = 0,
    seed: int = 0,
    widest_tilt: float = 0.6,
    distances_m: tuple[float, float] = (0.35, 0.6),
) -> SimulatedHandEye:
    """Return samples of a robot that looks at a board from different sides, tilted by up to ``widest_tilt`` radians.

    The ``bad`` ones have poses that are wrong by 5 to 20 mm and 1 to 4 degrees, as when the robot still moved. With
    no tilt the robot turns about one axis alone.
    """
    generator = np.random.default_rng(seed)
    if mounting == EYE_IN_HAND:
        X = exp([0.03, -0.06, 0.05, *generator.normal(0.0, 0.3, 3)])
        Y = make_transform(exp_so3([np.pi, 0.0, 0.0]) @ exp_so3(generator.normal(0.0, 0.2, 3)), [0.5, 0.1, 0.02])
    else:
        X = make_transform(exp_so3([np.pi - 0.5, 0.2, 0.1]), [0.6, -0.1, 0.9])
        Y = exp([0.02, 0.03, 0.08, *generator.normal(0.0, 0.3, 3)])
    views, stated, seen = [], [], []
    wrong = generator.choice(samples, bad, replace=False)
    for index in range(samples):
        tilt = generator.uniform(-widest_tilt, widest_tilt, 2)
        T = pose_before(board, generator.uniform(*distances_m), tilt, generator.uniform(-1.5, 1.5))
        views.append(exact_view(board, camera, T, f"{index:02d}", generator, sigma_px))
        seen.append(T)
        A = X @ T @ inverse(Y)
        pose = inverse(A) if mounting == EYE_IN_HAND else A
        twist = generator.normal(0.0, 1.0, 6) * np.repeat([robot_sigma_mm * 1e-3, np.deg2rad(robot_sigma_deg)], 3)
        if index in wrong:
            directions = generator.normal(0.0, 1.0, (2, 3))
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            sizes = generator.uniform(0.005, 0.02), np.deg2rad(generator.uniform(1.0, 4.0))
            twist = np.concatenate([size * direction for size, direction in zip(sizes, directions)])
        stated.append(pose @ exp(twist))
    return SimulatedHandEye(
        views, np.stack(stated), np.stack(seen), X, Y, tuple(f"{index:02d}" for index in sorted(wrong))
    )
