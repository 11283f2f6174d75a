"""The pose node tracks every frame beside late detections: ids stay, what is lost is said, answers are in order."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray
from object_pose_msgs.srv import EstimatePoses
from vision_msgs.msg import Detection2DArray

from driver import FRAME_ID, FakeDriver, problems, publish_until, start
from object_pose.core.frame import Frame
from object_pose.io.messages import stamp_ns
from object_pose.ros.messages.conversions import keypoints_to_message
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics
from object_pose.runtime.predictor import Predictor

START_NS, PERIOD_NS, LATE = 10_000_000_000, 33_000_000, 5
EARLIER_NS, LIMIT_S = 5_000_000_000, 60.0


class LateDetector:
    """A camera and a detector that the test paces: every frame is answered before the next one comes."""

    def __init__(self, ros, cube_model, frame):
        self._ros, self._model, self._frame = ros, cube_model, frame
        self.answers = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
        self._detections = ros.node.create_publisher(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
        self.node = start(ros, PoseNode, model=str(cube_model))
        self._driver, self._predictor = FakeDriver(ros), Predictor(cube_model)
        self._driver.wait_until_heard()
        ros.wait_for(self._detections.get_subscription_count, "subscription of detections")
        publish_until(ros, self, lambda: self.poses(), "a pose with depth", frame=frame)
        self.answers.clear()

    def publish(self, frame, **changes):
        """Publish a frame and its detections at once."""
        self.detect(self._driver.publish(frame, **changes))

    def poses(self):
        return [message for message in self.answers if message.poses and message.poses[0].depth_used]

    def take(self, index, frame=None):
        """Publish one frame, and wait for its answer; returns its header."""
        stamp = START_NS + index * PERIOD_NS
        header = self._driver.publish(frame or self._frame, stamp_ns=stamp)
        if index:  # the first one comes after a pause, so that its detections answer it
            self._ros.wait_for(lambda: self.answer(header), f"answer of frame {index}")
        return header

    def handle(self, stamp, **changes):
        """Publish one frame, and wait until it is tracked or left to its detections; returns its header."""
        header = self._driver.publish(self._frame, stamp_ns=stamp, **changes)
        self._ros.wait_for(lambda: self.node._newest_ns == stamp, f"the frame of {stamp}")
        return header

    def answers_since(self, stamp):
        """Return the answers of frames from a stamp on."""
        return [message for message in self.answers if stamp_ns(message) >= stamp]

    def answer(self, header):
        return next((message for message in self.answers if message.header == header), None)

    def detect(self, header):
        """Publish the detections of a frame."""
        found = self._predictor.predict(self._frame.rgb)
        message = keypoints_to_message(found, self._predictor.card.labels, header, self._frame.camera.wh)
        message.model = str(self._model)
        self._detections.publish(message)


@pytest.fixture
def late(ros, cube_model, frame):
    return LateDetector(ros, cube_model, frame)


@pytest.fixture
def blocked(late, monkeypatch):
    """The next registration waits before it begins; the events say that it does, let it go on, and that it is done."""
    events = SimpleNamespace(waits=threading.Event(), go_on=threading.Event(), is_done=threading.Event())
    estimator = late.node._estimator
    register_late = estimator.register_late

    def blocking(*arguments):
        events.waits.set()
        assert events.go_on.wait(LIMIT_S)
        registered = register_late(*arguments)
        events.is_done.set()
        return registered

    monkeypatch.setattr(estimator, "register_late", blocking)
    yield events
    events.go_on.set()


def test_every_frame_has_poses_whose_ids_stay_however_late_detections_are(ros, late):
    first = late.take(0)
    late.detect(first)
    ros.wait_for(lambda: late.answer(first), "answer by detections")
    headers = [first]
    for index in range(1, 30):
        headers.append(late.take(index))
        if index > LATE:
            late.detect(headers[index - LATE])
    answers = [message for header in headers for message in late.answers if message.header == header]
    assert [message.header for message in answers] == headers
    assert all(len(message.poses) == 1 and message.poses[0].depth_used for message in answers)
    assert len({message.poses[0].track_id for message in answers}) == 1
    stamps = [stamp_ns(message) for message in late.answers]
    assert stamps == sorted(stamps)


def test_an_object_that_is_gone_is_said_to_be_lost_and_not_brought_back_by_old_detections(ros, late, frame):
    first = late.take(0)
    late.detect(first)
    ros.wait_for(lambda: late.answer(first), "answer by detections")
    headers = [late.take(index) for index in range(1, 8)]
    nothing = Frame(np.zeros_like(frame.rgb), frame.camera, np.full_like(frame.depth_m, 2.0))
    gone = late.answer(late.take(8, nothing))
    assert len(gone.poses) == 0
    assert [rejection.reason for rejection in gone.rejections] == ["lost"]
    late.detect(headers[-1])
    later = [late.answer(late.take(index, nothing)) for index in range(9, 14)]
    assert all(len(message.poses) == 0 for message in later)


def test_a_request_is_not_answered_with_a_frame_that_came_before_it(ros, late, blocked):
    first = late.take(0)
    late.detect(first)
    ros.wait_for(blocked.waits.is_set, "the registration")
    client = ros.node.create_client(EstimatePoses, "/pose_node/estimate_poses")
    ros.wait_for(client.service_is_ready, "service")
    future = client.call_async(EstimatePoses.Request(timeout_s=LIMIT_S))
    ros.wait_for(lambda: late.node._requests, "the request")
    blocked.go_on.set()
    ros.wait_for(lambda: late.answer(first), "the frame before")
    second = late.take(1)
    ros.wait_for(future.done, "the answer")
    assert future.result().result.header == second


def test_a_detection_node_hears_what_is_tracked(ros, cube_model, frame):
    boxes = ros.collect(Detection2DArray, topics.TRACKED_2D, qos.RESULT)
    keypoints = ros.collect(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    start(ros, PoseNode, model=str(cube_model))
    node = start(ros, DetectionNode, model=str(cube_model))
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    publish_until(ros, driver, lambda: boxes and keypoints, "tracked boxes", frame=frame)
    # The only object is the one whose turn it is to be verified.
    assert [len(message.detections) for message in boxes] == [0] * len(boxes)
    assert node.is_active


def test_time_that_jumps_back_while_detections_are_registered_begins_a_new_sequence(ros, late, blocked):
    first = late.take(0)
    late.detect(first)
    ros.wait_for(blocked.waits.is_set, "the registration")
    late.handle(EARLIER_NS)
    blocked.go_on.set()
    ros.wait_for(blocked.is_done.is_set, "the end of the registration")
    late.handle(EARLIER_NS + PERIOD_NS)  # no track has begun
    found = late.handle(EARLIER_NS + 2 * PERIOD_NS)
    late.detect(found)
    ros.wait_for(lambda: late.answer(found), "answer by detections")
    headers = [found, *(late.handle(EARLIER_NS + index * PERIOD_NS) for index in range(3, 8))]
    ros.wait_for(lambda: late.answer(headers[-1]), "the last answer")
    answers = late.answers_since(EARLIER_NS)
    assert [message.header for message in answers] == headers
    assert {len(message.poses) for message in answers} == {1}
    assert len({message.poses[0].track_id for message in answers}) == 1


@pytest.mark.parametrize("frame_id", [FRAME_ID, "other_optical_frame"])
def test_detections_of_a_sequence_that_has_ended_begin_no_track_and_are_no_problem(ros, late, monkeypatch, frame_id):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    looked_up, frame_at = [], late.node._frame_at
    monkeypatch.setattr(late.node, "_frame_at", lambda stamp: looked_up.append(stamp) or frame_at(stamp))
    first = late.handle(START_NS)
    start_ns = EARLIER_NS if frame_id == FRAME_ID else START_NS + PERIOD_NS
    late.handle(start_ns, frame_id=frame_id)
    late.detect(first)
    ros.wait_for(lambda: looked_up == [START_NS], "the late detections")
    found = late.handle(start_ns + PERIOD_NS, frame_id=frame_id)
    late.detect(found)
    ros.wait_for(lambda: late.answer(found), "answer by detections")
    assert [message.header for message in late.answers_since(EARLIER_NS)] == [found]
    diagnostics.clear()
    ros.wait_for(lambda: problems(diagnostics, "pose_node"), "a report")
    assert "not there" not in str(problems(diagnostics, "pose_node"))
