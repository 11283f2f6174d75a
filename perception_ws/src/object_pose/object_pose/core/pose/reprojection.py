"""Keypoint reprojection of a batch of pose candidates: residuals, Jacobians and robust weights.

A candidate is a pose together with its keypoints; B candidates of K keypoints are handled in one vectorised pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera

Array = NDArray[np.float64]

# Tukey's biweight keeps 95 % efficiency under Gaussian noise with this many sigmas.
TUKEY_SIGMAS = 4.685
_MIN_DEPTH = 1e-3
_MAX_TURN_RAD = 0.5


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


@dataclass(frozen=True)
class Reprojection:
    """Whitened residuals ``errors`` (B, K, 2), their length ``whitened_residual`` (B, K), and what a Jacobian needs."""

    errors: Array
    whitened_residual: Array
    rotated: Array
    points_camera: Array


def reproject(targets: KeypointTargets, rotation: Array, translation: Array, camera: Camera) -> Reprojection:
    """Compare projected keypoints of poses (B, 3, 3), (B, 3) with their targets; missing ones get zero error."""
    rotated = targets.points_object @ np.swapaxes(rotation, 1, 2)
    points = rotated + translation[:, None]
    points[..., 2] = np.maximum(points[..., 2], _MIN_DEPTH)
    errors = (camera.project(points) - targets.pixels) / targets.sigmas[..., None]
    return Reprojection(errors, np.sqrt(np.sum(errors**2, axis=-1)), rotated, points)


def normal_equations(
    state: Reprojection, targets: KeypointTargets, weights: Array, camera: Camera
) -> tuple[Array, Array]:
    """Return the information (B, 6, 6) and gradient (B, 6) of the weighted (B, K) squared errors, left perturbation."""
    by_point = camera.projection_jacobian(state.points_camera) / targets.sigmas[..., None, None]
    jacobian = np.concatenate([by_point, -by_point @ se3.hat(state.rotated)], axis=-1)
    jacobian = jacobian.reshape(len(by_point), -1, 6)
    weighted = np.swapaxes(jacobian * np.repeat(weights, 2, axis=1)[..., None], 1, 2)
    gradient = weighted @ state.errors.reshape(len(by_point), -1, 1)
    return weighted @ jacobian, gradient[..., 0]


def huber_weights(whitened_residual: Array, threshold: float = 1.5) -> Array:
    """Return Huber's weights of whitened residual lengths."""
    return np.asarray(threshold / np.maximum(whitened_residual, threshold))


def tukey_weights(whitened_residual: Array, threshold: float = TUKEY_SIGMAS) -> Array:
    """Return Tukey's biweights of whitened residual lengths: zero beyond ``threshold``."""
    return np.asarray(np.maximum(1.0 - (whitened_residual / threshold) ** 2, 0.0) ** 2)


def truncated_cost(whitened_residual: Array, present: NDArray[np.bool_], threshold: float = 3.0) -> Array:
    """Return (B,) the mean of min(residual, threshold)^2 over the keypoints present."""
    cost = np.minimum(whitened_residual, threshold) ** 2
    return np.asarray(np.sum(cost * present, axis=1) / np.maximum(np.sum(present, axis=1), 1))


def step(
    rotation: Array, translation: Array, information: Array, gradient: Array, damping: float
) -> tuple[Array, Array]:
    """Take one damped Gauss-Newton step of B poses: t' = t + dt, R' = exp(dr) R."""
    diagonal = np.einsum("bii->bi", information)
    damped = information.copy()
    # The floor keeps a candidate without any residual solvable; it then stays where it is.
    np.einsum("bii->bi", damped)[:] = diagonal * (1.0 + damping) + 1e-9
    delta = -np.linalg.solve(damped, gradient[..., None])[..., 0]
    turn = delta[:, 3:]
    angle = np.linalg.norm(turn, axis=1, keepdims=True)
    turn = turn * np.minimum(1.0, _MAX_TURN_RAD / np.maximum(angle, 1e-12))
    return se3.exp_so3(turn) @ rotation, translation + delta[:, :3]
