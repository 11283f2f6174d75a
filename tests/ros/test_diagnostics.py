"""Whatever keeps useful poses from coming is a WARN or an ERROR of the running nodes, with its cause."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import KeypointDetectionArray
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from driver import FakeDriver, problems, publish_until, start
from object_pose.ros.diagnostics import ClockWatch
from object_pose.ros.messages.conversions import keypoints_to_message
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics
from object_pose.runtime.predictor import Predictor

SECOND_NS = 1_000_000_000


@pytest.fixture
def diagnostics(ros):
    return ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)


def named(diagnostics, node, text):
    """A condition: the node has named the problem."""
    return lambda: [message for message in problems(diagnostics, node) if text in message]


def scaled_depth(factor):
    def change(depth):
        counts = np.frombuffer(bytes(depth.data), np.uint16) * factor
        depth.data = counts.clip(0, 65535).astype(np.uint16).tobytes()

    return change


def scaled_intrinsics(factor):
    def change(info):
        for index in (0, 2, 4, 5):
            info.k[index] *= factor

    return change


@pytest.mark.parametrize(
    "damage",
    [
        {"change_depth": scaled_depth(10.0)},
        {"change_depth": scaled_depth(0.1)},
        {"change_info": scaled_intrinsics(2.0)},
        {"change_info": scaled_intrinsics(0.5)},
    ],
    ids=["tenths of millimetres", "centimetres", "K of twice the size", "K of half the size"],
)
def test_poses_that_are_all_rejected_are_named_with_the_cause(pipeline, ros, diagnostics, frame, damage):
    driver = pipeline[-1]
    found = named(diagnostics, "pose_node", "no pose is accepted")
    publish_until(ros, driver, found, "diagnosis", frame=frame, **damage)
    assert "intrinsics of another" in found()[0]


def test_dropped_frames_are_named(ros, cube_model, diagnostics, frame):
    """The search in colour takes longer than the detections, of which several come of each frame."""
    start(ros, PoseNode, model=str(cube_model), every_frame=False, **{"solver.use_depth": False})
    detections = ros.node.create_publisher(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    driver, predictor = FakeDriver(ros), Predictor(cube_model)
    driver.wait_until_heard(depth=False)
    ros.wait_for(detections.get_subscription_count, "subscription of detections")
    found = predictor.predict(frame.rgb)

    def burst():
        message = keypoints_to_message(found, predictor.card.labels, driver.publish(frame), frame.camera.wh)
        message.model = str(cube_model)
        for _ in range(4):
            detections.publish(message)
        return named(diagnostics, "pose_node", "frames were dropped: the camera is faster")()

    ros.wait_for(burst, "diagnosis", limit_s=30.0)


def test_frames_that_are_seconds_old_are_named(pipeline, ros, diagnostics, frame):
    driver = pipeline[-1]
    found = named(diagnostics, "detection_node", "s old when they are done")

    def old():
        driver.publish(frame, stamp_ns=ros.node.get_clock().now().nanoseconds - 3 * SECOND_NS)
        return found()

    ros.wait_for(old, "diagnosis")


@pytest.mark.parametrize(
    ("stamps_ns", "text"),
    [
        ([SECOND_NS], "stamps of color stand still"),
        ([50 * SECOND_NS, 20 * SECOND_NS], "stamps of color jumped back by 30.0 s"),
        ([50 * SECOND_NS, 20 * SECOND_NS], "stamps of color jumped ahead by 30.0 s"),
    ],
    ids=["frozen", "back", "ahead"],
)
def test_stamps_that_stand_still_or_jump_are_named(pipeline, ros, diagnostics, frame, stamps_ns, text):
    driver, count = pipeline[-1], 0
    found = named(diagnostics, "detection_node", text)

    def publish():
        nonlocal count
        driver.publish(frame, stamp_ns=stamps_ns[count % len(stamps_ns)])
        count += 1
        return found()

    ros.wait_for(publish, "diagnosis")


def test_a_frame_id_that_changes_is_named(pipeline, ros, diagnostics, frame):
    driver = pipeline[-1]
    for node, stream in (("detection_node", "color"), ("pose_node", "depth")):
        count = 0
        found = named(diagnostics, node, f"the frame_id of {stream} changed from")

        def publish(found=found):
            nonlocal count
            driver.publish(frame, frame_id=("left", "right")[count % 2])
            count += 1
            return found()

        ros.wait_for(publish, f"diagnosis of {node}")


class _Simulator:
    """Publishes /clock."""

    def __init__(self, ros):
        self._ros = ros
        self._publisher = ros.node.create_publisher(Clock, "/clock", qos.RESULT)

    def publish(self, seconds):
        message = Clock()
        message.clock.sec = int(seconds)
        self._publisher.publish(message)


def test_a_clock_that_is_missing_stands_still_or_jumps_is_named(ros, cube_model, diagnostics):
    start(ros, DetectionNode, model=str(cube_model), use_sim_time=True)
    ros.wait_for(named(diagnostics, "detection_node", "nothing comes on /clock"), "diagnosis without a clock")
    simulator = _Simulator(ros)
    standing = named(diagnostics, "detection_node", "/clock stands still at 100.0 s")
    ros.wait_for(lambda: simulator.publish(100) or standing(), "diagnosis of a clock that stands still")
    jumped = named(diagnostics, "detection_node", "the clock jumped back by 70.0 s")
    ros.wait_for(lambda: simulator.publish(30) or jumped(), "diagnosis of a clock that jumps")


@pytest.mark.parametrize(
    ("steps_s", "is_simulated", "text"),
    [
        ([1.0, 1.0, 1.0], False, ""),
        ([1.0, 5.0], False, "jumped ahead by 4.0 s"),
        ([1.0, -3.0], False, "jumped back by 4.0 s"),
        ([1.0, 20.0, 0.1], True, ""),
        ([1.0, 0.0], True, "stands still at 101.0 s"),
        ([1.0, -0.2], True, "jumped back by 0.2 s"),
    ],
)
def test_a_clock_is_compared_with_one_that_never_jumps(steps_s, is_simulated, text):
    clock_s, seconds = 100.0, 0.0
    watch = ClockWatch(now=lambda: seconds)
    assert not watch.problem(int(clock_s * 1e9), is_simulated)
    for step_s in steps_s:
        clock_s, seconds = clock_s + step_s, seconds + 1.0
        problem = watch.problem(round(clock_s * 1e9), is_simulated)
    assert text in problem and bool(text) == bool(problem)


def test_a_rectified_topic_that_is_read_with_the_raw_lens_is_named(ros, cube_model, diagnostics, frame):
    rectified = "/camera/color/image_rect"
    start(ros, PoseNode, ["-r", f"{topics.COLOR}:={rectified}"], model=str(cube_model), **{"solver.use_depth": False})
    start(ros, DetectionNode, model=str(cube_model))
    driver = FakeDriver(ros)
    driver.wait_until_heard(depth=False)

    def other_projection(info):
        info.p[0] = info.p[5] = 0.9 * info.k[0]

    found = named(diagnostics, "pose_node", f"{rectified} looks rectified, but is read with the raw image's K and D")
    publish_until(ros, driver, found, "diagnosis", frame=frame, change_info=other_projection)


def test_a_check_that_fails_is_named_and_ends_neither_the_node_nor_other_checks(ros, cube_model, diagnostics):
    node, called = start(ros, PoseNode, model=str(cube_model)), []

    def fail():
        raise PermissionError(13, "not yours", "some.file")

    node.add_check(fail)
    node.add_check(lambda: called.append(True))
    ros.wait_for(named(diagnostics, "pose_node", "PermissionError: [Errno 13] not yours: 'some.file'"), "the problem")
    ros.wait_for(lambda: len(called) > 1, "other checks")


def test_a_message_that_a_callback_cannot_take_is_named_and_the_next_one_is_tried(ros, cube_model, diagnostics):
    node, taken = start(ros, PoseNode, model=str(cube_model)), []

    def take(message):
        taken.append(int(message.data))

    node.watch(String, "numbers", take, qos.RESULT)
    publisher = ros.node.create_publisher(String, "numbers", qos.RESULT)
    ros.wait_for(publisher.get_subscription_count, "the node")
    publisher.publish(String(data="seven"))
    publisher.publish(String(data="8"))
    ros.wait_for(named(diagnostics, "pose_node", "invalid literal for int() with base 10: 'seven'"), "the problem")
    assert taken == [8]


def test_transforms_have_many_publishers_however_their_topic_is_called(ros, cube_model, diagnostics):
    start(ros, PoseNode, ("-r", "__ns:=/cell", "-r", "/tf:=tf"), model=str(cube_model))
    ros.node.create_publisher(TFMessage, "/cell/tf", qos.TRANSFORMS)
    ros.wait_for(lambda: ros.node.count_publishers("/cell/tf") == 2, "both publishers")
    diagnostics.clear()
    ros.wait_for(lambda: len(diagnostics) > 1, "the node's reports")
    assert "more than once" not in str(diagnostics)
