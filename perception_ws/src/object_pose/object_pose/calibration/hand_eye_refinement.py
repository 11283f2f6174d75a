"""Joint refinement of hand-eye transform, board and robot by the reprojection of the board's points.

T_camera_board = D inverse(X) A Y, see ``hand_eye_start``: D, near the identity, is the error of one sample, of the
robot's pose and of what holds the camera or board. It is estimated, too, under a prior of the robot's accuracy, and
eliminated from the normal equations of each sample (Schur complement). Twists are left perturbations of D and right
ones of X and Y: exp(d) D, X exp(x), Y exp(y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from object_pose.calibration.boards import BoardView, board_pose, to_image, twist_jacobian
from object_pose.core.arrays import Array
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import adjoint, apply, exp, inverse, log

POSE_SIZE = 12  # parameters of X and Y, before those of the joints
_ITERATIONS = 12
_CONVERGED = 1e-9
_HUBER = 3.0
_LEAST_PIXEL_SIGMA = 0.02
_UNUSUAL = 3.0  # times the median variance of corners in an image


@dataclass(frozen=True)
class Observations:
    """The points of N samples, padded to P: board (N, P, 3), ideal pixels (N, P, 2), whether they are there (N, P).

    ``to_image`` (N, P, 2, 2) turns small errors in ideal pixels into those of the real image. ``T_camera_board``
    (N, 4, 4) is what each image alone says. ``carried`` (N, 6, 6) turns twists in the camera's frame into those of what
    the robot carries. ``joint_twists`` (N, 6, K) are how the arm, from the left of A, moves with its joints' offsets.
    """

    points: Array
    pixels: Array
    is_there: Array
    to_image: Array
    T_camera_board: Array
    A: Array
    carried: Array
    joint_twists: Array

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Noise:
    """Standard deviations: of a corner in pixels, of the robot's pose in metres and radians, of joint offsets."""

    pixel_px: float = 0.3
    robot_m: float = 1e-3
    robot_rad: float = 1e-3
    joint_rad: float = 0.01


@dataclass(frozen=True)
class State:
    """X and Y (4, 4), the robot's errors D (N, 4, 4) and joint offsets (K,) in radians."""

    X: Array
    Y: Array
    D: Array
    joints: Array


@dataclass(frozen=True)
class Linearised:
    """Normal equations of each sample at a state, D eliminated: (N, 12 + K, 12 + K) and (N, 12 + K).

    ``cost`` (N,) is the squared whitened residual at the best D; ``chi_square`` is what of it the image alone does
    not have, with 6 degrees of freedom where the sample is good. ``steps`` (N, 6) and ``gains`` (N, 6, 12 + K)
    give D's step, ``posterior`` (N, 6, 6) its covariance for known X and Y.
    """

    information: Array
    gradient: Array
    chi_square: Array
    steps: Array
    gains: Array
    posterior: Array


def observe(
    camera: Camera,
    views: Sequence[BoardView],
    A: Array,
    joint_twists: Array | None = None,
    T_camera_board: Array | None = None,
) -> Observations:
    """Bring views of one numbering (see ``choose_hypotheses``) and the robot's motion A (N, 4, 4) together.

    The robot errs where the camera is, until ``with_errors_in`` says another place. ``T_camera_board`` (N, 4, 4) is
    estimated from the views where it is not given.
    """
    count, most = len(views), max(len(view.pixels) for view in views)
    points, pixels = np.zeros((count, most, 3)), np.zeros((count, most, 2))
    points[:] = views[0].points_m[0]
    pixels[:] = (camera.cx, camera.cy)
    is_there = np.zeros((count, most))
    for index, view in enumerate(views):
        number = len(view.pixels)
        points[index, :number] = view.points_m
        pixels[index, :number] = camera.undistort(view.pixels)
        is_there[index, :number] = 1.0
    if T_camera_board is None:
        T_camera_board = np.stack([board_pose(camera, view.pixels, view.points_m) for view in views])
    twists = np.zeros((count, 6, 0)) if joint_twists is None else joint_twists
    carried = np.tile(np.eye(6), (count, 1, 1))
    return Observations(points, pixels, is_there, to_image(camera, pixels), T_camera_board, A, carried, twists)


def with_errors_in(seen: Observations, T_camera_frame: Array) -> Observations:
    """Return observations of a robot whose errors are those of frames (N, 4, 4) in the camera."""
    return replace(seen, carried=np.stack([adjoint(inverse(frame)) for frame in T_camera_frame]))


def predicted(state: State, seen: Observations) -> Array:
    """Return T_camera_board (N, 4, 4) as X, Y and the robot's poses say, its errors in single samples left out."""
    offsets = np.stack([exp(twists @ state.joints) for twists in seen.joint_twists])
    return np.asarray(inverse(state.X) @ offsets @ seen.A @ state.Y)


