"""Least squares of pose candidates, compiled: keypoints in the image, and the visible surface against depth.

Residuals are those of a left perturbation, t' = t + dt and R' = exp(dr) R. Keypoints are weighted robustly by their
whitened residuals, surface points by their point-to-plane distance within an annealed scale (Chen and Medioni, "Object
modelling by registration of multiple range images", 1992).

Of B poses: ``rotation`` (B, 3, 3) and ``translation`` (B, 3) map object to camera coordinates in metres; those of one
are ``r`` and ``t``. ``points`` (B, K, 3) are keypoints in the object frame, ``pixels`` (B, K, 2) where they are seen
in the undistorted image, ``inverse_sigmas`` (B, K) in 1/pixel, 0 of missing ones. ``pinhole`` is (fx, fy, cx, cy).
Surface points and normals (classes, views, M, 3) and the silhouettes' ``areas`` (classes, views) in square metres are
of the object from a side. ``depth_m`` and ``front_m`` (H, W) are those of a ``DepthView``. ``noise`` is the sensor's
sigma in metres: what it is at least, and what is added at one metre, growing with the square of the distance.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage
from object_pose.core.geometry.lens import rotated
from object_pose.core.geometry.linear import factorise, rotation_of, substitute_backward, substitute_forward
from object_pose.core.kernels import inlined, kernel

MIN_DEPTH_M = 1e-3
# How keypoints are weighted: Huber's loss, Tukey's biweight (95 % efficiency under Gaussian noise), or as given.
HUBER, TUKEY, GIVEN = 0, 1, 2
HUBER_SIGMAS, TUKEY_SIGMAS = 1.5, 4.685
_MAX_TURN_RAD = 0.5
# The floor keeps a candidate without any residual solvable; it then stays where it is.
_LEAST_DIAGONAL = 1e-9
# Neighbouring depth pixels share their noise over about this many pixels.
_CORRELATED_PX = 12.0
# While the scale is coarse, points meet the wrong surface about this share of it away.
_ASSOCIATION = 0.25
_GAP_SCALES = 3.0
_NOISE_SIGMAS = 3.0


@inlined
def tolerance_at(z: float, noise: Array, scale_m: float) -> float:
    """Return how far from the model at ``z`` a measured point may be: ``scale_m``, or three sigmas of the sensor."""
    return max(scale_m, _NOISE_SIGMAS * math.sqrt(noise[0] ** 2 + (noise[1] * z * z) ** 2))


@inlined
def looked_up(
    depth_m: DepthImage, front_m: DepthImage, pinhole: Array, x: float, y: float, z: float
) -> tuple[float, float, float]:
    """Return the depth at the pixel that a point is seen at, 0 where there is none, and the pixel's ray x/z, y/z.

    Where two surfaces meet at a pixel, it is the one nearer to ``z``.
    """
    column, row = np.rint(x / z * pinhole[0] + pinhole[2]), np.rint(y / z * pinhole[1] + pinhole[3])
    measured = 0.0
    if column >= 0.0 and row >= 0.0 and column < depth_m.shape[1] and row < depth_m.shape[0]:
        measured, front = float(depth_m[int(row), int(column)]), float(front_m[int(row), int(column)])
        if measured <= 0.0 or abs(front - z) < abs(measured - z):
            measured = front
    return measured, (column - pinhole[2]) / pinhole[0], (row - pinhole[3]) / pinhole[1]


@kernel
def whiten(
    points: Array, pixels: Array, inverse_sigmas: Array, pinhole: Array, rotation: Array, translation: Array
) -> Array:
    """Return the lengths (B, K) of the whitened residuals of B poses' keypoints, 0 of missing ones."""
    lengths = np.zeros(inverse_sigmas.shape)
    for i in range(len(points)):
        r, t = rotation[i], translation[i]
        for k in range(points.shape[1]):
            qx, qy, qz = rotated(r, points[i, k, 0], points[i, k, 1], points[i, k, 2])
            z = max(qz + t[2], MIN_DEPTH_M)
            u = (qx + t[0]) / z * pinhole[0] + pinhole[2] - pixels[i, k, 0]
            v = (qy + t[1]) / z * pinhole[1] + pinhole[3] - pixels[i, k, 1]
            lengths[i, k] = inverse_sigmas[i, k] * math.sqrt(u * u + v * v)
    return lengths


