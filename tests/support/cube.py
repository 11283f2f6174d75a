"""A scene that is known exactly: a cube above a table, as files, as a frame, and as a model that always sees it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from networks import relief_head, save_pose_model
from object_pose.core.arrays import Array
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.object_model import ObjectModel
from object_pose.io.camera_info import write_camera
from object_pose.io.images import write_depth, write_image

HALF_SIZE_M = 0.03
CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
T_CAMERA_CUBE = se3.make_transform(translation=(0.02, -0.01, 0.4))
_TABLE_M = 0.6


def make_cube() -> ObjectModel:
    """Return a 6 cm cube that its corners describe."""
    corners = np.array(list(itertools.product((-HALF_SIZE_M, HALF_SIZE_M), repeat=3)))
    size = np.full(3, 2 * HALF_SIZE_M)
    return ObjectModel(
        "cube",
        corners,
        *_faces(12),
        np.zeros(3),
        size,
        float(np.linalg.norm(size)),
        surface_object=_faces(26)[0],
    )


def _faces(rows: int) -> tuple[Array, Array]:
    """Return a grid of ``rows`` times ``rows`` points on each face, edges included, and their normals."""
    steps = np.linspace(-HALF_SIZE_M, HALF_SIZE_M, rows)
    points, normals = [], []
    for axis, sign in itertools.product(range(3), (-1.0, 1.0)):
        for u, v in itertools.product(steps, steps):
            points.append(np.insert([u, v], axis, sign * HALF_SIZE_M))
            normals.append(np.insert([0.0, 0.0], axis, sign))
    return np.array(points), np.array(normals)


def cube_frame(stamp_ns: int = 0) -> Frame:
    """Return what the camera sees: the cube's front, and the table behind it."""
    depth_m = np.full((CAMERA.height, CAMERA.width), _TABLE_M, np.float32)
    front = T_CAMERA_CUBE[:3, 3] + np.array([[-1, -1, -1], [1, 1, -1]]) * HALF_SIZE_M
    (left, top), (right, bottom) = CAMERA.project(front)
    left, top, right, bottom = int(np.ceil(left)), int(np.ceil(top)), int(right), int(bottom)
    depth_m[top : bottom + 1, left : right + 1] = front[0, 2]
    rgb = np.full((CAMERA.height, CAMERA.width, 3), 80, np.uint8)
    rgb[top : bottom + 1, left : right + 1] = (200, 120, 40)
    return Frame(rgb, CAMERA, depth_m, stamp_ns)


def save_cube_model(path: Path) -> Path:
    """Write a model file that always finds the cube where it is."""
    return save_pose_model([make_cube()], CAMERA, [(0, T_CAMERA_CUBE)], path)


def save_relief_cube_model(path: Path) -> Path:
    """Write the same with a RoI head, which reads relief beside colour."""
    return save_pose_model([make_cube()], CAMERA, [(0, T_CAMERA_CUBE)], path, relief_head(("cube",)))


def save_recording(folder: Path, frame: Frame) -> Path:
    """Write a frame as files: rgb/000000.png, depth/000000.png and camera.yaml."""
    assert frame.depth_m is not None
    write_image(folder / "rgb" / "000000.png", frame.rgb)
    write_depth(folder / "depth" / "000000.png", frame.depth_m)
    write_camera(folder / "camera.yaml", frame.camera)
    return folder
