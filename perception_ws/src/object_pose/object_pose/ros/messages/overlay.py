"""The colour image with the results drawn on it, made only while somebody subscribes."""

from __future__ import annotations

from collections import deque

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from object_pose.core.geometry.camera import Camera
from object_pose.core.results.pose import PoseResults
from object_pose.core.vision.drawing import draw_poses
from object_pose.io.messages import image_from_message
from object_pose.ros.messages.images import rgb_to_message
from object_pose.ros.transport import qos, topics

_FRAMES_KEPT = 8


class Overlay:
    """Listens to the colour images while its own topic has a subscriber, and to nothing otherwise."""

    def __init__(self, node: Node, profile: QoSProfile) -> None:
        self._node = node
        self._profile = profile
        self._publisher = node.create_publisher(Image, topics.DETECTIONS_IMAGE, qos.RESULT, **qos.publisher_events())
        self._subscription: Subscription | None = None
        self._images: deque[Image] = deque(maxlen=_FRAMES_KEPT)

    def publish(self, results: PoseResults, camera: Camera, header: Header) -> None:
        """Draw on the image of the header's stamp, if it is wanted and there."""
        self._follow_demand()
        for message in tuple(self._images):
            if message.header.stamp == header.stamp:
                picture = draw_poses(image_from_message(message), results.poses, camera, results.rejections)
                self._publisher.publish(rgb_to_message(picture, header))
                return

    def close(self) -> None:
        """Stop listening and publishing."""
        self._unsubscribe()
        self._node.destroy_publisher(self._publisher)

    def _follow_demand(self) -> None:
        if not self._publisher.get_subscription_count():
            self._unsubscribe()
        elif self._subscription is None:
            self._subscription = self._node.create_subscription(
                Image, topics.COLOR, self._keep, self._profile, **qos.subscription_events()
            )

    def _keep(self, message: Image) -> None:
        self._images.append(message)

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self._images.clear()
