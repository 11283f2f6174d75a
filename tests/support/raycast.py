"""Depth images of solids made of boxes and cylinders, exact to rounding: the truth that pose tests start from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array, DepthImage
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.contour import even_sample

CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
_DENSE_POINTS = 4000


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in the object frame."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def hits(self, origin: Array, rays: Array) -> Array:
        """Return (N,) distances along (N, 3) rays from ``origin``, inf for a miss."""
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = (np.asarray(self.low) - origin) / rays, (np.asarray(self.high) - origin) / rays
        near = np.nanmax(np.minimum(first, second), axis=1)
        far = np.nanmin(np.maximum(first, second), axis=1)
        return np.where((near <= far) & (near > 0.0), near, np.inf)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return points (count, 3) and outward normals (count, 3), even over the surface."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        size = high - low
        areas = np.array([size[1] * size[2], size[0] * size[2], size[0] * size[1]])
        axis = rng.choice(3, count, p=areas / areas.sum())
        side = rng.integers(0, 2, count)
        points = low + rng.random((count, 3)) * size
        rows = np.arange(count)
        points[rows, axis] = np.where(side, high[axis], low[axis])
        normals = np.zeros((count, 3))
        normals[rows, axis] = 2.0 * side - 1.0
        return points, normals

    def edges(self, count: int, rng: np.random.Generator) -> Array:
        """Return points (count, 3) on the twelve edges."""
        ends = rng.integers(0, 2, (count, 3)).astype(float)
        ends[np.arange(count), rng.integers(0, 3, count)] = rng.random(count)
        return np.asarray(self.low) + ends * (np.asarray(self.high) - np.asarray(self.low))

    def contains(self, points: Array) -> np.ndarray:
        """Tell which of (N, 3) points lie strictly inside."""
        return np.all((points > np.asarray(self.low) + 1e-9) & (points < np.asarray(self.high) - 1e-9), axis=1)


@dataclass(frozen=True)
class Cylinder:
    """A cylinder about the object's z axis."""

    radius: float
    bottom: float
    top: float

    @property
    def low(self) -> tuple[float, float, float]:
        return -self.radius, -self.radius, self.bottom

    @property
    def high(self) -> tuple[float, float, float]:
        return self.radius, self.radius, self.top

    def hits(self, origin: Array, rays: Array) -> Array:
        """Return (N,) distances along (N, 3) rays from ``origin``, inf for a miss."""
        a = np.sum(rays[:, :2] ** 2, axis=1)
        b = rays[:, :2] @ origin[:2]
        root = b**2 - a * (origin[:2] @ origin[:2] - self.radius**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt(root)
            caps = np.sort((np.array([[self.bottom], [self.top]]) - origin[2]) / rays[:, 2], axis=0)
            near = np.maximum((-b - spread) / a, caps[0])
            far = np.minimum((-b + spread) / a, caps[1])
        return np.where((root >= 0.0) & (near <= far) & (near > 0.0), near, np.inf)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return points (count, 3) and outward normals (count, 3), even over the surface."""
        height = self.top - self.bottom
        on_side = rng.random(count) < height / (height + self.radius)
        angle = rng.uniform(0.0, 2.0 * np.pi, count)
        radius = np.where(on_side, self.radius, self.radius * np.sqrt(rng.random(count)))
        up = rng.random(count) < 0.5
        z = np.where(on_side, self.bottom + height * rng.random(count), np.where(up, self.top, self.bottom))
        around = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        points = np.column_stack([radius[:, None] * around, z])
        flat = np.column_stack([np.zeros((count, 2)), np.where(up, 1.0, -1.0)])
        normals = np.where(on_side[:, None], np.column_stack([around, np.zeros(count)]), flat)
        return points, normals

    def edges(self, count: int, rng: np.random.Generator) -> Array:
        """Return points (count, 3) on the two rims."""
        angle = rng.uniform(0.0, 2.0 * np.pi, count)
        z = np.where(rng.random(count) < 0.5, self.top, self.bottom)
        return np.stack([self.radius * np.cos(angle), self.radius * np.sin(angle), z], axis=1)

    def contains(self, points: Array) -> np.ndarray:
        """Tell which of (N, 3) points lie strictly inside."""
        inside = np.hypot(points[:, 0], points[:, 1]) < self.radius - 1e-9
        return inside & (points[:, 2] > self.bottom + 1e-9) & (points[:, 2] < self.top - 1e-9)


Solid = Sequence[Box | Cylinder]

# An angle bracket without any symmetry, a stepped shaft, and a thin plate; metres.
BRACKET: Solid = (
    Box((-0.040, -0.025, -0.020), (0.040, 0.025, -0.012)),
    Box((-0.040, -0.025, -0.012), (-0.032, 0.010, 0.040)),
    Box((-0.032, -0.006, -0.012), (0.005, 0.000, 0.010)),
)
SHAFT: Solid = (Cylinder(0.024, -0.030, -0.015), Cylinder(0.012, -0.015, 0.040))
PLATE: Solid = (Box((-0.040, -0.025, -0.003), (0.040, 0.025, 0.003)),)
AXIS_Z = np.array([0.0, 0.0, 1.0])


def model_of(name: str, solid: Solid, symmetry: Symmetry | None = None, count: int = 800) -> ObjectModel:
    """Describe a solid to the pose head: box corners as keypoints, its outer surface as points."""
    rng = np.random.default_rng(0)
    points, normals = [], []
    for part in solid:
        some_points, some_normals = part.sample(count, rng)
        outside = some_points + 1e-6 * some_normals
        free = np.ones(count, dtype=bool)
        for other in solid:
            free &= ~other.contains(outside)
        points.append(some_points[free])
        normals.append(some_normals[free])
    low = np.min([part.low for part in solid], axis=0)
    high = np.max([part.high for part in solid], axis=0)
    corners = np.array(list(itertools.product(*zip(low, high))))
    all_points = np.concatenate(points)
    diameter = float(np.max(np.linalg.norm(all_points[:, None] - all_points[None, ::7], axis=-1)))
    dense = [part.edges(_DENSE_POINTS, rng) for part in solid]
    dense += [part.sample(10 * _DENSE_POINTS, rng)[0] for part in solid]
    return ObjectModel(
        name,
        corners,
        all_points,
        np.concatenate(normals),
        0.5 * (low + high),
        high - low,
        diameter,
        symmetry or Symmetry(),
        even_sample(np.concatenate(dense), _DENSE_POINTS),
    )


def render_depth(
    placed: Sequence[tuple[Solid, Array]], camera: Camera = CAMERA, background_m: float = 0.0
) -> DepthImage:
    """Return (H, W) float32 metres along z of solids at their poses, over a wall at ``background_m`` (0: none)."""
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = camera.undistort(np.stack([columns, rows], axis=-1).astype(np.float64)).reshape(-1, 2)
    rays = camera.backproject(pixels, np.ones(len(pixels)))
    depth = np.full(len(rays), background_m or np.inf)
    for solid, T_camera_object in placed:
        T_object_camera = se3.inverse(T_camera_object)
        turned = rays @ T_object_camera[:3, :3].T
        for part in solid:
            depth = np.minimum(depth, part.hits(T_object_camera[:3, 3], turned))
    depth[~np.isfinite(depth)] = 0.0
    return depth.reshape(camera.height, camera.width).astype(np.float32)


def add_sensor_noise(depth_m: DepthImage, rng: np.random.Generator, hole_share: float = 0.05) -> DepthImage:
    """Return depth with stereo-like noise (4 mm at 1 m), steps of 1 mm, and blotchy holes."""
    noisy = depth_m + rng.normal(size=depth_m.shape) * 0.004 * depth_m**2
    blotches = rng.random((depth_m.shape[0] // 8, depth_m.shape[1] // 8)) < hole_share
    holes = np.kron(blotches, np.ones((8, 8), dtype=bool))
    return np.where(holes | (depth_m == 0.0), 0.0, np.round(noisy, 3)).astype(np.float32)
