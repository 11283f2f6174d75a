"""The camera as kernels read it: one vector of intrinsics and distortion, the ray of every pixel, and rotated points.

The models are those of ``core.geometry.distortion``. Points are projected through the lens and measured where they are
seen, so that no image has to be undistorted for each frame.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.distortion import EQUIDISTANT, Distortion, tilt
from object_pose.core.kernels import inlined

FX, FY, CX, CY, WIDTH, HEIGHT, MODEL, LIMIT = range(8)
_COEFFICIENTS, _TILT = 8, 20
_SIZE = 29
_PINHOLE, _POLYNOMIAL, _FISHEYE = 0.0, 1.0, 2.0
_OUTSIDE = -1e4  # focal lengths


@lru_cache(maxsize=8)
def lens_of(camera: Camera) -> Array:
    """Return the vector (29,) that ``pixel_of`` takes: intrinsics, size, model and coefficients."""
    lens = np.zeros(_SIZE)
    lens[:6] = camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height
    lens[MODEL] = _PINHOLE
    lens[_TILT:] = np.eye(3).ravel()
    if camera.is_distorted:
        fisheye = camera.distortion_model == EQUIDISTANT
        lens[MODEL] = _FISHEYE if fisheye else _POLYNOMIAL
        lens[LIMIT] = Distortion(camera.distortion_model, camera.distortion).limit
        coefficients = np.zeros(14)
        coefficients[: len(camera.distortion)] = camera.distortion
        lens[_COEFFICIENTS:_TILT] = coefficients[:12]
        lens[_TILT:] = tilt(*coefficients[12:]).ravel()
    lens.setflags(write=False)
    return lens


@lru_cache(maxsize=4)
def rays_of(camera: Camera) -> NDArray[np.float32]:
    """Return x / z and y / z (H, W, 2) of every pixel's ray; (0, 0, 2) of a pinhole, whose rays need no table."""
    if not camera.is_distorted:
        return np.zeros((0, 0, 2), dtype=np.float32)
    rows, columns = np.mgrid[: camera.height, : camera.width]
    ideal = camera.undistort(np.stack([columns, rows], axis=-1).astype(np.float64))
    rays = (ideal - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    return np.ascontiguousarray(rays, dtype=np.float32)


@inlined
def rotated(r: Array, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return a vector turned by the rotation ``r`` (3, 3)."""
    return (
        r[0, 0] * x + r[0, 1] * y + r[0, 2] * z,
        r[1, 0] * x + r[1, 1] * y + r[1, 2] * z,
        r[2, 0] * x + r[2, 1] * y + r[2, 2] * z,
    )


@inlined
def pixel_of(lens: Array, x: float, y: float) -> tuple[float, float]:
    """Return the pixel of the ray (``x``, ``y``, 1); one far outside beyond what the model holds for."""
    u, v = x, y
    if lens[6] != 0.0:
        r2 = x * x + y * y
        if r2 > lens[7] * lens[7]:
            u, v = _OUTSIDE, _OUTSIDE
        elif lens[6] == 1.0:
            radial = (1.0 + r2 * (lens[8] + r2 * (lens[9] + r2 * lens[12]))) / (
                1.0 + r2 * (lens[13] + r2 * (lens[14] + r2 * lens[15]))
            )
            u = x * radial + 2.0 * lens[10] * x * y + lens[11] * (r2 + 2.0 * x * x) + r2 * (lens[16] + r2 * lens[17])
            v = y * radial + lens[10] * (r2 + 2.0 * y * y) + 2.0 * lens[11] * x * y + r2 * (lens[18] + r2 * lens[19])
            w = lens[26] * u + lens[27] * v + lens[28]
            tilted = (lens[20] * u + lens[21] * v + lens[22]) / w
            v = (lens[23] * u + lens[24] * v + lens[25]) / w
            u = tilted
        else:
            r = math.sqrt(r2)
            theta = math.atan(r)
            t2 = theta * theta
            scale = theta * (1.0 + t2 * (lens[8] + t2 * (lens[9] + t2 * (lens[10] + t2 * lens[11])))) / max(r, 1e-12)
            u, v = x * scale, y * scale
    return lens[0] * u + lens[2], lens[1] * v + lens[3]
