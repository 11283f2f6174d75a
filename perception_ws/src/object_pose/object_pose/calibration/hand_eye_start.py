"""The start of a hand-eye calibration in closed form, and what can be wrong with the samples before it.

Both mountings have one equation, T_camera_board = inverse(X) A Y. The camera on the gripper: X is T_gripper_camera, A
is T_gripper_base, Y is T_base_board. The camera beside the robot, the board on the gripper: X is T_base_camera, A is
T_base_gripper, Y is T_gripper_board.

Park, Martin, "Robot sensor calibration: solving AX = XB on the Euclidean group", 1994, for the rotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from object_pose.calibration.boards import BoardView, board_pose
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import inverse, make_transform, nearest_rotation

EYE_IN_HAND, EYE_TO_HAND = "eye_in_hand", "eye_to_hand"
MOUNTINGS = (EYE_IN_HAND, EYE_TO_HAND)
MIN_SAMPLES = 3
_SUBSET = 4
_TRIALS = 200
_LEAST_TURN_DEG = 4.0  # of the robot about a second axis
_WIDEST_TURN = 3.0  # radians; the axis of half a turn has no sign
_DIRECTION_RATIO = 0.3
_SCALE_TOLERANCE = 0.03
_SCALE_SIGMAS = 5.0
_SURE_SAMPLES = 9  # fewer say little of the board's size
_MAD_TO_SIGMA = 1.4826
_INLIER_SIGMAS = 5.0


@dataclass(frozen=True)
class Start:
    """X and Y (4, 4) as a closed form gives them from the samples (N,) that agree, and the size of the board.

    ``scale`` is the board's true size, in units of that which was assumed, as the robot's motion says it.
    """

    X: Array
    Y: Array
    is_inlier: NDArray[np.bool_]
    scale: float
    scale_sigma: float
    median_error_m: float


def robot_motion(mounting: str, T_base_gripper: Array) -> Array:
    """Return A (N, 4, 4) of a mounting."""
    if mounting not in MOUNTINGS:
        raise CalibrationError(f"mounting '{mounting}' is not known", f"one of {', '.join(MOUNTINGS)}")
    return inverse(T_base_gripper) if mounting == EYE_IN_HAND else T_base_gripper


def check_motions(A: Array) -> None:
    """Raise ``CalibrationError`` where the robot's poses (N, 4, 4) cannot determine the hand-eye transform."""
    if len(A) < MIN_SAMPLES:
        raise CalibrationError(
            f"{len(A)} samples show the board, at least {MIN_SAMPLES} are needed",
            "15 or more from different sides are advised",
        )
    turns = _rotation_vectors(_relative(A))
    spread = np.rad2deg(np.sqrt(np.linalg.eigvalsh(turns.T @ turns / len(turns))[::-1]))
    if spread[0] < _LEAST_TURN_DEG:
        raise CalibrationError(
            f"the gripper turns by {spread[0]:.1f} degrees between samples, which is too little",
            "turn it by 20 degrees and more about two axes",
        )
    if spread[1] < _LEAST_TURN_DEG:
        raise CalibrationError(
            f"the gripper turns about one axis only ({spread[0]:.0f} degrees about it, {spread[1]:.1f} about another)",
            "translation along that axis cannot be found: turn it about a second axis, too",
        )


