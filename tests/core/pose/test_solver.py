"""The pose head on exactly known scenes: accurate, calibrated, and rejected where they are not."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError, ModelError
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.metrics import pose as metrics
from object_pose.core.pose.config import AcceptanceConfig, PoseSolverConfig
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, ObjectTruth, PoseResults, RejectionReason
from pose_scene import BRACKET_ID, MODELS, PLATE_ID, SHAFT_ID, SOLIDS, detect, random_view
from raycast import CAMERA, Box, add_sensor_noise, render_depth

WALL_M = 0.62
OBLIQUE = se3.make_transform(se3.exp_so3([2.2, 0.5, 0.3]), (0.01, -0.02, 0.45))
# An arm between camera and object that hides its right third.
ARM = (Box((0.025, -0.2, 0.25), (0.2, 0.2, 0.28)),)


@pytest.fixture(scope="module")
def solver() -> PoseSolver:
    return PoseSolver(MODELS)


def truth_of(class_id: int, pose: Array) -> ObjectTruth:
    return ObjectTruth(class_id, MODELS[class_id].name, pose, 1.0, np.zeros(4))


def only_pose(results: PoseResults) -> ObjectPose:
    assert len(results.poses) == 1, results.rejections
    return results.poses[0]


def reasons(results: PoseResults) -> list[RejectionReason]:
    return [rejection.reason for rejection in results.rejections]


def score_views(solver: PoseSolver, class_id: int, *, hidden: bool, views: int = 25) -> metrics.PoseScore:
    """Noisy keypoints and noisy depth with holes, from many sides."""
    rng = np.random.default_rng(class_id)
    frames = []
    for _ in range(views):
        pose = random_view(rng)
        placed = [(SOLIDS[class_id], pose), *([(ARM, np.eye(4))] if hidden else [])]
        depth_m = add_sensor_noise(render_depth(placed, background_m=WALL_M), rng)
        results = solver.solve(detect([(class_id, pose)], rng), CAMERA, depth_m)
        frames.append(metrics.match_frame(results.poses, [truth_of(class_id, pose)], MODELS))
    return metrics.score_frames(frames)


@pytest.mark.parametrize("class_id", [BRACKET_ID, SHAFT_ID, PLATE_ID])
def test_noisy_keypoints_and_depth_with_holes_give_accurate_poses(solver: PoseSolver, class_id: int) -> None:
    score = score_views(solver, class_id, hidden=False)
    assert score.recall_add_01d >= 0.92
    assert score.precision >= 0.92
    assert score.translation_error_mm_p50 < 1.5
    assert score.rotation_error_deg_p50 < 2.0


def test_an_occluder_in_front_is_looked_past(solver: PoseSolver) -> None:
    score = score_views(solver, BRACKET_ID, hidden=True)
    assert score.recall_add_01d >= 0.85
    assert score.translation_error_mm_p50 < 2.0


def test_depth_makes_poses_far_better_than_keypoints_alone(solver: PoseSolver) -> None:
    rng = np.random.default_rng(5)
    with_depth, without = [], []
    for _ in range(15):
        pose = random_view(rng)
        detections = detect([(BRACKET_ID, pose)], rng)
        depth_m = add_sensor_noise(render_depth([(SOLIDS[BRACKET_ID], pose)], background_m=WALL_M), rng)
        for depth, errors in ((depth_m, with_depth), (None, without)):
            results = solver.solve(detections, CAMERA, depth)
            errors += [np.linalg.norm(found.T_camera_object[:3, 3] - pose[:3, 3]) for found in results.poses]
    assert np.median(with_depth) < 0.2 * np.median(without)


def test_the_covariance_covers_the_errors(solver: PoseSolver) -> None:
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(40):
        pose = random_view(rng)
        depth_m = add_sensor_noise(render_depth([(SOLIDS[BRACKET_ID], pose)], background_m=WALL_M), rng)
        for found in solver.solve(detect([(BRACKET_ID, pose)], rng), CAMERA, depth_m).poses:
            turn = se3.log_so3(pose[:3, :3] @ found.T_camera_object[:3, :3].T)
            error = np.concatenate([pose[:3, 3] - found.T_camera_object[:3, 3], turn])
            covered.append(error @ np.linalg.solve(found.covariance, error) < 12.59)
    assert len(covered) > 35
    assert np.mean(covered) > 0.88


def test_a_pose_describes_its_object_and_what_it_rests_on(solver: PoseSolver) -> None:
    depth_m = render_depth([(SOLIDS[BRACKET_ID], OBLIQUE)], background_m=WALL_M)
    pose = only_pose(solver.solve(detect([(BRACKET_ID, OBLIQUE)]), CAMERA, depth_m))
    assert (pose.class_name, pose.depth_used) == ("bracket", True)
    assert pose.score > 0.9
    assert pose.visibility > 0.8
    assert pose.depth_rms_m < 0.001
    np.testing.assert_allclose(pose.T_camera_object, OBLIQUE, atol=2e-3)
    np.testing.assert_array_equal(pose.box_size, MODELS[BRACKET_ID].box_size)
    assert np.all(np.linalg.eigvalsh(pose.covariance) > 0.0)


def test_the_turn_of_a_shaft_is_reported_as_unknown(solver: PoseSolver) -> None:
    depth_m = render_depth([(SOLIDS[SHAFT_ID], OBLIQUE)], background_m=WALL_M)
    pose = only_pose(solver.solve(detect([(SHAFT_ID, OBLIQUE)]), CAMERA, depth_m))
    axis = pose.T_camera_object[:3, 2]
    assert axis @ pose.covariance[3:, 3:] @ axis == pytest.approx(np.pi**2 / 3.0, rel=1e-3)
    across = np.cross(axis, [1.0, 0.0, 0.0])
    assert across @ pose.covariance[3:, 3:] @ across < 0.05


def test_an_object_taken_for_its_own_half_turn_is_turned_back(solver: PoseSolver) -> None:
    model = MODELS[BRACKET_ID]
    flip = se3.exp_so3(np.pi * np.array([0.0, 0.0, 1.0]))
    turn = se3.make_transform(flip, model.box_center - flip @ model.box_center)
    depth_m = render_depth([(SOLIDS[BRACKET_ID], OBLIQUE)], background_m=WALL_M)
    pose = only_pose(solver.solve(detect([(BRACKET_ID, OBLIQUE @ turn)]), CAMERA, depth_m))
    assert np.degrees(se3.rotation_angle(pose.T_camera_object[:3, :3], OBLIQUE[:3, :3])) < 2.0


def test_keypoints_that_shrink_towards_the_middle_are_overruled_by_box_and_depth(solver: PoseSolver) -> None:
    rng = np.random.default_rng(9)
    found = 0
    for _ in range(12):
        pose = random_view(rng)
        detections = detect([(BRACKET_ID, pose)])
        middle = detections.keypoints.mean(axis=1, keepdims=True)
        # As a network does that cannot tell which way round the object lies; the keypoints alone say it is far away.
        vague = middle + 0.3 * (detections.keypoints - middle) + rng.normal(size=(1, 8, 2))
        detections = dataclasses.replace(detections, keypoints=vague, keypoint_sigmas=np.full((1, 8), 25.0))
        depth_m = add_sensor_noise(render_depth([(SOLIDS[BRACKET_ID], pose)], background_m=WALL_M), rng)
        results = solver.solve(detections, CAMERA, depth_m)
        frame = metrics.match_frame(results.poses, [truth_of(BRACKET_ID, pose)], MODELS)
        found += sum(match.is_correct for match in frame.matches)
    assert found >= 9


def test_what_is_hidden_outside_of_the_visible_box_does_not_lower_the_score() -> None:
    solver = PoseSolver(MODELS, PoseSolverConfig(acceptance=AcceptanceConfig(min_score=0.0)))
    wall = (Box((0.0, -0.2, 0.28), (0.2, 0.2, 0.3)),)
    depth_m = render_depth([(SOLIDS[BRACKET_ID], OBLIQUE), (wall, np.eye(4))], background_m=WALL_M)
    detections = detect([(BRACKET_ID, OBLIQUE)], np.random.default_rng(10))
    visible = detections.boxes_xyxy.copy()
    visible[0, 2] = CAMERA.project(np.array([[0.0, 0.0, 0.28]]))[0, 0]
    whole = only_pose(solver.solve(detections, CAMERA, depth_m))
    part = only_pose(solver.solve(dataclasses.replace(detections, boxes_xyxy=visible), CAMERA, depth_m))
    assert part.visibility < 0.7
    assert part.score > max(0.5, whole.score)
    np.testing.assert_allclose(part.T_camera_object[:3, 3], OBLIQUE[:3, 3], atol=4e-3)


@pytest.mark.parametrize("depth", ["none", "zero", "nan", "hole over the object"])
def test_without_usable_depth_keypoints_decide_and_the_pose_says_so(solver: PoseSolver, depth: str) -> None:
    depth_m = {
        "none": None,
        "zero": np.zeros((240, 320), np.float32),
        "nan": np.full((240, 320), np.nan, np.float32),
        "hole over the object": np.full((240, 320), WALL_M, np.float32),
    }[depth]
    if depth == "hole over the object" and depth_m is not None:
        depth_m[40:200, 80:250] = 0.0
    pose = only_pose(solver.solve(detect([(BRACKET_ID, OBLIQUE)]), CAMERA, depth_m))
    assert not pose.depth_used
    assert np.isnan(pose.visibility) and np.isnan(pose.depth_rms_m)
    np.testing.assert_allclose(pose.T_camera_object, OBLIQUE, atol=1e-4)


def test_depth_can_be_left_aside() -> None:
    solver = PoseSolver(MODELS, PoseSolverConfig(use_depth=False))
    depth_m = np.full((240, 320), 0.3, np.float32)
    assert not only_pose(solver.solve(detect([(BRACKET_ID, OBLIQUE)]), CAMERA, depth_m)).depth_used


def test_lens_distortion_is_taken_out_once(solver: PoseSolver) -> None:
    bent = Camera(320, 240, 300.0, 300.0, 159.5, 119.5, (0.1, -0.05, 0.0, 0.0))
    detections = detect([(BRACKET_ID, OBLIQUE)])
    rays = np.column_stack([(detections.keypoints[0] - (159.5, 119.5)) / 300.0, np.ones(8)])
    bent_keypoints, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), bent.matrix, np.asarray(bent.distortion))
    detections = dataclasses.replace(detections, keypoints=bent_keypoints[:, 0][None])
    np.testing.assert_allclose(only_pose(solver.solve(detections, bent)).T_camera_object, OBLIQUE, atol=1e-4)


def test_no_detections_are_no_poses(solver: PoseSolver) -> None:
    assert solver.solve(Detections.empty(8), CAMERA) == PoseResults((), ())


def test_free_space_where_the_object_should_be_is_a_rejection(solver: PoseSolver) -> None:
    empty_surroundings = np.full((240, 320), 2.0, np.float32)
    results = solver.solve(detect([(BRACKET_ID, OBLIQUE)]), CAMERA, empty_surroundings)
    assert reasons(results) == [RejectionReason.DEPTH_DISAGREES]
    assert results.rejections[0].class_name == "bracket" and results.rejections[0].detail


def test_scattered_keypoints_are_a_rejection(solver: PoseSolver) -> None:
    detections = detect([(BRACKET_ID, OBLIQUE)])
    scattered = np.random.default_rng(7).uniform((60, 40), (260, 200), (1, 8, 2))
    results = solver.solve(dataclasses.replace(detections, keypoints=scattered), CAMERA)
    assert reasons(results) == [RejectionReason.REPROJECTION_ERROR]


def test_too_few_keypoints_are_a_rejection(solver: PoseSolver) -> None:
    detections = detect([(BRACKET_ID, OBLIQUE)])
    keypoints = detections.keypoints.copy()
    keypoints[0, 3:] = np.nan
    results = solver.solve(dataclasses.replace(detections, keypoints=keypoints), CAMERA)
    assert reasons(results) == [RejectionReason.TOO_FEW_KEYPOINTS]
    boxes_only = dataclasses.replace(detections, keypoints=np.zeros((1, 0, 2)), keypoint_sigmas=np.zeros((1, 0)))
    assert reasons(solver.solve(boxes_only, CAMERA)) == [RejectionReason.TOO_FEW_KEYPOINTS]


def test_a_position_too_uncertain_to_use_is_a_rejection() -> None:
    solver = PoseSolver(
        MODELS,
        PoseSolverConfig(use_depth=False, acceptance=AcceptanceConfig(max_translation_sigma_without_depth_m=0.005)),
    )
    results = solver.solve(detect([(BRACKET_ID, OBLIQUE)], np.random.default_rng(8)), CAMERA)
    assert reasons(results) == [RejectionReason.UNCERTAIN]


def test_one_object_found_as_two_classes_is_reported_once(solver: PoseSolver) -> None:
    depth_m = render_depth([(SOLIDS[BRACKET_ID], OBLIQUE)], background_m=WALL_M)
    twice = detect([(BRACKET_ID, OBLIQUE), (BRACKET_ID, OBLIQUE)])
    weaker = dataclasses.replace(twice, scores=np.array([0.6, 0.9]))
    results = solver.solve(weaker, CAMERA, depth_m)
    assert only_pose(results).score > results.rejections[0].score
    assert reasons(results) == [RejectionReason.DUPLICATE]
    across_classes = solver.solve(detect([(BRACKET_ID, OBLIQUE), (PLATE_ID, OBLIQUE)]), CAMERA)
    assert len(across_classes.poses) == 1
    assert reasons(across_classes) == [RejectionReason.DUPLICATE]


def test_a_shaft_through_a_plate_is_a_second_object_where_depth_shows_both(solver: PoseSolver) -> None:
    placed = [(PLATE_ID, OBLIQUE), (SHAFT_ID, OBLIQUE)]
    depth_m = render_depth([(SOLIDS[class_id], pose) for class_id, pose in placed], background_m=WALL_M)
    found = solver.solve(detect(placed), CAMERA, depth_m).poses
    assert {pose.class_id for pose in found} == {PLATE_ID, SHAFT_ID}
    for pose in found:
        np.testing.assert_allclose(pose.T_camera_object[:3, 3], OBLIQUE[:3, 3], atol=3e-3)


def test_hypotheses_of_one_candidate_give_one_pose_the_one_that_depth_confirms(solver: PoseSolver) -> None:
    right, elsewhere = OBLIQUE, se3.make_transform(OBLIQUE[:3, :3], (0.06, 0.0, 0.5))
    depth_m = render_depth([(SOLIDS[BRACKET_ID], right), (SOLIDS[BRACKET_ID], elsewhere)], background_m=WALL_M)
    apart = detect([(BRACKET_ID, elsewhere), (BRACKET_ID, right)])
    assert len(solver.solve(apart, CAMERA, depth_m).poses) == 2
    empty = render_depth([(SOLIDS[BRACKET_ID], right)], background_m=WALL_M)
    hypotheses = dataclasses.replace(apart, candidate_ids=np.array([7, 7]))
    np.testing.assert_allclose(only_pose(solver.solve(hypotheses, CAMERA, empty)).T_camera_object, right, atol=2e-3)
    both = solver.solve(hypotheses, CAMERA, depth_m)
    assert len(both.poses) == 1
    assert reasons(both) == [RejectionReason.DUPLICATE]


def test_neighbours_are_no_duplicates(solver: PoseSolver) -> None:
    left, right = (se3.make_transform(OBLIQUE[:3, :3], (x, 0.0, 0.45)) for x in (-0.06, 0.06))
    depth_m = render_depth([(SOLIDS[BRACKET_ID], left), (SOLIDS[BRACKET_ID], right)], background_m=WALL_M)
    assert len(solver.solve(detect([(BRACKET_ID, left), (BRACKET_ID, right)]), CAMERA, depth_m).poses) == 2


def test_depth_of_another_size_is_an_error_naming_both(solver: PoseSolver) -> None:
    with pytest.raises(DataError, match=r"640x480.*320x240"):
        solver.solve(detect([(BRACKET_ID, OBLIQUE)]), CAMERA, np.ones((480, 640), np.float32))


def test_detections_of_another_model_are_an_error(solver: PoseSolver) -> None:
    detections = detect([(BRACKET_ID, OBLIQUE)])
    with pytest.raises(DataError, match="class id 3"):
        solver.solve(dataclasses.replace(detections, class_ids=np.array([3])), CAMERA)
    four = dataclasses.replace(detections, keypoints=np.zeros((1, 4, 2)), keypoint_sigmas=np.ones((1, 4)))
    with pytest.raises(DataError, match="4 keypoints"):
        solver.solve(four, CAMERA)


def test_objects_that_cannot_be_aligned_are_refused() -> None:
    bare = dataclasses.replace(MODELS[0], points_object=np.zeros((0, 3)), normals_object=np.zeros((0, 3)))
    with pytest.raises(ModelError, match="0 surface points"):
        PoseSolver([bare])
    assert PoseSolver([bare], PoseSolverConfig(use_depth=False)) is not None
    with pytest.raises(ModelError, match="no objects"):
        PoseSolver([])
    fewer = dataclasses.replace(MODELS[1], keypoints_object=np.zeros((4, 3)))
    with pytest.raises(ModelError, match="equally many"):
        PoseSolver([MODELS[0], fewer])
