"""The messages say what the arrays say, and are the same types as everybody else's."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from object_pose_msgs.msg import PoseRejection as PoseRejectionMessage
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo, VisionInfo

from object_pose.core.geometry import se3
from object_pose.core.results.detections import Detections, VisibleMasks
from object_pose.core.results.pose import ObjectPose, ObjectTruth, PoseRejection, PoseResults, RejectionReason
from object_pose.io.messages import pose_from_message, poses_from_message, truths_from_message
from object_pose.ros.messages import conversions
from object_pose.ros.messages.images import make_header

LABELS = ("gear", "spring", "hex_bolt")
# As the released vision_msgs 4.1 and tf2_msgs have them: with another hash, DDS would not connect the two ends.
TYPE_HASHES = {
    Detection3DArray: "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    Detection2DArray: "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    VisionInfo: "95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284",
    LabelInfo: "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    TFMessage: "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
}

finite = st.floats(-10.0, 10.0)
scores = st.floats(0.0, 1.0)
twists = st.lists(st.floats(-3.0, 3.0), min_size=6, max_size=6).map(np.array)
boxes = st.lists(st.floats(0.0, 640.0), min_size=4, max_size=4).map(np.array)


@st.composite
def detections(draw):
    count, keypoint_count, cells = draw(st.integers(0, 4)), draw(st.integers(0, 8)), draw(st.sampled_from([0, 3, 40]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = VisibleMasks(
        random.uniform(0, 1, (count, cells, cells)).astype(np.float32), random.uniform(5, 600, (count, 3))
    )
    return Detections(
        random.uniform(0, 640, (count, 4)),
        random.uniform(0, 1, count),
        random.integers(0, len(LABELS), count),
        random.uniform(-50, 700, (count, keypoint_count, 2)),
        random.uniform(0.1, 20, (count, keypoint_count)),
        random.integers(0, 3, count),
        masks,
    )


@st.composite
def object_poses(draw):
    class_id = draw(st.integers(0, len(LABELS) - 1))
    half = draw(st.lists(finite, min_size=36, max_size=36).map(lambda values: np.reshape(values, (6, 6))))
    return ObjectPose(
        class_id=class_id,
        class_name=LABELS[class_id],
        score=draw(scores),
        T_camera_object=se3.exp(draw(twists)),
        covariance=half @ half.T,
        box_center=np.array(draw(st.tuples(finite, finite, finite))),
        box_size=np.array(draw(st.tuples(*[st.floats(1e-3, 1.0)] * 3))),
        box_xyxy=draw(boxes),
        reprojection_rms_px=draw(st.floats(0, 50)),
        depth_rms_m=draw(st.one_of(st.floats(0, 1), st.just(math.nan))),
        visibility=draw(st.one_of(scores, st.just(math.nan))),
        depth_used=draw(st.booleans()),
        track_id=draw(st.integers(-1, 10**6)),
        track_age=draw(st.integers(0, 10**6)),
    )


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


@given(detections())
@settings(deadline=None, max_examples=50)
def test_keypoint_detections_survive_the_wire(found):
    message = over_the_wire(conversions.keypoints_to_message(found, LABELS, Header(), (640, 480)))
    back = conversions.keypoints_from_message(message, found.keypoints.shape[1])
    for name in ("boxes_xyxy", "scores", "class_ids", "keypoints", "keypoint_sigmas"):
        np.testing.assert_array_equal(getattr(back, name), getattr(found, name))
    np.testing.assert_array_equal(
        back.candidate_ids[:, None] == back.candidate_ids, found.candidate_ids[:, None] == found.candidate_ids
    )
    if len(found):
        np.testing.assert_allclose(back.masks.probabilities, found.masks.probabilities, atol=0.5 / 255 + 1e-6)
        np.testing.assert_array_equal(back.masks.windows, found.masks.windows)
    alone = [list(found.candidate_ids).count(candidate) == 1 for candidate in found.candidate_ids]
    assert [item.group == 0 for item in message.detections] == alone
    assert [item.class_name for item in message.detections] == [LABELS[class_id] for class_id in found.class_ids]
    assert (message.image_width, message.image_height) == (640, 480)


@given(twists)
@settings(deadline=None, max_examples=100)
def test_poses_survive_the_wire(twist):
    transform = se3.exp(twist)
    message = over_the_wire(conversions.pose_to_message(transform))
    np.testing.assert_allclose(pose_from_message(message), transform, atol=1e-12)


@given(st.lists(object_poses(), max_size=3))
@settings(deadline=None, max_examples=50)
def test_detections_3d_say_class_name_score_pose_covariance_box_and_id(poses):
    header = make_header(1_234_567_890_123_456_789, "camera_color_optical_frame")
    message = over_the_wire(conversions.detections_3d_to_message(poses, header))
    assert message.header == header
    assert all(len(detection.results) == 1 for detection in message.detections)
    back = conversions.detections_3d_from_message(message, LABELS)
    for pose, other, detection in zip(poses, back, message.detections, strict=True):
        assert detection.results[0].hypothesis.class_id == pose.class_name
        assert (other.class_id, other.score, other.track_id) == (pose.class_id, pose.score, pose.track_id)
        np.testing.assert_allclose(other.T_camera_object, pose.T_camera_object, atol=1e-12)
        np.testing.assert_array_equal(other.covariance, pose.covariance)
        np.testing.assert_array_equal(other.box_size, pose.box_size)
        np.testing.assert_allclose(other.box_center, pose.box_center, atol=1e-9)
        T_camera_box = pose_from_message(detection.bbox.center)
        expected = se3.apply(pose.T_camera_object, pose.box_center[None])[0]
        np.testing.assert_allclose(T_camera_box[:3, 3], expected, atol=1e-9)


@given(object_poses(), boxes, scores, st.sampled_from(list(RejectionReason)))
@settings(deadline=None, max_examples=50)
def test_results_keep_residuals_visibility_track_and_reason(pose, box, score, reason):
    rejection = PoseRejection(1, "spring", score, box, reason, "why")
    message = over_the_wire(conversions.results_to_message(PoseResults((pose,), (rejection,)), Header()))
    (back,), (refused,) = poses_from_message(message), message.rejections
    assert back.class_name == pose.class_name
    for field in dataclasses.fields(ObjectPose):
        if field.name != "class_name":
            np.testing.assert_allclose(getattr(back, field.name), getattr(pose, field.name), atol=1e-9)
    assert (refused.class_name, refused.score, refused.reason, refused.detail) == ("spring", score, reason.value, "why")
    np.testing.assert_array_equal(refused.box_xyxy, box)


@given(twists, scores, boxes)
@settings(deadline=None, max_examples=50)
def test_truths_survive_the_wire(twist, visibility, box):
    truth = ObjectTruth(2, "hex_bolt", se3.exp(twist), visibility, box)
    (back,) = truths_from_message(over_the_wire(conversions.truths_to_message([truth], Header())))
    assert (back.class_id, back.class_name, back.visibility) == (2, "hex_bolt", visibility)
    np.testing.assert_allclose(back.T_camera_object, truth.T_camera_object, atol=1e-12)
    np.testing.assert_array_equal(back.box_xyxy, box)


def test_every_rejection_reason_is_a_constant_of_the_message():
    for reason in RejectionReason:
        assert getattr(PoseRejectionMessage, reason.name) == reason.value


def test_boxes_in_the_image_have_their_centre_and_size():
    found = Detections(
        np.array([[10.0, 20.0, 40.0, 60.0]]), np.ones(1), np.zeros(1, int), np.zeros((1, 0, 2)), np.zeros((1, 0))
    )
    (detection,) = conversions.detections_2d_to_message(found, LABELS, Header()).detections
    box = detection.bbox
    assert (box.center.position.x, box.center.position.y, box.size_x, box.size_y) == (25.0, 40.0, 30.0, 40.0)


@pytest.mark.parametrize("message_type", TYPE_HASHES)
def test_stand_ins_are_the_released_types(ros, message_type):
    ros.node.create_publisher(message_type, "/topic", 1)
    (info,) = ros.wait_for(lambda: ros.node.get_publishers_info_by_topic("/topic"), "discovery")
    assert str(info.topic_type_hash) == f"RIHS01_{TYPE_HASHES[message_type]}"