@kernel
def add_keypoints(
    points: Array,
    pixels: Array,
    inverse_sigmas: Array,
    pinhole: Array,
    r: Array,
    t: Array,
    loss: int,
    weights: Array,
    information: Array,
    gradient: Array,
) -> None:
    """Add the keypoints (K) of one pose to the lower triangle of its ``information`` (6, 6) and to its ``gradient``."""
    ju, jv = np.zeros(6), np.zeros(6)
    for k in range(len(points)):
        inverse = inverse_sigmas[k]
        if inverse <= 0.0:
            continue
        qx, qy, qz = rotated(r, points[k, 0], points[k, 1], points[k, 2])
        x, y, z = qx + t[0], qy + t[1], max(qz + t[2], MIN_DEPTH_M)
        eu = (x / z * pinhole[0] + pinhole[2] - pixels[k, 0]) * inverse
        ev = (y / z * pinhole[1] + pinhole[3] - pixels[k, 1]) * inverse
        length = math.sqrt(eu * eu + ev * ev)
        if loss == HUBER:
            weight = HUBER_SIGMAS / max(length, HUBER_SIGMAS)
        elif loss == TUKEY:
            share = length / TUKEY_SIGMAS
            weight = max(1.0 - share * share, 0.0) ** 2
        else:
            weight = weights[k]
        if weight <= 0.0:
            continue
        ux, vy = pinhole[0] / z * inverse, pinhole[1] / z * inverse
        uz, vz = -ux * x / z, -vy * y / z
        # d(point) / d(turn) = -hat(rotated)
        ju[0], ju[2], ju[3], ju[4], ju[5] = ux, uz, uz * qy, ux * qz - uz * qx, -ux * qy
        jv[1], jv[2], jv[3], jv[4], jv[5] = vy, vz, vz * qy - vy * qz, -vz * qx, vy * qx
        for a in range(6):
            wu, wv = weight * ju[a], weight * jv[a]
            gradient[a] += wu * eu + wv * ev
            for b in range(a + 1):
                information[a, b] += wu * ju[b] + wv * jv[b]


@kernel
def add_surface(
    points: Array,
    normals: Array,
    stride: int,
    area: float,
    depth_m: DepthImage,
    front_m: DepthImage,
    noise: Array,
    pinhole: Array,
    r: Array,
    t: Array,
    scale_m: float,
    information: Array,
    gradient: Array,
) -> None:
    """Add every ``stride``-th visible point of one pose's surface, against the depth at its own pixel."""
    scale = tolerance_at(t[2], noise, scale_m)
    z0 = max(t[2], MIN_DEPTH_M)
    count = (len(points) + stride - 1) // stride
    # Less where several points share one independent piece of the image.
    independent = min(1.0, area * pinhole[0] * pinhole[1] / (z0 * z0) / (_CORRELATED_PX * count))
    variance = noise[0] ** 2 + (noise[1] * z0 * z0) ** 2 + (_ASSOCIATION * scale_m) ** 2
    j = np.empty(6)
    for m in range(0, len(points), stride):
        nx, ny, nz = rotated(r, normals[m, 0], normals[m, 1], normals[m, 2])
        qx, qy, qz = rotated(r, points[m, 0], points[m, 1], points[m, 2])
        x, y, z = qx + t[0], qy + t[1], qz + t[2]
        offset = nx * x + ny * y + nz * z
        if offset >= 0.0 or z <= 0.0:
            continue
        z = max(z, MIN_DEPTH_M)
        measured, ray_x, ray_y = looked_up(depth_m, front_m, pinhole, x, y, z)
        distance = measured * (nx * ray_x + ny * ray_y + nz) - offset
        if measured <= 0.0 or abs(measured - z) >= _GAP_SCALES * scale or abs(distance) >= scale:
            continue
        share = distance / scale
        weight = (1.0 - share * share) ** 2 * independent / variance
        j[0], j[1], j[2] = nx, ny, nz
        j[3], j[4], j[5] = qy * nz - qz * ny, qz * nx - qx * nz, qx * ny - qy * nx
        for a in range(6):
            weighted = weight * j[a]
            gradient[a] -= weighted * distance
            for b in range(a + 1):
                information[a, b] += weighted * j[b]


