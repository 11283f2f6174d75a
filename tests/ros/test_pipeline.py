"""Frames in on the camera's topics, poses out on ours; bad input is named and counted, and the next frame is tried."""

from __future__ import annotations

import json

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray
from object_pose_msgs.srv import EstimatePoses, SetModel
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray, VisionInfo
from visualization_msgs.msg import Marker, MarkerArray

from cube import CAMERA, T_CAMERA_CUBE, make_cube
from driver import FRAME_ID, FakeDriver, damage_size, depth_of_another_size, problems, publish_until, start
from networks import save_pose_model
from object_pose.core.errors import ConfigError, ModelError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.io.messages import pose_from_message
from object_pose.ros.messages.conversions import camera_transform
from object_pose.ros.messages.images import camera_to_message, make_header, rgb_to_message
from object_pose.ros.nodes.camera_node import CameraNode
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics


@pytest.fixture
def pipeline(ros, cube_model):
    """Detection and pose node on the cube's model."""
    return start(ros, PoseNode, model=str(cube_model)), start(ros, DetectionNode, model=str(cube_model))


def test_a_recording_played_as_a_camera_becomes_poses(ros, cube_model, recording):
    detections = ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    start(ros, PoseNode, model=str(cube_model))
    start(ros, DetectionNode, model=str(cube_model))
    start(ros, CameraNode, frame_id=FRAME_ID, **recording)

    # Discovery may deliver the first colour images before the first depth images.
    def with_depth():
        return [m for m in poses if m.poses and m.poses[0].depth_used]

    twin = ros.wait_for(with_depth, "an object pose with depth")[0]
    message = ros.wait_for(lambda: [m for m in detections if m.header == twin.header], "its detection")[0]
    (detection,) = message.detections
    assert message.header.frame_id == FRAME_ID
    assert detection.header == message.header
    assert detection.results[0].hypothesis.class_id == "cube"
    assert 0.0 < detection.results[0].hypothesis.score <= 1.0
    found = pose_from_message(detection.results[0].pose.pose)
    np.testing.assert_allclose(found[:3, 3], T_CAMERA_CUBE[:3, 3], atol=2e-3)
    covariance = detection.results[0].pose.covariance.reshape(6, 6)
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
    assert np.all(np.linalg.eigvalsh(covariance) > 0)
    assert detection.bbox.size.x == pytest.approx(0.06)
    assert str(twin.poses[0].track_id) == detection.id


