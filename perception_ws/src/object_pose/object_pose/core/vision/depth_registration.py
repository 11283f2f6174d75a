"""Depth of its own camera as the colour camera would measure it: registered, or aligned, depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, expect_shape
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.lens import lens_of, pixel_of, rays_of
from object_pose.core.kernels import kernel

_LEAST_DEPTH_M = 1e-3


@dataclass(frozen=True)
class DepthSource:
    """A depth camera beside the colour camera: ``T_color_depth`` (4, 4) takes its points to that one."""

    camera: Camera
    T_color_depth: Array

    def registered(self, depth_m: DepthImage, color_camera: Camera) -> DepthImage:
        """Return its depth as the colour camera sees it; raises ``DataError`` where it is of another size."""
        height, width = depth_m.shape
        if (width, height) != self.camera.wh:
            own = f"{self.camera.width}x{self.camera.height}"
            raise DataError(f"depth is {width}x{height}, its camera_info for {own}", "publish both of one resolution")
        return register_depth(depth_m, self.camera, color_camera, self.T_color_depth)


def register_depth(depth_m: DepthImage, depth_camera: Camera, color_camera: Camera, T_color_depth: Array) -> DepthImage:
    """Return depth (H, W) in metres along z at the colour camera's pixels, 0 where none was measured.

    Each pixel of ``depth_m`` covers what its corners span in the colour image, and the nearest surface hides those
    behind it. ``T_color_depth`` (4, 4) takes points of the depth camera to the colour camera.
    """
    expect_shape("depth_m", depth_m, (depth_camera.height, depth_camera.width))
    expect_shape("T_color_depth", T_color_depth, (4, 4))
    registered = np.zeros((color_camera.height, color_camera.width), dtype=np.float32)
    _register(
        np.ascontiguousarray(depth_m, dtype=np.float32),
        rays_of(depth_camera),
        lens_of(depth_camera),
        lens_of(color_camera),
        np.ascontiguousarray(T_color_depth, dtype=np.float64),
        registered,
    )
    return registered


@kernel
def _register(
    depth_m: DepthImage,
    rays: NDArray[np.float32],
    source: Array,
    target: Array,
    transform: Array,
    registered: DepthImage,
) -> None:
    height, width = registered.shape
    half_x, half_y = 0.5 / source[0], 0.5 / source[1]
    for row in range(depth_m.shape[0]):
        for column in range(depth_m.shape[1]):
            z = depth_m[row, column]
            if z < _LEAST_DEPTH_M:
                continue
            if rays.shape[0] > 0:
                x, y = rays[row, column, 0], rays[row, column, 1]
            else:
                x, y = (column - source[2]) / source[0], (row - source[3]) / source[1]
            low_u, high_u, low_v, high_v, far = 1e9, -1e9, 1e9, -1e9, 0.0
            for corner in range(2):
                side = 2.0 * corner - 1.0
                px, py = (x + side * half_x) * z, (y + side * half_y) * z
                qz = transform[2, 0] * px + transform[2, 1] * py + transform[2, 2] * z + transform[2, 3]
                if qz < _LEAST_DEPTH_M:
                    far = -1.0
                    break
                qx = transform[0, 0] * px + transform[0, 1] * py + transform[0, 2] * z + transform[0, 3]
                qy = transform[1, 0] * px + transform[1, 1] * py + transform[1, 2] * z + transform[1, 3]
                u, v = pixel_of(target, qx / qz, qy / qz)
                low_u, high_u = min(low_u, u), max(high_u, u)
                low_v, high_v = min(low_v, v), max(high_v, v)
                far += 0.5 * qz
            if far < 0.0 or high_u < -0.5 or high_v < -0.5 or low_u > width - 0.5 or low_v > height - 0.5:
                continue
            # Pixels whose centres lie between the corners; at least the one that the middle falls into.
            first_u, last_u = int(np.ceil(low_u)), int(np.floor(high_u))
            first_v, last_v = int(np.ceil(low_v)), int(np.floor(high_v))
            if last_u < first_u:
                first_u = last_u = int(np.rint(0.5 * (low_u + high_u)))
            if last_v < first_v:
                first_v = last_v = int(np.rint(0.5 * (low_v + high_v)))
            for v_pixel in range(max(first_v, 0), min(last_v, height - 1) + 1):
                for u_pixel in range(max(first_u, 0), min(last_u, width - 1) + 1):
                    known = registered[v_pixel, u_pixel]
                    if known == 0.0 or far < known:
                        registered[v_pixel, u_pixel] = far
