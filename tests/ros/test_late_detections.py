"""Detections that come long after their image still get its depth and colour."""

from __future__ import annotations

import pytest
from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray
from sensor_msgs.msg import Image

from driver import FakeDriver, publish_until, start
from object_pose.io.messages import stamp_ns
from object_pose.ros.messages.conversions import keypoints_to_message
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics
from object_pose.runtime.predictor import Predictor

COUNT, START_NS = 67, 10_000_000_000


@pytest.mark.parametrize(("rate_hz", "late"), [(60, 9), (30, 9), (60, 60)])
def test_late_detections_lose_nothing(ros, cube_model, frame, rate_hz, late):
    """At the pace of a test; what counts are the stamps."""
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    pictures = ros.collect(Image, topics.DETECTIONS_IMAGE, qos.RESULT)
    node = start(ros, PoseNode, model=str(cube_model), every_frame=False)
    detections = ros.node.create_publisher(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    driver, predictor = FakeDriver(ros), Predictor(cube_model)
    driver.wait_until_heard()
    found = predictor.predict(frame.rgb)

    def detect(header):
        message = keypoints_to_message(found, predictor.card.labels, header, frame.camera.wh)
        message.model = str(cube_model)
        detections.publish(message)

    def answers(header):
        return [message for message in poses if message.header == header]

    def is_drawn(header):  # only the newest is drawn where several wait
        return any(picture.header.stamp == header.stamp for picture in pictures)

    class Pipeline:
        """The camera and detections that are not late."""

        def publish(self, frame):
            detect(driver.publish(frame))

    # Both ends of every topic have found each other; colour is listened to for pictures from the first pose on.
    publish_until(ros, Pipeline(), lambda: pictures, "a picture", frame=frame)
    pairer = node._inputs._pairer
    headers = []
    for index in range(COUNT + late):
        stamp = START_NS + index * 1_000_000_000 // rate_hz
        headers.append(driver.publish(frame, stamp_ns=stamp))
        ros.wait_for(lambda at=stamp: all(pairer._stamps[n][-1] == at for n in pairer.partners), "depth and colour")
        if index >= late:
            detect(headers[index - late])
            ros.wait_for(lambda at=headers[index - late]: answers(at) and is_drawn(at), "poses and their picture")
    results = [message for header in headers[:COUNT] for message in answers(header)]
    assert len(results) == COUNT
    assert all(message.poses and all(pose.depth_used for pose in message.poses) for message in results)
    assert sum(stamp_ns(picture) >= START_NS for picture in pictures) == COUNT
