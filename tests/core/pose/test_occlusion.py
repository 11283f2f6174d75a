"""Depth that known objects account for is theirs alone, and what they cover is found behind them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.metrics import pose as metrics
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.contour import ContourSurface
from object_pose.core.pose.depth_evidence import DepthNoise, make_depth_view
from object_pose.core.pose.occlusion import are_covered, occluder_pixels
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectTruth
from pose_scene import BRACKET_ID, MODELS, PLATE_ID, detect, random_view
from raycast import BRACKET, CAMERA, PLATE, render_depth

_WALL_M = 0.62
_NOISE = DepthNoise(0.0005, 0.004)
_POSE = se3.make_transform(se3.exp_so3((2.2, 0.5, 0.3)), (0.01, -0.02, 0.45))
_BRACKET = ContourSurface.of(MODELS[BRACKET_ID].surface_object)


def test_an_objects_own_pixels_are_occluder_pixels() -> None:
    depth_m = render_depth([(BRACKET, _POSE)], background_m=_WALL_M)
    occluders = occluder_pixels(make_depth_view(depth_m, CAMERA, _NOISE), [(_BRACKET, _POSE)])
    own = depth_m < _WALL_M - 1e-3
    assert np.mean(occluders[own]) > 0.99
    beside = occluders & ~own  # a seam of a pixel or two, for edges smear
    assert np.count_nonzero(beside) < 0.25 * np.count_nonzero(own)


def test_what_lies_in_front_of_it_stays() -> None:
    plate_pose = se3.make_transform(translation=(0.03, -0.02, 0.36))
    depth_m = render_depth([(BRACKET, _POSE), (PLATE, plate_pose)], background_m=_WALL_M)
    occluders = occluder_pixels(make_depth_view(depth_m, CAMERA, _NOISE), [(_BRACKET, _POSE)])
    plate = np.abs(depth_m - 0.357) < 1e-3
    assert np.mean(occluders[plate]) < 0.1
    assert np.any(occluders)


@pytest.mark.parametrize("z", [-0.4, 50.0], ids=["behind the camera", "too far to be drawn"])
def test_what_cannot_be_drawn_has_no_occluder_pixels(z: float) -> None:
    view = make_depth_view(np.full((240, 320), _WALL_M, np.float32), CAMERA, _NOISE)
    assert not np.any(occluder_pixels(view, [(_BRACKET, se3.make_transform(translation=(0.0, 0.0, z)))]))


def test_boxes_are_covered_where_others_leave_something_to_be_seen() -> None:
    occluders = np.zeros((240, 320), dtype=bool)
    occluders[:, :100] = True
    boxes = np.array(
        [[10.0, 10, 90, 90], [60, 10, 140, 90], [150, 10, 220, 90], [-50, 10, 150, 90], [400, 300, 420, 320]]
    )
    assert are_covered(boxes, occluders).tolist() == [False, True, False, True, False]


def test_a_view_without_pixels_has_not_measured_them() -> None:
    view = make_depth_view(np.full((240, 320), _WALL_M, np.float32), CAMERA, _NOISE)
    occluders = np.zeros((240, 320), dtype=bool)
    occluders[:120] = True
    rest = view.without(occluders)
    for image in (rest.depth_m, rest.front_m):
        np.testing.assert_allclose([image[10, 10], image[200, 10]], [0.0, _WALL_M], rtol=1e-6)


def _covered(rng: np.random.Generator) -> tuple[Detections, Array, np.ndarray]:
    """Return detections of a plate and, with hardly any keypoints, of the bracket that it covers; pose and depth."""
    pose = random_view(rng, 0.5)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    beside = 0.02 * np.array([np.cos(angle), np.sin(angle)])
    plate_pose = se3.make_transform(se3.exp_so3((0.0, 0.0, angle)), (*(0.8 * pose[:2, 3] + beside), 0.4))
    alone, both = (render_depth(placed) for placed in ([(PLATE, plate_pose)], [(BRACKET, pose), (PLATE, plate_pose)]))
    depth_m = render_depth([(BRACKET, pose), (PLATE, plate_pose)], background_m=_WALL_M)
    rows, columns = np.nonzero((both > 0.0) & (alone == 0.0))
    found = detect([(PLATE_ID, plate_pose), (BRACKET_ID, pose)], rng)
    boxes, keypoints, sigmas = found.boxes_xyxy.copy(), found.keypoints.copy(), found.keypoint_sigmas.copy()
    boxes[1] = columns.min(), rows.min(), columns.max(), rows.max()
    middle = keypoints[1].mean(axis=0)
    keypoints[1], sigmas[1] = middle + 0.3 * (keypoints[1] - middle), 25.0
    vague = dataclasses.replace(found, boxes_xyxy=boxes, keypoints=keypoints, keypoint_sigmas=sigmas)
    return vague, pose, depth_m


def test_a_covered_object_is_found_once_what_covers_it_is_known() -> None:
    solver = PoseSolver(MODELS, PoseSolverConfig(second_pass=True))
    rng = np.random.default_rng(3)
    known = unknown = 0
    for _ in range(16):
        detections, pose, depth_m = _covered(rng)
        truth = [ObjectTruth(BRACKET_ID, "bracket", pose, 1.0, np.zeros(4))]
        for only in (slice(0, 2), slice(1, 2)):
            results = solver.solve(detections.select(np.arange(2)[only]), CAMERA, depth_m)
            brackets = [found for found in results.poses if found.class_id == BRACKET_ID]
            right = sum(match.is_correct for match in metrics.match_frame(brackets, truth, MODELS).matches)
            known, unknown = (known + right, unknown) if only.start == 0 else (known, unknown + right)
    assert known > unknown + 2, (known, unknown)