def linearise(camera: Camera, seen: Observations, state: State, noise: Noise, image_cost: Array) -> Linearised:
    """Return the normal equations of all samples at a state; ``image_cost`` (N,) see ``image_costs``."""
    own = np.diag(np.repeat([noise.robot_m**-2, noise.robot_rad**-2], 3))
    information = np.swapaxes(seen.carried, 1, 2) @ own @ seen.carried
    T = state.D @ predicted(state, seen)
    residuals, by_point = _residuals(camera, seen, T, noise)
    by_d = by_point @ twist_jacobian(_transformed(T, seen.points))
    to_camera = np.stack([adjoint(correction) for correction in state.D])
    by_x = -by_d @ to_camera[:, None]
    by_y = by_point @ (T[:, None, :3, :3] @ twist_jacobian(seen.points))
    by_joints = by_d @ (to_camera @ adjoint(inverse(state.X)) @ seen.joint_twists)[:, None]
    count = len(seen)
    by_z = np.concatenate([by_x, by_y, by_joints], axis=-1).reshape(count, -1, POSE_SIZE + len(state.joints))
    by_d = by_d.reshape(count, -1, 6)
    r = residuals.reshape(count, -1)
    errors = np.stack([log(correction) for correction in state.D])
    h_zz, h_zd = np.swapaxes(by_z, 1, 2) @ by_z, np.swapaxes(by_z, 1, 2) @ by_d
    posterior = np.linalg.inv(np.swapaxes(by_d, 1, 2) @ by_d + information)
    pull = (information @ errors[..., None])[..., 0]
    g_z, g_d = np.einsum("nri,nr->ni", by_z, r), np.einsum("nri,nr->ni", by_d, r) + pull
    gains = posterior @ np.swapaxes(h_zd, 1, 2)
    steps = -(posterior @ g_d[..., None])[..., 0]
    cost = np.sum(r * r, axis=1) + np.sum(errors * pull, axis=1) + np.einsum("ni,ni->n", g_d, steps)
    return Linearised(
        h_zz - h_zd @ gains,
        g_z + np.einsum("nij,nj->ni", h_zd, steps),
        cost - image_cost,
        steps,
        gains,
        np.asarray(posterior, dtype=np.float64),
    )


def image_costs(camera: Camera, seen: Observations, noise: Noise) -> Array:
    """Return the squared whitened residuals (N,) that remain where each image is free to place the board."""
    residuals, _ = _residuals(camera, seen, seen.T_camera_board, noise)
    return np.asarray(np.sum(residuals**2, axis=(1, 2)))


def pixel_sigma(camera: Camera, seen: Observations) -> float:
    """Return the standard deviation of corners in pixels that the images show by themselves."""
    unit = replace(Noise(), pixel_px=1.0)
    residuals, _ = _residuals(camera, seen, seen.T_camera_board, unit, robust=False)
    freedom = 2.0 * seen.is_there.sum(axis=1) - 6.0
    each = np.sum(residuals**2, axis=(1, 2)) / np.maximum(freedom, 1.0)
    usual = each <= _UNUSUAL * np.median(each)
    return float(max(np.sqrt(np.mean(each[usual])), _LEAST_PIXEL_SIGMA))


def solve(camera: Camera, seen: Observations, state: State, noise: Noise, weights: Array) -> tuple[State, Linearised]:
    """Return the state of least weighted squares from a start near it, and the normal equations there."""
    costs = image_costs(camera, seen, noise)
    for _ in range(_ITERATIONS):
        at = linearise(camera, seen, state, noise, costs)
        z = newton_step(at, weights, state, noise)
        state = _moved(state, z, at.steps - np.einsum("nij,j->ni", at.gains, z))
        if np.abs(z).max() < _CONVERGED:
            break
    return state, linearise(camera, seen, state, noise, costs)


def newton_step(at: Linearised, weights: Array, state: State, noise: Noise) -> Array:
    """Return the step (12 + K,) of X, Y and joints to the minimum of the weighted samples."""
    information, gradient = np.tensordot(weights, at.information, 1), weights @ at.gradient
    prior = joint_prior(state, noise)
    return np.asarray(
        -np.linalg.solve(information + np.diag(prior), gradient + prior * np.append(np.zeros(POSE_SIZE), state.joints))
    )


def joint_prior(state: State, noise: Noise) -> Array:
    """Return the inverse variances (12 + K,) that are known of X, Y (none) and joint offsets."""
    return np.append(np.zeros(POSE_SIZE), np.full(len(state.joints), noise.joint_rad**-2))


def covariance(at: Linearised, weights: Array, state: State, noise: Noise) -> Array:
    """Return the covariance (12 + K, 12 + K) of the twists of X and Y, and of joint offsets."""
    return np.asarray(np.linalg.inv(np.tensordot(weights, at.information, 1) + np.diag(joint_prior(state, noise))))


def residual_pixels(camera: Camera, seen: Observations, T: Array) -> Array:
    """Return the errors (N, P, 2) in the real image of the board's points at T (N, 4, 4), 0 where none is."""
    return _residuals(camera, seen, T, replace(Noise(), pixel_px=1.0), robust=False)[0]


def _residuals(camera: Camera, seen: Observations, T: Array, noise: Noise, robust: bool = True) -> tuple[Array, Array]:
    """Return whitened residuals (N, P, 2) and their derivatives (N, P, 2, 3) by the points in the camera."""
    p_camera = _transformed(T, seen.points)
    weight = seen.to_image * (seen.is_there / noise.pixel_px)[..., None, None]
    ideal = camera.project(p_camera) - seen.pixels
    residuals = (weight @ ideal[..., None])[..., 0]
    by_point = weight @ camera.projection_jacobian(p_camera)
    if robust:
        lengths = np.linalg.norm(residuals, axis=-1)
        scale = np.sqrt(np.minimum(1.0, _HUBER / np.maximum(lengths, 1e-12)))[..., None]
        return residuals * scale, by_point * scale[..., None]
    return residuals, by_point


def _transformed(T: Array, points: Array) -> Array:
    return np.stack([apply(pose, own) for pose, own in zip(T, points)])


def _moved(state: State, z: Array, d: Array) -> State:
    return State(
        state.X @ exp(z[:6]),
        state.Y @ exp(z[6:POSE_SIZE]),
        np.stack([exp(step) @ correction for step, correction in zip(d, state.D)]),
        state.joints + z[POSE_SIZE:],
    )
