"""All kernels of a frame's way to poses and tracks compiled before they are needed, in the forms that frames need."""

from __future__ import annotations

import itertools

import numpy as np

from object_pose.core.frame import AlignedDepth, Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.contour_judge import ContourJudge
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseResults
from object_pose.core.tracking.aligner import AlignerConfig, FrameAligner
from object_pose.core.tracking.shared_surface import find_shared_surfaces
from object_pose.core.tracking.tracker import Tracker
from object_pose.core.tracking.view_model import ViewModel, ViewTables
from object_pose.core.vision.boxes import suppress
from object_pose.core.vision.image import letterbox
from object_pose.core.vision.roi import RoiWindow, cut_batch

_CAMERA = Camera(160, 120, 150.0, 150.0, 79.5, 59.5)


def compile_kernels() -> None:
    """Compile what no earlier call has left on disk, which takes a minute; later processes only load it."""
    _preprocess()
    compile_pose_kernels()


def compile_pose_kernels() -> None:
    """Compile, or load, what poses and tracks of given detections need."""
    model = _cube()
    _solve(model)
    _judge(model)
    _align(model)
    _compare(model)
    _track(model)


def _cube() -> ObjectModel:
    corners = np.array(list(itertools.product((-0.03, 0.03), repeat=3)))
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.03, 0.03, (500, 3))
    axes, rows = rng.integers(0, 3, 500), np.arange(500)
    points[rows, axes] = 0.03 * np.sign(points[rows, axes])
    normals = np.zeros_like(points)
    normals[rows, axes] = np.sign(points[rows, axes])
    return ObjectModel("cube", corners, points, normals, np.zeros(3), np.full(3, 0.06), 0.104)


def _preprocess() -> None:
    """Make an image smaller, cut a window of colour and depth out of it, and choose among boxes."""
    rgb = np.zeros((120, 160, 3), dtype=np.uint8)
    letterbox(rgb, (128, 96))
    window = RoiWindow(np.array([80.0, 60.0]), 60.0, 80)
    cut_batch(rgb, AlignedDepth(np.ones((120, 160), dtype=np.float32), _CAMERA), [window])
    suppress(np.zeros((1, 4)), np.ones(1), np.zeros(1, dtype=np.int64), 0.5, 1)


def _solve(model: ObjectModel) -> None:
    """Find two cubes by keypoints and depth, and once more in depth that contradicts them, so that it is searched."""
    poses = np.stack([se3.make_transform(translation=(x, 0.0, 0.3)) for x in (-0.05, 0.05)])
    keypoints = np.stack([_CAMERA.project(se3.apply(pose, model.keypoints_object)) for pose in poses])
    boxes = np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)
    found = Detections(boxes, np.ones(2), np.zeros(2, dtype=np.int64), keypoints, np.ones((2, 8)))
    solver = PoseSolver([model])
    for distance_m in (0.27, 0.31):
        depth = np.full((120, 160), 0.5, dtype=np.float32)
        for x0, y0, x1, y1 in np.rint(boxes).astype(int):
            depth[y0 : y1 + 1, x0 : x1 + 1] = distance_m
        solver.solve(found, _CAMERA, depth)


def _judge(model: ObjectModel) -> None:
    """Judge a cube by its contour, with depth and without it."""
    judge = ContourJudge([ViewModel.of(model, view_count=20)])
    rgb, depth_m = np.zeros((120, 160, 3), dtype=np.uint8), np.full((120, 160), 0.27, dtype=np.float32)
    for depth in (depth_m, None):
        frame, pose = Frame(rgb, _CAMERA, depth), se3.make_transform(translation=(0.0, 0.0, 0.3))
        judge.agreement(frame, np.zeros(1, dtype=np.intp), pose[None])


def _align(model: ObjectModel) -> None:
    """Align two cubes with depth on their front, without any, and with depth behind them, so that they are sought."""
    aligner = FrameAligner([ViewModel.of(model, view_count=20)], AlignerConfig(use_colour="always"))
    poses = np.stack([se3.make_transform(translation=(x, 0.0, 0.3)) for x in (-0.05, 0.05)])
    prior, ids = np.tile(1e4 * np.eye(6), (2, 1, 1)), np.arange(2)
    rgb = np.full((120, 160, 3), 200, dtype=np.uint8)
    rgb[40:80, 35:125] = np.random.default_rng(0).integers(0, 120, (40, 90, 3))
    depths = np.full((120, 160), 0.27, dtype=np.float32), None, np.full((120, 160), 0.5, dtype=np.float32)
    aligner.learn(Frame(rgb, _CAMERA, depths[0]), np.zeros(2, dtype=np.intp), poses, ids)
    for depth in depths:
        aligner.align(Frame(rgb, _CAMERA, depth), np.zeros(2, dtype=np.intp), poses, prior, ids)


def _compare(model: ObjectModel) -> None:
    """Compare two cubes that would be at one place."""
    place = model.box_center, model.box_size, np.array([60.0, 40.0, 100.0, 80.0])
    transform = se3.make_transform(translation=(0.0, 0.0, 0.3))
    poses = [
        ObjectPose(0, model.name, score, transform, 1e-6 * np.eye(6), *place, np.nan, 0.001, 1.0, True)
        for score in (1.0, 0.5)
    ]
    tables, depth_m = ViewTables.of([ViewModel.of(model, view_count=20)]), np.full((120, 160), 0.27, dtype=np.float32)
    find_shared_surfaces(poses, tables, np.zeros(2, dtype=np.int32), AlignedDepth(depth_m, _CAMERA))


def _track(model: ObjectModel) -> None:
    """Track a cube that moves, before a sensor whose depths have a common error."""
    tracker = Tracker([model], scale_sigma=0.01)
    for index in range(3):
        transform = se3.make_transform(translation=(0.001 * index, 0.0, 0.3))
        place = model.box_center, model.box_size, np.array([35.0, 40.0, 80.0, 80.0])
        pose = ObjectPose(0, model.name, 1.0, transform, 1e-6 * np.eye(6), *place, np.nan, 0.001, 1.0, True)
        tracker.predicted(index * 33_000_000)
        tracker.update(PoseResults((pose,), ()), index * 33_000_000)