def test_everything_else_is_published_too(ros, pipeline, frame):
    info = ros.collect(VisionInfo, topics.VISION_INFO, qos.LATCHED)
    boxes = ros.collect(Detection2DArray, topics.DETECTIONS_2D, qos.RESULT)
    keypoints = ros.collect(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    pictures = ros.collect(Image, topics.DETECTIONS_IMAGE, qos.SENSOR_INPUT)
    markers = ros.collect(MarkerArray, topics.OBJECT_MARKERS, qos.RESULT)
    transforms = ros.collect(TFMessage, topics.TF, qos.TRANSFORMS)
    pipeline[0].set_parameters([RosParameter("publish_tf", value=True)])
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    wanted = (info, boxes, keypoints, pictures, markers, transforms)
    publish_until(ros, driver, lambda: all(wanted), "a message on every topic", frame=frame)
    assert info[0].method == "object_pose cube 1"
    database = json.loads(info[0].database_location)
    assert database["class_names"] == ["cube"]
    assert database["model"].endswith("cube.onnx")
    assert boxes[0].detections[0].results[0].hypothesis.class_id == "cube"
    assert len(keypoints[0].detections[0].keypoints_x) == 8
    assert (pictures[0].width, pictures[0].height) == CAMERA.wh
    assert {marker.ns for marker in markers[0].markers} >= {"box", "axes", "name"}
    assert transforms[0].transforms[0].header.frame_id == FRAME_ID


def test_markers_of_an_object_that_is_gone_are_deleted(ros, pipeline, frame):
    markers = ros.collect(MarkerArray, topics.OBJECT_MARKERS, qos.RESULT)
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    publish_until(ros, driver, lambda: markers, "markers", frame=frame)
    pipeline[1].set_parameters([RosParameter("decoding.score_threshold", value=0.95)])

    def deleted():
        return [m for array in markers for m in array.markers if m.action == Marker.DELETE]

    nothing = Frame(np.zeros_like(frame.rgb), frame.camera, np.full_like(frame.depth_m, 2.0))
    publish_until(ros, driver, deleted, "deletion", frame=nothing)
    assert {marker.ns for marker in deleted()} >= {"box", "axes", "name"}


def test_a_parameter_set_before_the_node_is_configured_counts_from_then_on(ros, cube_model, frame):
    boxes = ros.collect(Detection2DArray, topics.DETECTIONS_2D, qos.RESULT)
    node = ros.add(DetectionNode(parameter_overrides=[RosParameter("model", value=str(cube_model))]))
    (result,) = node.set_parameters([RosParameter("decoding.score_threshold", value=0.95)])
    assert result.successful
    node.bring_up()
    driver = FakeDriver(ros)
    publish_until(ros, driver, lambda: boxes, "an answer", frame=frame)
    assert not boxes[0].detections


def damage_zero_focal(info):
    info.k[0] = info.k[4] = 0.0


@pytest.mark.parametrize(
    ("damage", "text"), [(damage_zero_focal, "focal lengths"), (damage_size, "camera_info is for 640x480")]
)
def test_a_bad_camera_info_is_named_and_the_next_good_frame_works(ros, pipeline, frame, damage, text):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    detections = ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    found = lambda: [m for m in problems(diagnostics, "pose_node") if text in m]  # noqa: E731
    publish_until(ros, driver, found, "diagnosis", frame=frame, change_info=damage)
    assert detections == []
    publish_until(ros, driver, lambda: detections, "recovery", frame=frame)


def depth_of_zeros(depth):
    depth.data = bytes(len(depth.data))


def depth_of_nan(depth):
    depth.encoding, depth.step = "32FC1", depth.width * 4
    depth.data = np.full(depth.width * depth.height, np.nan, np.float32).tobytes()


def depth_of_wrong_encoding(depth):
    depth.encoding = "mono8"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (depth_of_another_size, "depth is 160x120"),
        (depth_of_zeros, "depth has no valid pixel"),
        (depth_of_nan, "depth has no valid pixel"),
        (depth_of_wrong_encoding, "'mono8'"),
    ],
)
def test_bad_depth_is_named_and_the_poses_say_that_it_was_not_used(ros, pipeline, frame, damage, text):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    found = lambda: [m for m in problems(diagnostics, "pose_node") if text in m]  # noqa: E731
    publish_until(ros, driver, lambda: found() and poses, "diagnosis", frame=frame, change_depth=damage)
    assert poses
    assert not any(pose.depth_used for array in poses for pose in array.poses)


@pytest.mark.parametrize("profile", [qos.LATCHED, qos.DRIVER_OUTPUT], ids=["latched", "sent once"])
def test_a_camera_info_that_is_sent_once_is_enough(ros, cube_model, frame, profile):
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    info = ros.node.create_publisher(CameraInfo, topics.CAMERA_INFO, profile)
    message = camera_to_message(frame.camera, make_header(0, FRAME_ID))
    if profile == qos.LATCHED:
        info.publish(message)
    start(ros, PoseNode, model=str(cube_model))
    start(ros, DetectionNode, model=str(cube_model))
    if profile == qos.DRIVER_OUTPUT:
        ros.wait_for(info.get_subscription_count, "subscription of camera_info")
        info.publish(message)
    driver = FakeDriver(ros, with_info=False)
    with_depth = lambda: [m for m in poses if m.poses and m.poses[0].depth_used]  # noqa: E731
    publish_until(ros, driver, with_depth, "poses", frame=frame)


def test_compressed_topics_become_poses(ros, cube_model, frame):
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    pictures = ros.collect(Image, topics.DETECTIONS_IMAGE, qos.SENSOR_INPUT)
    transports = {"color_transport": "compressed", "depth_transport": "compressedDepth"}
    start(ros, PoseNode, model=str(cube_model), **transports)
    start(ros, DetectionNode, model=str(cube_model), **transports)
    driver = FakeDriver(ros, compressed=True)
    with_depth = lambda: pictures and [m for m in poses if m.poses and m.poses[0].depth_used]  # noqa: E731
    publish_until(ros, driver, with_depth, "poses and pictures", frame=frame)


def test_depth_of_another_frame_than_the_image_is_named(ros, pipeline, frame):
    def elsewhere(depth):
        depth.header.frame_id = "camera_depth_optical_frame"

    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    driver = FakeDriver(ros)
    named = lambda: [m for m in problems(diagnostics, "pose_node") if "is depth aligned to colour?" in m]  # noqa: E731
    publish_until(ros, driver, named, "diagnosis", frame=frame, change_depth=elsewhere)