def choose_hypotheses(camera: Camera, views: Sequence[BoardView], A: Array) -> list[BoardView]:
    """Return views of one numbering of the board: between two images it turns as the robot does.

    The numbering as a whole remains free where the board is symmetric. Raises ``CalibrationError`` where too few images
    show enough of the board.
    """
    if all(len(view.hypotheses) == 1 for view in views):
        return list(views)
    poses = [np.stack([board_pose(camera, view.pixels, points) for points in view.hypotheses]) for view in views]
    misfits = _turn_misfits(poses, A)
    turned = []  # of each view, the hypotheses whose turn fits best; they differ by where the seen part lies
    for own in misfits:
        best = float(np.min(own))
        turned.append(np.flatnonzero(own < best + 1e-3))
    is_sure = np.array([len(choices) == 1 for choices in turned])
    if is_sure.sum() < MIN_SAMPLES:
        raise CalibrationError(
            f"only {is_sure.sum()} images show which corners of the board they see",
            "show the whole board in three images or more, or use a ChArUco board",
        )
    first = np.stack([own[choices[0]] for own, choices in zip(poses, turned)])
    start = robust_start(A[is_sure], first[is_sure])
    expected = inverse(start.X) @ A @ start.Y
    chosen = []
    for view, own, choices, prediction in zip(views, poses, turned, expected):
        offsets = np.linalg.norm(own[choices, :3, 3] - prediction[:3, 3], axis=-1)
        chosen.append(view.chosen(int(choices[np.argmin(offsets)])))
    return chosen


def robust_start(A: Array, T: Array) -> Start:
    """Solve inverse(X) A Y = T for poses (N, 4, 4) of which fewer than half may be wrong."""
    generator = np.random.default_rng(0)
    size = min(_SUBSET, len(A))
    best, best_errors = np.inf, np.full(len(A), np.inf)
    for _ in range(1 if size == len(A) else _TRIALS):
        subset = generator.choice(len(A), size, replace=False)
        solution = _solve(A[subset], T[subset])
        if solution is None:
            continue
        errors = _errors(A, T, *solution)
        if np.median(errors) < best:
            best, best_errors = float(np.median(errors)), errors
    is_inlier = best_errors <= max(_INLIER_SIGMAS * _MAD_TO_SIGMA * best, 1e-6)
    if is_inlier.sum() < MIN_SAMPLES:
        is_inlier = np.ones(len(A), dtype=bool)
    solution = _solve(A[is_inlier], T[is_inlier])
    if solution is None:
        raise CalibrationError(
            "the gripper turns about one axis only, or hardly at all", "turn it about two axes by 20 degrees and more"
        )
    X, Y, scale = solution
    sigma = _scale_sigma(A[is_inlier], T[is_inlier], scale)
    return Start(X, Y, is_inlier, scale, sigma, float(np.median(_errors(A, T, X, Y, scale))))


def _scale_sigma(A: Array, T: Array, scale: float) -> float:
    """Return the standard deviation of the board's scale, by leaving out one sample after another (jackknife)."""
    count = len(A)
    without = [_solve(np.delete(A, index, axis=0), np.delete(T, index, axis=0)) for index in range(count)]
    known = [solution[2] for solution in without if solution is not None]
    if len(known) < MIN_SAMPLES:
        return float("inf")
    return float(np.sqrt(np.mean((np.array(known) - scale) ** 2) * (count - 1)))


def check_start(mounting: str, A: Array, T: Array, start: Start) -> None:
    """Raise ``CalibrationError`` for robot poses of the other direction, and for a board of another size."""
    other = robust_start(inverse(A), T)
    if other.median_error_m < _DIRECTION_RATIO * start.median_error_m:
        elsewhere = EYE_TO_HAND if mounting == EYE_IN_HAND else EYE_IN_HAND
        ratio = start.median_error_m / max(other.median_error_m, 1e-9)
        raise CalibrationError(
            f"the samples fit {ratio:.0f} times better with the robot's "
            "poses inverted: they are poses of the base in the gripper, not of the gripper in the base",
            f"state --pose-direction base_in_gripper, or --mounting {elsewhere} if that is how the camera is mounted",
        )
    problem = board_size_problem(start, _SCALE_SIGMAS)
    if problem and len(T) >= _SURE_SAMPLES:
        raise CalibrationError(
            problem,
            "measure a square over several of them; if it is right, the focal length or the unit of the poses is wrong",
        )


def board_size_problem(start: Start, sigmas: float) -> str:
    """Say that the robot's motion contradicts the board's size by so many standard deviations; empty if not."""
    deviation = abs(start.scale - 1.0)
    if deviation < max(_SCALE_TOLERANCE, sigmas * start.scale_sigma):
        return ""
    larger = "larger" if start.scale > 1.0 else "smaller"
    return f"the robot's motion says that the board is {deviation:.1%} {larger} than stated (+-{start.scale_sigma:.1%})"


