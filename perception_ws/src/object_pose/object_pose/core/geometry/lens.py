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

# Places in the vector. The coefficients are OpenCV's, of a polynomial or of a fisheye lens; the tilt's homography is
# by rows.
FX, FY, CX, CY, WIDTH, HEIGHT, MODEL, LIMIT = range(8)
_COEFFICIENTS, _TILT = 8, 20
_K1, _K2, _P1, _P2, _K3, _K4, _K5, _K6, _S1, _S2, _S3, _S4 = range(_COEFFICIENTS, _TILT)
_F1, _F2, _F3, _F4 = range(_COEFFICIENTS, _COEFFICIENTS + 4)
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
    if lens[MODEL] != _PINHOLE:
        r2 = x * x + y * y
        if r2 > lens[LIMIT] * lens[LIMIT]:
            u, v = _OUTSIDE, _OUTSIDE
        elif lens[MODEL] == _POLYNOMIAL:
            radial = (1.0 + r2 * (lens[_K1] + r2 * (lens[_K2] + r2 * lens[_K3]))) / (
                1.0 + r2 * (lens[_K4] + r2 * (lens[_K5] + r2 * lens[_K6]))
            )
            u = x * radial + 2.0 * lens[_P1] * x * y + lens[_P2] * (r2 + 2.0 * x * x)
            v = y * radial + lens[_P1] * (r2 + 2.0 * y * y) + 2.0 * lens[_P2] * x * y
            u += r2 * (lens[_S1] + r2 * lens[_S2])
            v += r2 * (lens[_S3] + r2 * lens[_S4])
            w = lens[_TILT + 6] * u + lens[_TILT + 7] * v + lens[_TILT + 8]
            tilted = (lens[_TILT] * u + lens[_TILT + 1] * v + lens[_TILT + 2]) / w
            v = (lens[_TILT + 3] * u + lens[_TILT + 4] * v + lens[_TILT + 5]) / w
            u = tilted
        else:
            r = math.sqrt(r2)
            theta = math.atan(r)
            t2 = theta * theta
            series = 1.0 + t2 * (lens[_F1] + t2 * (lens[_F2] + t2 * (lens[_F3] + t2 * lens[_F4])))
            scale = theta * series / max(r, 1e-12)
            u, v = x * scale, y * scale
    return lens[FX] * u + lens[CX], lens[FY] * v + lens[CY]