def test_without_depth_the_contour_in_the_colour_image_tells_the_distance(ros, tmp_path, frame):
    """Keypoints see the cube 20 mm too far away; its contour, drawn in whole pixels, does not."""
    seen = T_CAMERA_CUBE.copy()
    seen[:3, 3] *= 1.05
    model = str(save_pose_model([make_cube()], CAMERA, [(0, seen)], tmp_path / "far.onnx"))
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    start(ros, PoseNode, model=model, **{"solver.use_depth": False})
    start(ros, DetectionNode, model=model, use_depth=False)
    driver = FakeDriver(ros)
    driver.wait_until_heard(depth=False)

    def aligned() -> bool:
        found = [pose_from_message(m.poses[0].pose.pose) for m in poses if m.poses]
        return any(abs(pose[2, 3] - T_CAMERA_CUBE[2, 3]) < 0.012 for pose in found)

    publish_until(ros, driver, aligned, "a pose at the cube's distance", frame=frame)
    assert not any(pose.depth_used for message in poses for pose in message.poses)


def test_a_black_frame_gives_an_answer(ros, pipeline, frame):
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    black = Frame(np.zeros_like(frame.rgb), frame.camera, np.zeros_like(frame.depth_m))
    publish_until(ros, driver, lambda: poses, "an answer", frame=black)


def test_a_colour_image_of_wrong_encoding_is_named(ros, pipeline, frame):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    color = ros.node.create_publisher(Image, topics.COLOR, qos.DRIVER_OUTPUT)
    ros.wait_for(color.get_subscription_count, "subscription")
    message = rgb_to_message(frame.rgb, make_header(1, FRAME_ID))
    message.encoding = "mono7"

    def named():
        color.publish(message)
        return [m for m in problems(diagnostics, "detection_node") if "'mono7'" in m]

    ros.wait_for(named, "diagnosis")


def test_depth_whose_stamps_never_meet_the_colour_is_diagnosed(ros, pipeline, frame):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    found = lambda: [m for m in problems(diagnostics, "pose_node") if "17.0 ms" in m]  # noqa: E731
    publish_until(ros, driver, lambda: found() and poses, "diagnosis", frame=frame, depth_delay_ms=17)
    assert "the stamps of depth and color differ" in found()[0]


def test_a_camera_that_does_not_run_is_diagnosed(ros, pipeline):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    text = f"{topics.COLOR} has no publisher"
    ros.wait_for(lambda: [m for m in problems(diagnostics, "detection_node") if text in m], "diagnosis")


def test_incompatible_qos_is_named(ros, cube_model):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    ros.node.create_publisher(Image, topics.COLOR, best_effort)
    start(ros, DetectionNode, model=str(cube_model), input_reliability="reliable")
    named = ros.wait_for(
        lambda: [m for m in problems(diagnostics, "detection_node") if "QoS" in m and "test" in m], "diagnosis"
    )
    assert "reliab" in named[0].lower()


def test_a_subscriber_of_incompatible_qos_is_named(ros, pipeline):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.LATCHED)
    text = f"{topics.DETECTIONS_3D}: QoS of subscriber test is incompatible"
    ros.wait_for(lambda: [m for m in problems(diagnostics, "pose_node") if text in m], "diagnosis")