def _relative(poses: Array) -> Array:
    """Return the motions (M, 4, 4) between all pairs of poses (N, 4, 4), seen from the left."""
    i, j = np.triu_indices(len(poses), 1)
    return np.asarray(poses[i] @ inverse(poses[j]))


def _turn_misfits(poses: Sequence[Array], A: Array) -> list[Array]:
    """Return of each view by how much each hypothesis (H,) turns otherwise than the robot, in radians.

    The view that they are compared with is the one that most others fit.
    """
    best: list[Array] = []
    best_median = np.inf
    robot = A[:, None, :3, :3] @ np.swapaxes(A[None, :, :3, :3], -1, -2)
    angles = _angles(robot)
    fewest = min(len(own) for own in poses)
    for reference, own in enumerate(poses):
        if len(own) > fewest:
            continue
        turns = [_angles(other[:, :3, :3] @ own[0, :3, :3].T) for other in poses]
        misfits = [np.abs(turn - angles[index, reference]) for index, turn in enumerate(turns)]
        median = float(np.median([np.min(values) for values in misfits]))
        if median < best_median:
            best, best_median = misfits, median
    return best


def _rotation_vectors(poses: Array) -> Array:
    return np.asarray(Rotation.from_matrix(poses[:, :3, :3]).as_rotvec())


def _angles(rotations: Array) -> Array:
    traces = np.trace(rotations, axis1=-2, axis2=-1)
    return np.asarray(np.arccos(np.clip(0.5 * (traces - 1.0), -1.0, 1.0)))


def _solve(A: Array, T: Array) -> tuple[Array, Array, float] | None:
    """Return X, Y and the board's scale by least squares; None where the motions do not determine them."""
    robot, seen = _relative(A), _relative(T)
    turns_robot, turns_seen = _rotation_vectors(robot), _rotation_vectors(seen)
    usable = np.linalg.norm(turns_robot, axis=-1) < _WIDEST_TURN
    if usable.sum() < 2:
        return None
    correlation = turns_robot[usable].T @ turns_seen[usable]
    values = np.linalg.svd(correlation, compute_uv=False)
    if values[1] < 1e-6 * max(values[0], 1e-6):
        return None
    rotation = nearest_rotation(correlation)
    # (R_A - I) t_X - scale R_X t_T = -t_A of every motion; the board's points are as far apart as its scale says.
    left = robot[:, :3, :3] - np.eye(3)
    moved = np.einsum("ij,nj->ni", rotation, seen[:, :3, 3])
    with_scale = np.concatenate([left, -moved[..., None]], axis=-1).reshape(-1, 4)
    right = -robot[:, :3, 3].reshape(-1)
    normal = with_scale.T @ with_scale
    if np.linalg.cond(normal) > 1e10:
        return None
    solution = np.linalg.solve(normal, with_scale.T @ right)
    X = make_transform(rotation, solution[:3])
    return X, _mean_pose(inverse(A) @ X @ _scaled(T, solution[3])), float(solution[3])


def _scaled(T: Array, scale: float) -> Array:
    scaled = T.copy()
    scaled[..., :3, 3] *= scale
    return scaled


def _mean_pose(poses: Array) -> Array:
    return make_transform(nearest_rotation(poses[:, :3, :3].sum(axis=0)), np.median(poses[:, :3, 3], axis=0))


def _errors(A: Array, T: Array, X: Array, Y: Array, scale: float) -> Array:
    """Return how far (N,) from the camera's own finding the board is expected, in metres, its turn included."""
    expected, seen = inverse(X) @ A @ Y, _scaled(T, scale)
    shift = np.linalg.norm(expected[:, :3, 3] - seen[:, :3, 3], axis=-1)
    turn = _angles(expected[:, :3, :3] @ np.swapaxes(seen[:, :3, :3], -1, -2))
    return np.asarray(shift + turn * np.linalg.norm(seen[:, :3, 3], axis=-1))
