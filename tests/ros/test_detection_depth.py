"""The detection node gives a model that reads it the aligned depth, and goes on with colour alone where it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import KeypointDetectionArray
from object_pose_msgs.srv import SetModel
from sensor_msgs.msg import CameraInfo

from cube import save_relief_cube_model
from driver import FakeDriver, damage_size, depth_of_another_size, problems, publish_until, start
from object_pose.io.messages import depth_from_message
from object_pose.ros.messages.conversions import keypoints_from_message
from object_pose.ros.messages.images import depth_to_message, make_header
from object_pose.ros.nodes.camera_node import CameraNode
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.transport import qos, topics
from object_pose.runtime.predictor import Predictor


@pytest.fixture
def relief_model(tmp_path):
    """The cube's model with a RoI head that reads relief."""
    return save_relief_cube_model(tmp_path / "relief.onnx")


class Expected:
    """What the detector says of a frame without ROS, with its depth and by colour alone."""

    def __init__(self, model, frame):
        detector = Predictor(model)
        depth_m = depth_from_message(depth_to_message(frame.depth_m, make_header(0, "")))
        self.with_depth = detector.predict(frame.rgb, depth=replace(frame, depth_m=depth_m).aligned_depth)
        self.by_colour = detector.predict(frame.rgb)
        assert len(self.with_depth) == len(self.by_colour) == 1
        assert np.abs(self.with_depth.keypoints - self.by_colour.keypoints).max() > 1.0

    def used_depth(self, message):
        """Whether a message is the one with depth; it must be one of both."""
        found = keypoints_from_message(message, 8)
        by_colour = np.allclose(found.keypoints, self.by_colour.keypoints, atol=1e-3)
        expected = self.by_colour if by_colour else self.with_depth
        for name in ("boxes_xyxy", "scores", "class_ids", "keypoints", "keypoint_sigmas"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-3)
        return not by_colour


@pytest.fixture
def expected(relief_model, frame):
    return Expected(relief_model, frame)


def depth_listeners(ros):
    """The topics beside colour that the detection node listens to."""
    return {
        topic
        for topic in (topics.DEPTH, topics.CAMERA_INFO)
        for info in ros.node.get_subscriptions_info_by_topic(topic)
        if info.node_name == "detection_node"
    }


@pytest.fixture
def reading_node(ros, relief_model):
    """What a node whose model reads depth reports and finds, and the driver that it hears."""
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    keypoints = ros.collect(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    start(ros, DetectionNode, model=str(relief_model))
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    return diagnostics, keypoints, driver


def test_detections_are_those_of_the_detector_with_depth(ros, relief_model, recording, expected):
    keypoints = ros.collect(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    infos = ros.collect(CameraInfo, topics.CAMERA_INFO, qos.SENSOR_INPUT)
    start(ros, DetectionNode, model=str(relief_model))
    # It publishes colour first and depth last.
    start(ros, CameraNode, **recording)
    with_depth = lambda: [m for m in keypoints if expected.used_depth(m)]  # noqa: E731
    found = ros.wait_for(with_depth, "a detection with depth")[0]
    ros.wait_for(lambda: [info for info in infos if info.header == found.header], "the camera_info of its header")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        ({"change_depth": depth_of_another_size}, "depth is 160x120, the colour image 320x240"),
        ({"change_info": damage_size}, "camera_info is for 640x480"),
    ],
)
def test_useless_depth_falls_back_to_colour_and_is_named(ros, reading_node, frame, expected, damage, text):
    diagnostics, keypoints, driver = reading_node
    named = lambda: [m for m in problems(diagnostics, "detection_node") if text in m]  # noqa: E731
    publish_until(ros, driver, lambda: named() and keypoints, "diagnosis", frame=frame, **damage)
    assert not any(expected.used_depth(message) for message in keypoints)
    publish_until(ros, driver, lambda: expected.used_depth(keypoints[-1]), "recovery", frame=frame)


def test_an_image_whose_depth_is_lost_is_not_dropped_and_that_is_named(ros, reading_node, frame, expected):
    diagnostics, keypoints, driver = reading_node
    publish_until(ros, driver, lambda: keypoints and expected.used_depth(keypoints[-1]), "depth", frame=frame)
    text = "depth did not come with the image"
    named = lambda: [m for m in problems(diagnostics, "detection_node") if text in m]  # noqa: E731
    lost = replace(frame, depth_m=None)
    publish_until(ros, driver, lambda: named() and not expected.used_depth(keypoints[-1]), "diagnosis", frame=lost)
    publish_until(ros, driver, lambda: expected.used_depth(keypoints[-1]), "recovery", frame=frame)


def test_without_a_depth_camera_colour_alone_has_to_do_and_the_silence_is_named(ros, reading_node, frame, expected):
    diagnostics, keypoints, driver = reading_node
    named = lambda: [m for m in problems(diagnostics, "detection_node") if topics.DEPTH in m]  # noqa: E731
    colour_only = replace(frame, depth_m=None)
    publish_until(ros, driver, lambda: named() and keypoints, "diagnosis", frame=colour_only)
    assert not any(expected.used_depth(message) for message in keypoints)


def test_stamps_that_never_meet_are_named(ros, reading_node, frame, expected):
    diagnostics, keypoints, driver = reading_node
    text = "the stamps of depth and color differ by at least 17.0 ms"
    named = lambda: [m for m in problems(diagnostics, "detection_node") if text in m]  # noqa: E731
    publish_until(ros, driver, lambda: named() and keypoints, "diagnosis", frame=frame, depth_delay_ms=17)
    assert not any(expected.used_depth(message) for message in keypoints)


@pytest.mark.parametrize(("reads_depth", "use_depth"), [(False, True), (True, False)])
def test_depth_that_is_not_read_is_not_subscribed(ros, cube_model, relief_model, frame, reads_depth, use_depth):
    keypoints = ros.collect(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    model = relief_model if reads_depth else cube_model
    start(ros, DetectionNode, model=str(model), use_depth=use_depth)
    driver = FakeDriver(ros)
    publish_until(ros, driver, lambda: keypoints, "a detection", frame=frame)
    assert depth_listeners(ros) == set()


def test_subscriptions_follow_the_model(ros, cube_model, relief_model, frame, expected):
    keypoints = ros.collect(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    start(ros, DetectionNode, model=str(cube_model), **{"trial.shadow_images": 0, "trial.images": 0})
    driver = FakeDriver(ros)
    publish_until(ros, driver, lambda: keypoints, "a detection", frame=frame)
    for model, listened in ((relief_model, {topics.DEPTH, topics.CAMERA_INFO}), (cube_model, set())) * 2:
        assert ros.call(SetModel, "/detection_node/set_model", SetModel.Request(model=str(model))).success
        ros.wait_for(lambda listened=listened: depth_listeners(ros) == listened, "subscriptions as the model reads")

        def found(model=model):
            ours = [m for m in keypoints if m.model == str(model)]
            return ours and (model == cube_model or expected.used_depth(ours[-1]))

        keypoints.clear()
        publish_until(ros, driver, found, "a detection by the model", frame=frame)
