"""Hand-eye calibration: where a camera is on the gripper, or beside the robot, with what is wrong with the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from object_pose.calibration.boards import Board, BoardView
from object_pose.calibration.hand_eye_refinement import (
    POSE_SIZE,
    Linearised,
    Noise,
    Observations,
    State,
    covariance,
    newton_step,
    observe,
    pixel_sigma,
    predicted,
    residual_pixels,
    solve,
    with_errors_in,
)
from object_pose.calibration.hand_eye_start import (
    EYE_IN_HAND,
    MIN_SAMPLES,
    MOUNTINGS,
    Start,
    board_size_problem,
    check_motions,
    check_start,
    choose_hypotheses,
    robot_motion,
    robust_start,
)
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import exp, inverse, log, make_transform, rotation_angle
from object_pose.core.params import parameter

PASSED, WARNED, REFUSED = "passed", "warned", "refused"
_M_A_RADIAN = 1.0  # of an arm's errors: those of its joints act over about a metre
_BAD_CHI_SQUARE = 22.46  # with 6 degrees of freedom, 0.1 %
_ESTIMATED = 1.5  # by how much more a sample must stand out where the noise is estimated from the samples
_MEDIAN_CHI_SQUARE = 5.35  # with 6 degrees of freedom
_STUDENT_FREEDOM = 4.0
_ROUNDS = 20
_LEAST_ROBOT_M = 2e-5
_MOST_BAD, _MANY_BAD = 0.4, 0.15  # shares of samples: that are not solved, that are warned of
_CORRELATED = 0.8
_SUSPECT_SIGMAS = 3.0  # of the board's size


@dataclass(frozen=True)
class HandEyeConfig:
    """How a hand-eye calibration is done, and what it must reach."""

    mounting: str = parameter(
        EYE_IN_HAND, "the camera on the gripper (eye_in_hand) or beside the robot (eye_to_hand)", choices=MOUNTINGS
    )
    robot_sigma_mm: float = parameter(
        0.0, "the robot's accuracy in position, of the gripper; 0: as the samples show", minimum=0.0
    )
    robot_sigma_deg: float = parameter(0.0, "the same in orientation; 0: as the samples show", minimum=0.0)
    joint_sigma_deg: float = parameter(
        0.5, "how far joint offsets may be expected to be from zero, where they are calibrated", minimum=0.0
    )
    min_samples: int = parameter(15, "fewer good samples are refused", minimum=MIN_SAMPLES)
    pass_mm: float = parameter(1.0, "largest held-out error in position that passes", minimum=0.0)
    pass_deg: float = parameter(0.3, "largest held-out error in orientation that passes", minimum=0.0)
    warn_mm: float = parameter(3.0, "largest held-out error in position that is not refused", minimum=0.0)
    warn_deg: float = parameter(1.0, "largest held-out error in orientation that is not refused", minimum=0.0)
    bootstraps: int = parameter(500, "resamplings of the bootstrap", minimum=20, maximum=100_000)


@dataclass(frozen=True)
class SampleResult:
    """One sample: whether it was ``used``, and how well it fits.

    ``chi_square`` is the squared Mahalanobis distance of image and robot, with 6 degrees of freedom where the sample
    is good. The held-out errors are those of the board's centre in the camera, predicted from the other samples.
    ``image_rms_px`` is the error of the image by itself, ``rms_px`` that of the robot's pose. ``correction`` (6,) is
    the twist that the robot's pose would need, in the frame of what it carries.
    """

    name: str
    used: bool
    chi_square: float
    held_out_mm: float
    held_out_deg: float
    image_rms_px: float
    rms_px: float
    correction: Array


@dataclass(frozen=True)
class Gate:
    """Whether a calibration may be used: ``passed``, ``warned`` or ``refused``, with the reasons."""

    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class HandEyeCalibration:
    """The result: X is T_gripper_camera or T_base_camera, Y is T_base_board or T_gripper_board, by ``mounting``.

    ``noise`` has the robot's errors where it carries camera or board. ``covariance`` (12 + K, 12 + K) is of right
    twists of X and Y (metres, radians), then of joint offsets.
    ``held_out_mm`` and ``held_out_deg`` are root mean squares of the leave-one-out errors of the samples that were
    used, ``bootstrap_mm`` and ``bootstrap_deg`` the spread of X's translation and rotation when samples are drawn anew.
    ``board_spread_mm`` (3,) are standard deviations of the board's centre in the frame in which it is fixed;
    ``board_size_problem`` says where the robot's motion contradicts the stated size, empty if it does not.
    """

    mounting: str
    X: Array
    Y: Array
    covariance: Array
    joint_offsets_rad: Array
    noise: Noise
    samples: tuple[SampleResult, ...]
    held_out_mm: float
    held_out_deg: float
    bootstrap_mm: float
    bootstrap_deg: float
    board_spread_mm: Array
    board_size_problem: str
    views: tuple[BoardView, ...]
    T_camera_board: Array
    residuals_px: tuple[Array, ...]

    @property
    def used(self) -> list[SampleResult]:
        """The samples that the result is made of."""
        return [sample for sample in self.samples if sample.used]

    @property
    def rejected(self) -> list[SampleResult]:
        """The samples that do not fit the others."""
        return [sample for sample in self.samples if not sample.used]

    @property
    def sigma_mm(self) -> Array:
        """Standard deviations (3,) of X's translation."""
        return np.asarray(np.sqrt(np.diag(self.covariance)[:3]) * 1e3)

    @property
    def sigma_deg(self) -> Array:
        """Standard deviations (3,) of X's rotation."""
        return np.asarray(np.rad2deg(np.sqrt(np.diag(self.covariance)[3:6])))

    @property
    def parameter_names(self) -> list[str]:
        """What the covariance's rows are."""
        axes = ("x", "y", "z", "rotation x", "rotation y", "rotation z")
        names = [f"{frame} {axis}" for frame in ("camera", "board") for axis in axes]
        return names + [f"joint {index + 1}" for index in range(len(self.joint_offsets_rad))]

    @property
    def correlations(self) -> Array:
        """Correlations (12 + K, 12 + K) of the parameters."""
        sigma = np.sqrt(np.diag(self.covariance))
        return np.asarray(self.covariance / np.outer(sigma, sigma))

    def strong_correlations(self) -> list[tuple[str, str, float]]:
        """Return pairs of parameters that the samples hardly tell apart, the strongest first."""
        i, j = np.triu_indices(len(self.covariance), 1)
        values, names = self.correlations[i, j], self.parameter_names
        order = np.argsort(-np.abs(values))
        return [(names[i[k]], names[j[k]], float(values[k])) for k in order if abs(values[k]) > _CORRELATED]

    def gate(self, config: HandEyeConfig) -> Gate:
        """Compare the result with what ``config`` demands of it."""
        reasons, verdict = [], PASSED
        for value, unit, passes, warns in (
            (self.held_out_mm, "mm", config.pass_mm, config.warn_mm),
            (self.held_out_deg, "degrees", config.pass_deg, config.warn_deg),
        ):
            if not value <= passes:
                reasons.append(f"held-out error {value:.2f} {unit} > {passes:g} {unit}")
                verdict = WARNED if value <= warns and verdict != REFUSED else REFUSED
        if len(self.rejected) > _MANY_BAD * len(self.samples):
            names = ", ".join(sample.name for sample in self.rejected)
            reasons.append(f"{len(self.rejected)} of {len(self.samples)} samples do not fit the others: {names}")
            verdict = verdict if verdict == REFUSED else WARNED
        if self.board_size_problem:
            reasons.append(self.board_size_problem)
            verdict = verdict if verdict == REFUSED else WARNED
        if len(self.used) < config.min_samples:
            reasons.append(f"{len(self.used)} good samples < {config.min_samples}")
            verdict = REFUSED
        return Gate(verdict, tuple(reasons))


