"""Where objects lie: dropped on a table or into a bin, or placed in the air."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.simulation.parts.objects import SceneObject

_CELL_M = 0.005
_CELLS = 240
_TOUCH_M = 0.002


class HeightMap:
    """The height of what already lies on the table, on a grid of 5 mm over a square of 1.2 m, both ``scale`` times."""

    def __init__(self, floor: float = 0.0, scale: float = 1.0) -> None:
        self.floor = floor
        self.touch_m = _TOUCH_M * scale
        self._cell_m = _CELL_M * scale
        self._height = np.full((_CELLS, _CELLS), floor, dtype=np.float32)

    def rest_height(self, points: Array) -> float:
        """Return how far (N, 3) points must be lifted so that none is below what lies there."""
        rows, columns = self._cells(points)
        return float((self._height[rows, columns] - points[:, 2]).max())

    def add(self, points: Array) -> None:
        """Add a body by its (N, 3) surface points."""
        rows, columns = self._cells(points)
        body = np.full_like(self._height, -np.inf)
        np.maximum.at(body, (rows, columns), points[:, 2].astype(np.float32))
        top, left = max(rows.min() - 1, 0), max(columns.min() - 1, 0)
        window = np.s_[top : rows.max() + 2, left : columns.max() + 2]
        # Neighbouring cells too: the points are samples, the body between them is closed.
        grown = cv2.dilate(body[window], np.ones((3, 3), dtype=np.uint8))
        self._height[window] = np.maximum(self._height[window], grown)

    def _cells(self, points: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        index = np.clip((points[:, :2] / self._cell_m + 0.5 * _CELLS).astype(np.int64), 0, _CELLS - 1)
        return index[:, 1], index[:, 0]


def drop(
    points: Array,
    rotation: Array,
    ground: HeightMap,
    half_xy: Array,
    rng: np.random.Generator,
    *,
    tries: int,
    pile: bool,
) -> Array | None:
    """Drop a body straight down at a random spot and return its pose, or None where no spot was free.

    ``points`` (N, 3) sample its surface; the whole body stays within +-``half_xy`` where it fits. With ``pile`` it may
    come to lie on others.
    """
    turned = points @ rotation.T
    low, high = turned[:, :2].min(axis=0), turned[:, :2].max(axis=0)
    first, last = -half_xy - low, half_xy - high
    for _ in range(tries):
        spot = np.append(rng.uniform(np.minimum(first, last), np.maximum(first, last)), 0.0)
        lift = ground.rest_height(turned + spot)
        flat_lift = ground.floor - turned[:, 2].min()
        if pile or lift < flat_lift + ground.touch_m:
            pose = se3.make_transform(rotation, spot + np.array([0.0, 0.0, lift]))
            ground.add(se3.apply(pose, points))
            return pose
    return None


def stable_rotation(item: SceneObject, rng: np.random.Generator) -> Array:
    """Draw a stable rotation of the object on a plane, with a random heading."""
    stable = item.stable_rotations
    index = int(rng.choice(len(stable.probabilities), p=stable.probabilities))
    return np.asarray(heading(rng) @ stable.rotations[index])


def upright_rotation(rng: np.random.Generator) -> Array:
    """Draw a rotation that keeps z up to a few degrees, with a random heading."""
    return np.asarray(heading(rng) @ tilt(rng, 0.06))


def heading(rng: np.random.Generator) -> Array:
    """Draw a rotation about z."""
    return se3.exp_so3(np.array([0.0, 0.0, rng.uniform(0.0, 2.0 * np.pi)]))


def tilt(rng: np.random.Generator, sigma_rad: float) -> Array:
    """Draw a small rotation about a random axis."""
    return se3.exp_so3(rng.normal(0.0, sigma_rad, 3))


def any_rotation(rng: np.random.Generator) -> Array:
    """Draw a rotation, uniformly."""
    return np.asarray(Rotation.random(random_state=rng).as_matrix())


def hang(radius: float, reach: float, taken: list[tuple[Array, float]], rng: np.random.Generator) -> Array | None:
    """Draw a pose in the ball of ``reach`` about the origin that keeps clear of ``taken`` (center, radius) spheres."""
    for _ in range(12):
        center = rng.uniform(-reach, reach, 3) * (1.0, 1.0, 0.7)
        if all(np.linalg.norm(center - other) > 0.75 * (radius + size) for other, size in taken):
            taken.append((center, radius))
            return se3.make_transform(any_rotation(rng), center)
    return None


def look_at(eye: Array, target: Array, roll: float = 0.0) -> Array:
    """Return T_world_camera (optical frame) of a camera at ``eye`` looking at ``target``, world z up in the image."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.999 else np.array([0.0, 1.0, 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
    return se3.make_transform(rotation @ se3.exp_so3(np.array([0.0, 0.0, roll])), eye)
