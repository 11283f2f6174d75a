"""The whole way of a frame: keypoints that a network gives become the pose that they were projected from."""

import dataclasses

import numpy as np
import pytest

from object_pose.core.errors import ConfigError, ModelError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.pose.config import SINGLE_IMAGE, PoseSolverConfig
from object_pose.core.pose.misalignment import Cause
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.core.vision.decoders import DecodeOptions, Layout
from object_pose.runtime.card import ModelCard
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig

CAMERA = Camera(192, 128, 180.0, 180.0, 95.5, 63.5)
T_CAMERA_OBJECT = se3.make_transform(se3.exp_so3([0.5, -0.4, 0.3]), [0.01, -0.02, 0.3])
STAGES = {"preprocess", "inference", "decode", "pose", "total"}


@pytest.fixture
def cube_model(constant_model, make_object):
    """A network of half the camera's size that sees a cube at ``T_CAMERA_OBJECT``, whatever the image."""
    cube = make_object("cube")
    pixels = (CAMERA.project(se3.apply(T_CAMERA_OBJECT, cube.keypoints_object)) + 0.5) / 2 - 0.5
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    output = np.zeros((1, 4 + 1 + 3 * 8, 126), np.float32)
    keypoints = np.concatenate([pixels, np.full((8, 1), 0.3)], axis=1).ravel()
    output[0, :, 3] = [*(low + high) / 2, *(high - low), 0.9, *keypoints]
    card = ModelCard("pose", Layout.OBJECT_POSE_KEYPOINTS, ("cube",), (96, 64), 8, (cube,))
    return constant_model([output], card.to_metadata())


def black_frame(stamp_ns=0):
    return Frame(np.zeros((128, 192, 3), np.uint8), CAMERA, None, stamp_ns)


def test_keypoints_become_the_pose_they_came_from(cube_model):
    result = PoseEstimator(cube_model).register(black_frame())
    assert len(result.detections) == 1
    (pose,) = result.results.poses
    assert pose.class_name == "cube" and not pose.depth_used
    np.testing.assert_allclose(pose.T_camera_object[:3, 3], T_CAMERA_OBJECT[:3, 3], atol=2e-3)
    assert se3.rotation_angle(pose.T_camera_object[:3, :3], T_CAMERA_OBJECT[:3, :3]) < 0.02
    assert set(result.timings_ms) == STAGES
    assert result.timings_ms["total"] >= max(result.timings_ms[stage] for stage in STAGES - {"total"})


def test_with_a_tracker_the_object_keeps_its_id(cube_model):
    estimator = PoseEstimator(cube_model, tracker_config=TrackerConfig())
    results = [estimator.register(black_frame(index * 33_000_000)) for index in range(10)]
    ids = {pose.track_id for result in results[5:] for pose in result.results.poses}
    assert len(ids) == 1 and ids.pop() >= 0
    assert set(results[0].timings_ms) == STAGES | {"tracking"}


def test_a_detector_without_geometry_estimates_no_poses(constant_model):
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("cube",), (96, 64))
    path = constant_model([np.zeros((1, 5, 126), np.float32)], card.to_metadata())
    with pytest.raises(ModelError, match="carries no object geometry"):
        PoseEstimator(path)


def test_no_detection_no_pose(constant_model, make_object):
    card = ModelCard("pose", Layout.OBJECT_POSE_KEYPOINTS, ("cube",), (96, 64), 8, (make_object("cube"),))
    path = constant_model([np.zeros((1, 29, 126), np.float32)], card.to_metadata())
    for depth_m in (None, np.zeros((128, 192), np.float32), np.full((128, 192), np.nan, np.float32)):
        result = PoseEstimator(path).register(dataclasses.replace(black_frame(), depth_m=depth_m))
        assert len(result.detections) == 0
        assert result.results.poses == () and result.results.rejections == ()


def test_a_profile_sets_what_no_config_does(cube_model):
    estimator = PoseEstimator(cube_model, profile="single_image")
    assert estimator.solver_config == SINGLE_IMAGE.solver
    assert estimator.detector.decoding.score_threshold == SINGLE_IMAGE.decoding.score_threshold
    own = PredictorConfig(decoding=DecodeOptions(score_threshold=0.7))
    estimator = PoseEstimator(cube_model, own, PoseSolverConfig(), profile="single_image")
    assert estimator.solver_config == PoseSolverConfig()
    assert estimator.detector.decoding.score_threshold == 0.7
    with pytest.raises(ConfigError, match=r"no profile 'fast'.*live, single_image"):
        PoseEstimator(cube_model, profile="fast")


def test_a_second_pass_adds_to_what_was_seen_and_keeps_what_was_sure():
    model, scenes = find_model("parts.onnx"), SceneConfig(min_objects=8, max_spread_m=0.12, min_spread_m=0.08)
    predictor = Predictor(model, PredictorConfig(decoding=SINGLE_IMAGE.decoding))
    once, twice = (
        PoseEstimator(predictor, solver_config=dataclasses.replace(SINGLE_IMAGE.solver, second_pass=second_pass))
        for second_pass in (False, True)
    )
    added = 0
    for simulated, _ in zip(FrameStream(load_objects("parts"), scenes, depth=True, seed=4), range(4)):
        first, more = (estimator.register(simulated.frame) for estimator in (once, twice))
        seen = {pose.class_name for pose in first.results.poses if pose.score > 0.9}
        assert seen <= {pose.class_name for pose in more.results.poses}
        assert len(more.results.poses) >= len(first.results.poses)
        assert "second_pass" in more.timings_ms and "second_pass" not in first.timings_ms
        added += len(more.results.poses) - len(first.results.poses)
    assert added > 0


def test_depth_beside_colour_is_named_with_its_shift_and_tracked_poses_are_less_certain():
    predictor, scenes = Predictor(find_model("parts.onnx")), SceneConfig(min_objects=6, max_spread_m=0.25)
    frames = [item.frame for item, _ in zip(FrameStream(load_objects("parts"), scenes, depth=True, seed=4), range(2))]
    sigmas = {}
    for shift in (0, 8):
        estimator = PoseEstimator(predictor, tracker_config=TrackerConfig())
        for index, frame in enumerate(frames):
            moved = np.roll(frame.depth_m, shift, axis=1)
            found = estimator.register(dataclasses.replace(frame, depth_m=moved, stamp_ns=index * 33_000_000))
        sigmas[shift] = np.median([np.sqrt(pose.covariance[0, 0]) for pose in found.results.poses])
        if shift == 0:
            assert found.misalignment is None
        else:
            assert found.misalignment.cause is Cause.SHIFT
            np.testing.assert_allclose(found.misalignment.parameters, (-shift, 0.0), atol=2.0)
    assert sigmas[8] > 2.0 * sigmas[0]
