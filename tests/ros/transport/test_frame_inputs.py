"""Frames keep up with the camera and keep their depth, however slow the executor's turns are."""

import pytest
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image

from object_pose.io.messages import stamp_ns
from object_pose.ros.messages.images import make_header
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport import topics
from object_pose.ros.transport.frame_inputs import CAMERA_INFO, COLOR, DEPTH, FrameInputs, FrameInputsConfig, qos

PERIOD_NS = 33_000_000
BURST = 8  # a quarter of a second of a camera
ACKNOWLEDGED = Duration(seconds=10)


class Camera:
    """Publishes small frames and knows when they have arrived; the inputs' executor turns only when the test says."""

    def __init__(self, ros) -> None:
        self.node = PipelineNode("inputs")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        ros.nodes.append(self.node)
        self.kept, self.sent = [], 0
        config = FrameInputsConfig(input_reliability="reliable")
        self.inputs = FrameInputs(
            self.node, config, COLOR, [DEPTH], lambda paired: None, needs_camera=True, keep=self.kept.append
        )
        self.inputs.follow(COLOR, DEPTH, CAMERA_INFO)
        profile = qos.RESULT
        kinds = {topics.COLOR: Image, topics.DEPTH: Image, topics.CAMERA_INFO: CameraInfo}
        self.publishers = {topic: ros.node.create_publisher(kind, topic, profile) for topic, kind in kinds.items()}
        for topic, publisher in self.publishers.items():
            ros.wait_for(publisher.get_subscription_count, f"a subscription of {topic}")

    def publish(self, count: int, order=(topics.CAMERA_INFO, topics.COLOR, topics.DEPTH)) -> None:
        """Publish frames, all of one topic before those of the next, and wait until they lie in the queues."""
        first, self.sent = self.sent, self.sent + count
        for topic in order:
            for index in range(first, self.sent):
                header = make_header(PERIOD_NS * (index + 1), "camera")
                if topic == topics.CAMERA_INFO:
                    message = CameraInfo(header=header, width=4, height=3, distortion_model="plumb_bob", d=[0.0] * 5)
                    message.k = [5.0, 0.0, 2.0, 0.0, 5.0, 1.5, 0.0, 0.0, 1.0]
                else:
                    message = Image(header=header, width=4, height=3, encoding="mono8", step=4, data=bytes(12))
                self.publishers[topic].publish(message)
            assert self.publishers[topic].wait_for_all_acked(ACKNOWLEDGED)

    def turn(self) -> None:
        """Let the executor run one callback."""
        self.executor.spin_once(timeout_sec=0.1)

    def stamps(self):
        return [paired.stamp_ns for paired in self.kept]


@pytest.fixture
def camera(ros):
    """A camera, and inputs that hear it."""
    made = Camera(ros)
    yield made
    made.inputs.stop()
    made.executor.shutdown()


@pytest.mark.parametrize(
    "order",
    [
        (topics.CAMERA_INFO, topics.COLOR, topics.DEPTH),
        (topics.DEPTH, topics.CAMERA_INFO, topics.COLOR),
        (topics.COLOR, topics.DEPTH, topics.CAMERA_INFO),
    ],
)
def test_one_turn_takes_all_that_came_while_the_executor_was_busy(ros, camera, order):
    camera.publish(BURST, order)
    ros.wait_for(lambda: camera.turn() or camera.kept, "the first frame")
    assert camera.stamps() == [PERIOD_NS * (index + 1) for index in range(BURST)]
    for paired in camera.kept:
        assert stamp_ns(paired.messages[DEPTH]) == paired.stamp_ns
        assert paired.messages[CAMERA_INFO].width == 4


def test_frames_do_not_grow_old_in_queues_and_none_loses_its_depth(ros, camera):
    """One callback for every three frames: far too few to take each message in a turn of its own."""
    for _ in range(20):
        camera.publish(3)
        camera.turn()
        if camera.kept:
            assert camera.stamps()[-1] >= PERIOD_NS * (camera.sent - BURST)
    ros.wait_for(lambda: camera.turn() or len(camera.kept) == camera.sent, "the last frame")
    assert camera.stamps() == [PERIOD_NS * (index + 1) for index in range(camera.sent)]
    assert all(DEPTH in paired.messages for paired in camera.kept)


def test_a_frame_whose_depth_is_on_its_way_waits_for_it(ros, camera):
    camera.publish(1)
    ros.wait_for(lambda: camera.turn() or camera.kept, "the first frame")
    camera.publish(1, (topics.CAMERA_INFO, topics.COLOR))
    ros.wait_for(lambda: camera.turn() or camera.inputs.newest.count == 2, "the second image")
    assert len(camera.kept) == 1
    camera.sent -= 1
    camera.publish(1, (topics.DEPTH,))
    ros.wait_for(lambda: camera.turn() or len(camera.kept) == 2, "its depth")
    assert DEPTH in camera.kept[-1].messages


def test_streams_that_are_not_followed_any_more_are_not_taken(ros, camera):
    camera.publish(1)
    ros.wait_for(lambda: camera.turn() or camera.kept, "the first frame")
    camera.inputs.follow(COLOR, CAMERA_INFO)
    camera.publish(2, (topics.CAMERA_INFO, topics.COLOR))
    ros.wait_for(lambda: camera.turn() or len(camera.kept) == 3, "frames without depth")
    assert all(DEPTH not in paired.messages for paired in camera.kept[1:])
