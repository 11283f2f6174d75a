"""Linear algebra of a few dimensions for kernels: what numpy and SciPy spend on a 6x6 matrix is mostly the call."""

from __future__ import annotations

import math

from object_pose.core.arrays import Array
from object_pose.core.kernels import kernel

_LEAST_PIVOT = 1e-18


@kernel
def factorise(a: Array) -> None:
    """Write Cholesky's factor of a positive definite matrix (n, n) into its lower triangle."""
    for row in range(len(a)):
        for column in range(row + 1):
            value = a[row, column]
            for k in range(column):
                value -= a[row, k] * a[column, k]
            a[row, column] = math.sqrt(max(value, _LEAST_PIVOT)) if row == column else value / a[column, column]


@kernel
def substitute_forward(a: Array, b: Array) -> None:
    """Solve L x = b in place of ``b`` (n,), L the lower triangle of ``a`` (n, n)."""
    for row in range(len(b)):
        for k in range(row):
            b[row] -= a[row, k] * b[k]
        b[row] /= a[row, row]


@kernel
def substitute_backward(a: Array, b: Array) -> None:
    """Solve L^T x = b in place of ``b`` (n,), L the lower triangle of ``a`` (n, n)."""
    size = len(b)
    for row in range(size - 1, -1, -1):
        for k in range(row + 1, size):
            b[row] -= a[k, row] * b[k]
        b[row] /= a[row, row]


@kernel
def squared_distance(covariance: Array, offset: Array) -> float:
    """Return the squared Mahalanobis distance of ``offset`` (n,)."""
    a, b = covariance.copy(), offset.copy()
    factorise(a)
    substitute_forward(a, b)
    total = 0.0
    for value in b:
        total += value * value
    return total


@kernel
def rotation_of(x: float, y: float, z: float, rotation: Array) -> None:
    """Write the rotation (3, 3) of a rotation vector."""
    angle = math.sqrt(x * x + y * y + z * z)
    sine = math.sin(angle) / angle if angle > 1e-9 else 1.0
    half = math.sin(0.5 * angle)
    versine = 2.0 * half * half / (angle * angle) if angle > 1e-9 else 0.5
    rotation[0, 0] = 1.0 - versine * (y * y + z * z)
    rotation[1, 1] = 1.0 - versine * (x * x + z * z)
    rotation[2, 2] = 1.0 - versine * (x * x + y * y)
    rotation[0, 1], rotation[1, 0] = versine * x * y - sine * z, versine * x * y + sine * z
    rotation[0, 2], rotation[2, 0] = versine * x * z + sine * y, versine * x * z - sine * y
    rotation[1, 2], rotation[2, 1] = versine * y * z - sine * x, versine * y * z + sine * x


@kernel
def step_beside_prior(
    information: Array, gradient: Array, prior: Array, weight: float, offset: Array, step: Array, scratch: Array
) -> None:
    """Write the Gauss-Newton ``step`` (6,) of a pose's least squares and its prior, from ``offset`` (6,) off the prior.

    Of ``information`` (6, 6) the upper triangle counts, of ``prior`` (6, 6) a ``weight``; ``scratch`` (6, 6) is spoilt.
    """
    for row in range(6):
        step[row] = gradient[row]
        for column in range(6):
            of_prior = weight * prior[row, column]
            scratch[row, column] = information[min(row, column), max(row, column)] + of_prior
            step[row] -= of_prior * offset[column]
    factorise(scratch)
    substitute_forward(scratch, step)
    substitute_backward(scratch, step)


@kernel
def move_by(step: Array, rotation: Array, translation: Array, scratch: Array) -> None:
    """Move a pose by a left perturbation ``step`` (6,) of (dt, dr) in place; ``scratch`` (3, 3) is spoilt."""
    rotation_of(step[3], step[4], step[5], scratch)
    turned = scratch @ rotation
    rotation[:] = turned
    translation += step[:3]


@kernel
def turn_between(before: Array, after: Array, turn: Array) -> None:
    """Write the rotation vector into ``turn[3:6]`` that leads from one rotation to another (each (3, 3) or (4, 4))."""
    trace, w, x, y, z = 0.0, 0.0, 0.0, 0.0, 0.0
    r00 = after[0, 0] * before[0, 0] + after[0, 1] * before[0, 1] + after[0, 2] * before[0, 2]
    r01 = after[0, 0] * before[1, 0] + after[0, 1] * before[1, 1] + after[0, 2] * before[1, 2]
    r02 = after[0, 0] * before[2, 0] + after[0, 1] * before[2, 1] + after[0, 2] * before[2, 2]
    r10 = after[1, 0] * before[0, 0] + after[1, 1] * before[0, 1] + after[1, 2] * before[0, 2]
    r11 = after[1, 0] * before[1, 0] + after[1, 1] * before[1, 1] + after[1, 2] * before[1, 2]
    r12 = after[1, 0] * before[2, 0] + after[1, 1] * before[2, 1] + after[1, 2] * before[2, 2]
    r20 = after[2, 0] * before[0, 0] + after[2, 1] * before[0, 1] + after[2, 2] * before[0, 2]
    r21 = after[2, 0] * before[1, 0] + after[2, 1] * before[1, 1] + after[2, 2] * before[1, 2]
    r22 = after[2, 0] * before[2, 0] + after[2, 1] * before[2, 1] + after[2, 2] * before[2, 2]
    trace = r00 + r11 + r22
    # A multiple of the quaternion, from its largest part (Shepperd's method).
    if trace >= max(r00, r11, r22):
        w, x, y, z = 1.0 + trace, r21 - r12, r02 - r20, r10 - r01
    elif r00 >= max(r11, r22):
        w, x, y, z = r21 - r12, 1.0 + 2.0 * r00 - trace, r01 + r10, r02 + r20
    elif r11 >= r22:
        w, x, y, z = r02 - r20, r01 + r10, 1.0 + 2.0 * r11 - trace, r12 + r21
    else:
        w, x, y, z = r10 - r01, r02 + r20, r12 + r21, 1.0 + 2.0 * r22 - trace
    sign = -1.0 if w < 0.0 else 1.0
    sine = math.sqrt(x * x + y * y + z * z)
    scale = sign * (2.0 / abs(w) if sine < 1e-8 * abs(w) else 2.0 * math.atan2(sine, abs(w)) / sine)
    turn[3], turn[4], turn[5] = scale * x, scale * y, scale * z
