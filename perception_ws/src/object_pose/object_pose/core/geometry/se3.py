"""Rigid transforms as 4x4 float64 matrices, twists as (translation, rotation) 6-vectors.

Twists and covariances are ordered (x, y, z, rot_x, rot_y, rot_z) as REP-103 messages order them.
Formulas: Sola, Deray, Atchuthan, "A micro Lie theory for state estimation in robotics", 2018.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from object_pose.core.arrays import Array

_SMALL_ANGLE = 1e-8


def make_transform(rotation: ArrayLike | None = None, translation: ArrayLike | None = None) -> Array:
    """Return the 4x4 transform of a (3, 3) rotation and a (3,) translation in metres; either may be left out."""
    transform = np.eye(4)
    if rotation is not None:
        transform[:3, :3] = rotation
    if translation is not None:
        transform[:3, 3] = translation
    return transform


def inverse(transform: Array) -> Array:
    """Return the inverse of one (4, 4) or many (..., 4, 4) rigid transforms."""
    rotation_t = np.swapaxes(transform[..., :3, :3], -1, -2)
    result = np.zeros_like(transform)
    result[..., :3, :3] = rotation_t
    result[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation_t, transform[..., :3, 3])
    result[..., 3, 3] = 1.0
    return result


def apply(transform: Array, points: Array) -> Array:
    """Map (N, 3) points by one (4, 4) transform, or by each of (M, 4, 4), which gives (M, N, 3)."""
    rotated = points @ np.swapaxes(transform[..., :3, :3], -1, -2)
    return np.asarray(rotated + transform[..., None, :3, 3])


def hat(vector: ArrayLike) -> Array:
    """Return the (..., 3, 3) cross-product matrices of (..., 3) vectors."""
    vectors = np.asarray(vector, dtype=np.float64)
    result = np.zeros((*vectors.shape, 3))
    result[..., 2, 1] = vectors[..., 0]
    result[..., 0, 2] = vectors[..., 1]
    result[..., 1, 0] = vectors[..., 2]
    result[..., 1, 2] = -vectors[..., 0]
    result[..., 2, 0] = -vectors[..., 1]
    result[..., 0, 1] = -vectors[..., 2]
    return result


def exp_so3(rotation_vector: ArrayLike) -> Array:
    """Return the (..., 3, 3) rotations of (..., 3) rotation vectors in radians."""
    vectors = np.asarray(rotation_vector, dtype=np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    skew = hat(vectors)
    safe = np.maximum(angle, _SMALL_ANGLE)
    # sin(x/2)^2 instead of 1 - cos(x) keeps full precision for small angles.
    sine, versine = np.sin(safe) / safe, 2.0 * (np.sin(0.5 * safe) / safe) ** 2
    return np.asarray(np.eye(3) + sine * skew + versine * (skew @ skew))


def log_so3(rotation: Array) -> Array:
    """Return the (3,) rotation vector, angle in [0, pi], of a (3, 3) rotation."""
    quat = quat_wxyz_from_rotation(rotation)
    sine = float(np.linalg.norm(quat[1:]))
    if sine < _SMALL_ANGLE:
        return np.asarray(2.0 * quat[1:])
    return np.asarray(2.0 * np.arctan2(sine, quat[0]) * quat[1:] / sine)


def exp(twist: ArrayLike) -> Array:
    """Return the (4, 4) transform exp(twist) of a (6,) twist (metres, radians)."""
    vector = np.asarray(twist, dtype=np.float64)
    return make_transform(exp_so3(vector[3:]), _left_jacobian_so3(vector[3:]) @ vector[:3])


def log(transform: Array) -> Array:
    """Return the (6,) twist whose exponential is the (4, 4) transform."""
    rotation_vector = log_so3(transform[:3, :3])
    translation = np.linalg.solve(_left_jacobian_so3(rotation_vector), transform[:3, 3])
    return np.concatenate([translation, rotation_vector])


def adjoint(transform: Array) -> Array:
    """Return the (6, 6) adjoint: exp(adjoint(T) @ x) = T @ exp(x) @ inverse(T)."""
    rotation = transform[:3, :3]
    result = np.zeros((6, 6))
    result[:3, :3] = result[3:, 3:] = rotation
    result[:3, 3:] = hat(transform[:3, 3]) @ rotation
    return result


def rotation_angle(rotation_a: Array, rotation_b: Array) -> float:
    """Return the angle in radians between two (3, 3) rotations."""
    return float(np.linalg.norm(log_so3(rotation_a.T @ rotation_b)))


def tangents(normal: Array) -> tuple[Array, Array]:
    """Return two unit vectors (3,) that make a right-handed frame with a unit ``normal``, which is its third axis."""
    helper = np.eye(3)[int(np.argmin(np.abs(normal)))]
    first = np.cross(helper, normal)
    first /= np.linalg.norm(first)
    return first, np.cross(normal, first)


def quat_wxyz_from_rotation(rotation: Array) -> Array:
    """Return the unit quaternion (w, x, y, z), w >= 0, of a (3, 3) rotation (Shepperd's method)."""
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    squares = np.array([trace, r[0, 0], r[1, 1], r[2, 2]])
    largest = int(np.argmax(squares))
    if largest == 0:
        quat = np.array([1.0 + trace, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        quat = np.empty(4)
        quat[0] = r[k, j] - r[j, k]
        quat[1 + i] = 1.0 + 2.0 * r[i, i] - trace
        quat[1 + j] = r[i, j] + r[j, i]
        quat[1 + k] = r[i, k] + r[k, i]
    quat /= np.linalg.norm(quat)
    return np.asarray(-quat if quat[0] < 0 else quat)


def rotation_from_quat_wxyz(quat_wxyz: ArrayLike) -> Array:
    """Return the (3, 3) rotation of a quaternion (w, x, y, z) of any non-zero norm."""
    w, x, y, z = np.asarray(quat_wxyz, dtype=np.float64) / np.linalg.norm(quat_wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_from_rpy(roll: float, pitch: float, yaw: float) -> Array:
    """Return the (3, 3) rotation of roll, pitch and yaw in radians about fixed axes x, y, z, as in URDF."""
    return np.asarray(exp_so3((0.0, 0.0, yaw)) @ exp_so3((0.0, pitch, 0.0)) @ exp_so3((roll, 0.0, 0.0)))


def nearest_rotation(matrix: Array) -> Array:
    """Return the (3, 3) rotation nearest to a matrix: orthogonal Procrustes (Kabsch 1976)."""
    left, _, right = np.linalg.svd(matrix)
    mirror = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    return np.asarray(left @ mirror @ right)


def rotation_error(matrix: Array) -> float:
    """Return how far a (3, 3) matrix is from a rotation: the largest element of R R^T - I, infinite if it mirrors."""
    if not np.linalg.det(matrix) > 0.0:
        return np.inf
    return float(np.abs(matrix @ matrix.T - np.eye(3)).max())


def _left_jacobian_so3(rotation_vector: Array) -> Array:
    angle = float(np.linalg.norm(rotation_vector))
    skew = hat(rotation_vector)
    if angle < 1e-5:
        return np.asarray(np.eye(3) + 0.5 * skew + skew @ skew / 6.0)
    return np.asarray(
        np.eye(3) + (1.0 - np.cos(angle)) / angle**2 * skew + (angle - np.sin(angle)) / angle**3 * skew @ skew
    )