def test_two_publishers_of_different_qos_are_both_heard(ros, pipeline, frame):
    detections = ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    reliable = FakeDriver(ros)
    best_effort = FakeDriver(ros, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    for driver in (reliable, best_effort):
        driver.wait_until_heard()
        detections.clear()
        publish_until(ros, driver, lambda: detections, "a detection", frame=frame)


def test_a_second_camera_is_named(ros, pipeline):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    _cameras = [FakeDriver(ros), FakeDriver(ros)]
    for node, topic in (("detection_node", topics.COLOR), ("pose_node", topics.DEPTH)):
        text = f"{topic} by /test, /test"
        ros.wait_for(lambda: [m for m in problems(diagnostics, node) if text in m], f"diagnosis of {node}")  # noqa: B023


def test_a_pipeline_that_runs_twice_is_named(ros, pipeline, cube_model):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    start(ros, PoseNode, model=str(cube_model))
    text = f"{topics.DETECTIONS_3D} by /pose_node, /pose_node"
    ros.wait_for(lambda: [m for m in problems(diagnostics, "pose_node") if text in m], "diagnosis")


def test_estimate_once_on_request(ros, cube_model, recording):
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    start(ros, PoseNode, model=str(cube_model), continuous=False)
    start(ros, DetectionNode, model=str(cube_model))
    start(ros, CameraNode, **recording)
    answer = ros.call(EstimatePoses, "/pose_node/estimate_poses", EstimatePoses.Request(timeout_s=8.0))
    assert answer.success, answer.message
    assert [pose.class_name for pose in answer.result.poses] == ["cube"]
    assert len(poses) <= 3  # one of before the request may be in hand when it comes, and one when it is answered


def test_a_request_without_frames_says_so(ros, cube_model):
    start(ros, PoseNode, model=str(cube_model))
    answer = ros.call(EstimatePoses, "/pose_node/estimate_poses", EstimatePoses.Request(timeout_s=0.1))
    assert not answer.success
    assert "/diagnostics" in answer.message


def test_the_model_is_switched_by_service_and_a_bad_one_changes_nothing(ros, cube_model, tmp_path):
    node = start(ros, DetectionNode, model=str(cube_model))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(cube_model.read_bytes()[:100])
    answer = ros.call(SetModel, "/detection_node/set_model", SetModel.Request(model=str(broken)))
    assert not answer.success
    assert "broken.onnx" in answer.message
    answer = ros.call(SetModel, "/detection_node/set_model", SetModel.Request(model=str(cube_model)))
    assert (answer.success, list(answer.class_names)) == (True, ["cube"])
    assert node.is_active


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "does not exist"), (b"", "is empty"), (b"not a model at all" * 9, "not an ONNX model")],
)
def test_a_model_file_that_cannot_be_used_stops_the_node_with_a_clear_error(ros, tmp_path, content, text):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=text):
        start(ros, DetectionNode, model=str(path))


def test_a_class_list_that_does_not_match_stops_the_node(ros, cube_model):
    with pytest.raises(ModelError, match=r"\['cube'\], expected \['gear'\]"):
        start(ros, DetectionNode, model=str(cube_model), labels="gear")


def test_an_unknown_parameter_stops_the_node(ros):
    with pytest.raises(ConfigError, match=r"camera_node: unknown parameter 'rate' .*'rate_hz'"):
        start(ros, CameraNode, rate=5.0)


def test_nodes_are_lifecycle_nodes(ros, recording):
    node = start(ros, CameraNode, **recording)
    assert (
        ros.call(GetState, "/camera_node/get_state", GetState.Request()).current_state.id == State.PRIMARY_STATE_ACTIVE
    )
    node.trigger_deactivate()
    node.trigger_activate()
    images = ros.collect(Image, topics.COLOR, qos.SENSOR_INPUT)
    ros.wait_for(lambda: images, "an image after it was activated again")
    node.trigger_deactivate()
    node.trigger_cleanup()
    state = ros.call(GetState, "/camera_node/get_state", GetState.Request()).current_state.id
    assert state == State.PRIMARY_STATE_UNCONFIGURED


def test_tracks_live_in_the_fixed_frame_and_a_missing_transform_is_named(ros, cube_model, frame):
    start(ros, PoseNode, model=str(cube_model), fixed_frame="bench", transform_timeout_s=0.02)
    start(ros, DetectionNode, model=str(cube_model))
    detections = ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    driver = FakeDriver(ros)
    driver.wait_until_heard()

    def detected(identified):
        return [m for m in detections if m.detections and bool(m.detections[0].id) == identified]

    publish_until(ros, driver, lambda: detected(identified=False), "a detection without id", frame=frame)
    ros.wait_for(lambda: "'bench' and 'test_optical_frame'" in str(problems(diagnostics, "pose_node")), "the reason")
    transforms = ros.node.create_publisher(TFMessage, topics.TF_STATIC, qos.FIXED_TRANSFORMS)
    broken = camera_transform(np.full((4, 4), np.nan), make_header(0, "bench"), FRAME_ID)
    transforms.publish(broken)
    ros.wait_for(lambda: "no rigid transform" in str(problems(diagnostics, "pose_node")), "refusal of a broken one")
    transforms.publish(camera_transform(se3.exp([0.3, 0.0, 1.0, 2.0, 0.0, 0.0]), make_header(0, "bench"), FRAME_ID))
    publish_until(ros, driver, lambda: detected(identified=True), "a tracked detection", frame=frame)
    (detection,) = detected(identified=True)[0].detections
    assert detection.header.frame_id == FRAME_ID
    found = pose_from_message(detection.results[0].pose.pose)
    np.testing.assert_allclose(found[:3, 3], T_CAMERA_CUBE[:3, 3], atol=2e-3)