def calibrate_hand_eye(
    camera: Camera,
    board: Board,
    views: Sequence[BoardView],
    T_base_gripper: Array,
    config: HandEyeConfig = HandEyeConfig(),
    joint_twists: Array | None = None,
) -> HandEyeCalibration:
    """Calibrate from views of a board and the robot's pose (N, 4, 4) in each.

    ``joint_twists`` (N, 6, K), see ``robot_arm.joint_twists``, asks for the offsets of the joints, too. Raises
    ``CalibrationError`` where the samples are too few or move about one axis only, where the robot's poses are of the
    other direction, and where the board has another size than stated.
    """
    A = robot_motion(config.mounting, T_base_gripper)
    check_motions(A)
    numbered = choose_hypotheses(camera, views, A)
    seen = observe(camera, numbered, A, joint_twists)
    start = robust_start(A, seen.T_camera_board)
    check_start(config.mounting, A, seen.T_camera_board, start)
    noise = Noise(
        pixel_px=pixel_sigma(camera, seen),
        robot_m=config.robot_sigma_mm * 1e-3 or 1e-3,
        robot_rad=float(np.deg2rad(config.robot_sigma_deg)) or 1e-3 / _M_A_RADIAN,
        joint_rad=float(np.deg2rad(max(config.joint_sigma_deg, 1e-6))),
    )
    is_known = config.robot_sigma_mm > 0.0 and config.robot_sigma_deg > 0.0
    seen = with_errors_in(seen, _error_frames(config.mounting, seen, start, board.centre_m, is_known))
    solution = _robust_solution(camera, seen, start, noise, is_known)
    result = _result(camera, board, numbered, seen, solution, start, config)
    if not is_known:
        return result
    X, Y, noise = solution.state.X, solution.state.Y, solution.noise
    arm = X[:3, 3] if config.mounting == EYE_IN_HAND else Y[:3, :3] @ board.centre_m + Y[:3, 3]
    carried_m = float(np.hypot(noise.robot_m, noise.robot_rad * np.linalg.norm(arm)))
    return replace(result, noise=replace(noise, robot_m=carried_m))