@kernel
def take_step(information: Array, gradient: Array, damping: float, r: Array, t: Array) -> None:
    """Take one damped Gauss-Newton step of a pose in place; both systems are spoilt."""
    for a in range(6):
        information[a, a] += damping * information[a, a] + _LEAST_DIAGONAL
    factorise(information)
    substitute_forward(information, gradient)
    substitute_backward(information, gradient)
    x, y, z = -gradient[3], -gradient[4], -gradient[5]
    angle = math.sqrt(x * x + y * y + z * z)
    shorter = min(1.0, _MAX_TURN_RAD / max(angle, 1e-12))
    turn, before = np.empty((3, 3)), r.copy()
    rotation_of(x * shorter, y * shorter, z * shorter, turn)
    for a in range(3):
        t[a] -= gradient[a]
        for b in range(3):
            r[a, b] = turn[a, 0] * before[0, b] + turn[a, 1] * before[1, b] + turn[a, 2] * before[2, b]


@kernel
def fit_keypoints(
    points: Array,
    pixels: Array,
    inverse_sigmas: Array,
    pinhole: Array,
    loss: int,
    steps: int,
    damping: float,
    rotation: Array,
    translation: Array,
) -> None:
    """Fit B poses to their keypoints, in place."""
    information, gradient = np.zeros((6, 6)), np.zeros(6)
    for i in range(len(points)):
        for _ in range(steps):
            information[:], gradient[:] = 0.0, 0.0
            own = points[i], pixels[i], inverse_sigmas[i]
            add_keypoints(
                own[0], own[1], own[2], pinhole, rotation[i], translation[i], loss, own[2], information, gradient
            )
            take_step(information, gradient, damping, rotation[i], translation[i])


@kernel
def keypoint_information(
    points: Array,
    pixels: Array,
    inverse_sigmas: Array,
    pinhole: Array,
    rotation: Array,
    translation: Array,
    weights: Array,
) -> Array:
    """Return the information (B, 6, 6) of B poses' keypoints of given ``weights`` (B, K)."""
    information, gradient = np.zeros((len(points), 6, 6)), np.zeros(6)
    for i in range(len(points)):
        own = points[i], pixels[i], inverse_sigmas[i]
        add_keypoints(
            own[0], own[1], own[2], pinhole, rotation[i], translation[i], GIVEN, weights[i], information[i], gradient
        )
        mirror(information[i])
    return information


@kernel
def fit_depth(
    points: Array,
    pixels: Array,
    inverse_sigmas: Array,
    pinhole: Array,
    surface_points: NDArray[np.float64],
    surface_normals: NDArray[np.float64],
    areas: Array,
    class_ids: NDArray[np.intp],
    views: NDArray[np.intp],
    stride: int,
    depth_m: DepthImage,
    front_m: DepthImage,
    noise: Array,
    scales_m: Array,
    damping: float,
    rotation: Array,
    translation: Array,
    information: Array,
) -> None:
    """Fit B poses to depth and keypoints in place, one step for each of the ``scales_m``.

    The ``information`` (B, 6, 6) is that of the last scale where the poses are then; without damping they stay.
    """
    gradient = np.zeros(6)
    for i in range(len(points)):
        k, view = class_ids[i], views[i]
        r, t, system = rotation[i], translation[i], information[i]
        for scale_m in scales_m:
            system[:], gradient[:] = 0.0, 0.0
            add_surface(
                surface_points[k, view],
                surface_normals[k, view],
                stride,
                areas[k, view],
                depth_m,
                front_m,
                noise,
                pinhole,
                r,
                t,
                scale_m,
                system,
                gradient,
            )
            own = points[i], pixels[i], inverse_sigmas[i]
            add_keypoints(own[0], own[1], own[2], pinhole, r, t, TUKEY, own[2], system, gradient)
            if damping > 0.0:
                take_step(system, gradient, damping, r, t)
        mirror(system)


@kernel
def mirror(information: Array) -> None:
    """Copy the lower triangle of a matrix (n, n) to the upper one."""
    for a in range(len(information)):
        for b in range(a):
            information[b, a] = information[a, b]
