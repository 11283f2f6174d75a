"""Compiling takes seconds, which no frame may cost: after set-up no array that a driver or a message brings does it."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from object_pose.core.arrays import Array
from object_pose.core.frame import AlignedDepth, Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.pose.config import SINGLE_IMAGE
from object_pose.core.pose.misalignment import MisalignmentMonitor
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.pose import ObjectPose, PoseResults
from object_pose.core.tracking.aligner import FrameAligner
from object_pose.core.tracking.known_objects import KnownObjects
from object_pose.core.tracking.precompile import compile_kernels
from object_pose.core.tracking.tracker import Tracker
from object_pose.core.tracking.view_model import ViewModel
from object_pose.core.vision.boxes import suppress
from object_pose.core.vision.image import letterbox, to_rgb
from object_pose.core.vision.roi import RoiWindow, cut_batch
from pose_scene import BRACKET_ID, MODELS, PLATE_ID, SHAFT_ID, SOLIDS, detect
from raycast import CAMERA, render_depth

_PLACES = {BRACKET_ID: (-0.08, 0.0, 0.5), PLATE_ID: (0.02, 0.03, 0.5), SHAFT_ID: (0.1, -0.02, 0.5)}
_LENS = replace(CAMERA, distortion=(0.05, -0.02, 0.0, 0.0, 0.0), distortion_model="plumb_bob")


@pytest.fixture(scope="module")
def views() -> list[ViewModel]:
    return [ViewModel.of(model) for model in MODELS]


@pytest.fixture
def compiled_before() -> dict[str, int]:
    compile_kernels()
    known = compiled()
    assert known
    return known


def compiled() -> dict[str, int]:
    """Return how many variants there are of each kernel of preprocessing, solver and tracker."""
    packages = "object_pose.core.pose.", "object_pose.core.tracking.", "object_pose.core.vision."
    modules = [module for name, module in sys.modules.items() if name.startswith(packages)]
    members = {f"{module.__name__}.{name}": item for module in modules for name, item in vars(module).items()}
    return {name: len(item.signatures) for name, item in members.items() if getattr(item, "signatures", None)}


def transform_of(class_id: int) -> Array:
    return se3.make_transform(se3.exp_so3((0.5, -0.7, 0.4)), _PLACES[class_id])


def frame_of(camera: Camera, form: str) -> Frame:
    """Return a frame of all objects as it may come: writable, read-only as a message, or as a view of other memory."""
    depth = render_depth([(SOLIDS[class_id], transform_of(class_id)) for class_id in _PLACES], CAMERA, 0.8)
    rgb = np.random.default_rng(0).integers(0, 255, (*depth.shape, 3)).astype(np.uint8)
    rgb[depth < 0.7] //= 2
    if form == "colour alone":
        return Frame(rgb, camera, None)
    if form == "read-only":
        rgb.setflags(write=False)
        depth.setflags(write=False)
    if form == "views":
        rgb, depth = rgb[..., ::-1], np.asfortranarray(depth)
    return Frame(rgb, camera, depth)


@pytest.mark.parametrize("in_world", [False, True])
@pytest.mark.parametrize("camera", [CAMERA, _LENS], ids=["pinhole", "lens"])
def test_tracking_compiles_nothing(
    views: list[ViewModel], compiled_before: dict[str, int], camera: Camera, in_world: bool
) -> None:
    known, tracker = KnownObjects(MODELS, views), Tracker(MODELS, scale_sigma=0.01)
    T_world_camera = np.asfortranarray(se3.make_transform(translation=(0.1, 0.0, 0.2))) if in_world else None
    found = []
    for class_id in _PLACES:
        model, covariance = MODELS[class_id], np.broadcast_to(1e-6 * np.eye(6), (6, 6))
        place = model.box_center, model.box_size, np.array([0.0, 0.0, 50.0, 50.0])
        transform = np.asfortranarray(transform_of(class_id))
        found.append(ObjectPose(class_id, model.name, 0.9, transform, covariance, *place, np.nan, 0.001, 1.0, True))
    poses = tracker.update(PoseResults(tuple(found), ()), 0, T_world_camera).poses
    known.learn(frame_of(camera, "read-only"), poses)
    for number, form in enumerate(("writable", "read-only", "views", "colour alone", "read-only")):
        stamp_ns = (number + 1) * 33_000_000
        expected = tracker.predicted(stamp_ns, T_world_camera)
        twice = replace(expected[0], score=0.5, track_id=100)
        results = known.align(frame_of(camera, form), (*expected, twice))
        assert len(results.poses) == len(expected)
        tracker.update(results, stamp_ns, T_world_camera)
    assert results.poses
    assert compiled() == compiled_before


@pytest.mark.parametrize("camera", [CAMERA, _LENS], ids=["pinhole", "lens"])
def test_solving_compiles_nothing(compiled_before: dict[str, int], camera: Camera) -> None:
    found = detect([(class_id, transform_of(class_id)) for class_id in _PLACES], np.random.default_rng(0))
    solver, monitor = PoseSolver(MODELS, SINGLE_IMAGE.solver), MisalignmentMonitor()
    for number, form in enumerate(("writable", "read-only", "views")):
        frame = frame_of(camera, form)
        results = solver.solve(found, camera, frame.depth_m, rgb=frame.rgb)
        results = solver.solve(found, camera, frame.depth_m, expected=results.poses)
        monitor.add(results.image_offsets, number * 33_000_000)
    assert results.poses
    assert compiled() == compiled_before


@pytest.mark.parametrize("form", ["writable", "read-only", "views", "colour alone"])
def test_preprocessing_compiles_nothing(compiled_before: dict[str, int], form: str) -> None:
    frame = frame_of(CAMERA, form)
    assert frame.rgb is not None
    depth = AlignedDepth(frame.depth_m, CAMERA) if frame.depth_m is not None else None
    letterbox(to_rgb(frame.rgb), (frame.rgb.shape[1] * 3 // 4, frame.rgb.shape[0] * 3 // 4))
    windows = [RoiWindow.around(np.array([60.0, 50.0, 60.0 + side, 90.0]), 80) for side in (20, 40, 100)]
    assert cut_batch(to_rgb(frame.rgb), depth, windows)[:, 4].any() == (depth is not None)
    boxes, scores = np.zeros((8, 4), dtype=np.float32)[::2], np.ones(4, dtype=np.float32)
    suppress(boxes, scores, np.zeros(8, dtype=np.int32)[::2], np.float32(0.5), np.int64(2))
    assert compiled() == compiled_before


def test_any_form_of_what_is_expected_compiles_nothing(views: list[ViewModel], compiled_before: dict[str, int]) -> None:
    ids = np.full(4, BRACKET_ID, dtype=np.int32)[::2]
    poses = np.broadcast_to(transform_of(BRACKET_ID), (2, 4, 4))
    FrameAligner(views).align(frame_of(CAMERA, "views"), ids, poses, np.broadcast_to(1e3 * np.eye(6), (2, 6, 6)), ids)
    assert compiled() == compiled_before