@dataclass(frozen=True)
class _Solution:
    """The solution of the samples ``used`` (N,), the normal equations there, and the noise that is known or found."""

    state: State
    at: Linearised
    noise: Noise
    used: NDArray[np.bool_]


def _error_frames(mounting: str, seen: Observations, start: Start, centre_m: Array, in_gripper: bool) -> Array:
    """Return the frames (N, 4, 4) in the camera in which the robot errs.

    A stated accuracy is that of the gripper. One that is estimated is that of what the robot carries, camera or board:
    so the result does not depend on which frame of the arm the poses are of.
    """
    if in_gripper:
        to_gripper = inverse(start.X)
        return np.asarray(to_gripper @ (seen.A if mounting != EYE_IN_HAND else np.tile(np.eye(4), (len(seen), 1, 1))))
    if mounting == EYE_IN_HAND:
        return np.tile(np.eye(4), (len(seen), 1, 1))
    return np.asarray(seen.T_camera_board @ make_transform(None, centre_m))


def _robust_solution(camera: Camera, seen: Observations, start: Start, noise: Noise, noise_is_known: bool) -> _Solution:
    """Return the solution of the samples that agree.

    Student's t on whole samples finds the bad ones; without them the solution is one of least squares.
    """
    count = len(seen)
    state = State(start.X, start.Y, np.tile(np.eye(4), (count, 1, 1)), np.zeros(seen.joint_twists.shape[2]))
    weights = start.is_inlier.astype(np.float64)
    for _ in range(_ROUNDS):
        state, at = solve(camera, seen, state, noise, weights)
        previous = weights
        if not noise_is_known:
            noise = _scaled(noise, float(np.median(at.chi_square)) / _MEDIAN_CHI_SQUARE)
        weights = (_STUDENT_FREEDOM + 6.0) / (_STUDENT_FREEDOM + np.maximum(at.chi_square, 0.0))
        weights = np.minimum(weights, 1.0)
        if np.abs(weights - previous).max() < 1e-3:
            break
    limit = _BAD_CHI_SQUARE * (1.0 if noise_is_known else _ESTIMATED)
    used = at.chi_square < limit
    for _ in range(_ROUNDS):
        if used.sum() < max(MIN_SAMPLES, (1.0 - _MOST_BAD) * count):
            raise CalibrationError(
                f"only {used.sum()} of {count} samples agree with each other",
                "is the robot still while the image is taken, the board fixed, and each pose that of its image?",
            )
        weights = used.astype(np.float64)
        state, at = solve(camera, seen, state, noise, weights)
        freedom = 6.0 * used.sum() - POSE_SIZE
        if not noise_is_known:
            noise = _scaled(noise, float(at.chi_square[used].sum()) / freedom)
        now = at.chi_square < limit
        if np.array_equal(now, used) and (noise_is_known or abs(at.chi_square[used].sum() / freedom - 1.0) < 0.02):
            break
        used = now
    return _Solution(state, at, noise, used)


def _scaled(noise: Noise, variance_factor: float) -> Noise:
    factor = max(np.sqrt(max(variance_factor, 0.0)), 0.3)
    metres = max(noise.robot_m * factor, _LEAST_ROBOT_M)
    return replace(noise, robot_m=float(metres), robot_rad=float(metres * noise.robot_rad / noise.robot_m))


def _result(
    camera: Camera,
    board: Board,
    views: Sequence[BoardView],
    seen: Observations,
    solution: _Solution,
    start: Start,
    config: HandEyeConfig,
) -> HandEyeCalibration:
    state, at, noise, used = solution.state, solution.at, solution.noise, solution.used
    weights = used.astype(np.float64)
    held_out = np.stack(
        [_held_out(seen, state, at, noise, weights, index, board.centre_m) for index in range(len(seen))]
    )
    by_image = _rms_px(seen, residual_pixels(camera, seen, seen.T_camera_board))
    residuals = residual_pixels(camera, seen, predicted(state, seen))
    by_robot = _rms_px(seen, residuals)
    samples = tuple(
        SampleResult(
            view.name,
            bool(used[index]),
            float(at.chi_square[index]),
            float(held_out[index, 0]),
            float(held_out[index, 1]),
            float(by_image[index]),
            float(by_robot[index]),
            seen.carried[index] @ log(state.D[index]),
        )
        for index, view in enumerate(views)
    )
    fixed = inverse(seen.A) @ state.X @ seen.T_camera_board
    centres = fixed[used, :3, :3] @ board.centre_m + fixed[used, :3, 3]
    rms = np.sqrt(np.mean(held_out[used] ** 2, axis=0))
    spread = _bootstrap(at, weights, state, noise, config.bootstraps)
    return HandEyeCalibration(
        config.mounting,
        state.X,
        state.Y,
        covariance(at, weights, state, noise),
        state.joints,
        noise,
        samples,
        float(rms[0]),
        float(rms[1]),
        float(spread[0]),
        float(spread[1]),
        centres.std(axis=0) * 1e3,
        board_size_problem(start, _SUSPECT_SIGMAS),
        tuple(views),
        seen.T_camera_board,
        tuple(own[: len(view.pixels)] for own, view in zip(residuals, views)),
    )


def _held_out(
    seen: Observations, state: State, at: Linearised, noise: Noise, weights: Array, index: int, centre_m: Array
) -> Array:
    """Return the error (2,) in mm and degrees of the board that the other samples predict for one.

    One Newton step from the solution leaves the sample out: at millimetres the problem is as good as linear.
    """
    others = weights.copy()
    others[index] = 0.0
    step = newton_step(at, others, state, noise)
    without = State(state.X @ exp(step[:6]), state.Y @ exp(step[6:POSE_SIZE]), state.D, state.joints + step[POSE_SIZE:])
    expected, found = predicted(without, seen)[index], seen.T_camera_board[index]
    shift = (expected - found)[:3] @ np.append(centre_m, 1.0)
    return np.array([np.linalg.norm(shift) * 1e3, np.rad2deg(rotation_angle(expected[:3, :3], found[:3, :3]))])


def _bootstrap(at: Linearised, weights: Array, state: State, noise: Noise, count: int) -> Array:
    """Return the spread (2,) of X in mm and degrees, root sums of squares of the axes, over resampled samples."""
    generator = np.random.default_rng(0)
    used = np.flatnonzero(weights)
    steps = []
    for _ in range(count):
        drawn = np.bincount(generator.choice(used, len(used)), minlength=len(weights)).astype(np.float64)
        if np.count_nonzero(drawn) >= MIN_SAMPLES:
            steps.append(newton_step(at, drawn, state, noise)[:6])
    # Resamplings of few samples may not determine X at all: a robust spread ignores those.
    low, high = np.percentile(np.stack(steps), (15.87, 84.13), axis=0)
    spread = 0.5 * (high - low)
    return np.array([np.linalg.norm(spread[:3]) * 1e3, np.rad2deg(np.linalg.norm(spread[3:]))])


def _rms_px(seen: Observations, residuals: Array) -> Array:
    return np.asarray(np.sqrt(np.sum(residuals**2, axis=(1, 2)) / np.maximum(seen.is_there.sum(axis=1), 1.0)))
