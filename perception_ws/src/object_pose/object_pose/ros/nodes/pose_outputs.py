"""Everything the pose node publishes about a frame; topics without subscribers are not computed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from object_pose_msgs.msg import ObjectPoseArray
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import MarkerArray

from object_pose.core.arrays import Array
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.pose import ObjectPose, PoseResults, RejectionReason
from object_pose.core.vision.drawing import draw_poses
from object_pose.io.messages import image_from_message, stamp_ns
from object_pose.ros.messages import conversions
from object_pose.ros.messages.images import rgb_to_message
from object_pose.ros.messages.markers import MarkerBoard, mesh_uri
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.pairing import StampedBuffer
from object_pose.ros.transport.worker import NewestWorker

_TRACKED_PERIOD_NS = 90_000_000
# Rejections in a row that say that the input is wrong, and how; others depend on the scene.
_TELLING_REJECTIONS = 5
_CAUSES = {
    RejectionReason.DEPTH_DISAGREES: "intrinsics of another resolution, or depth in another unit (depth_scale)",
    RejectionReason.REPROJECTION_ERROR: "intrinsics or distortion of another camera, or another part than the model's",
    RejectionReason.PNP_FAILED: "intrinsics of another camera, or another part than the model's",
    RejectionReason.BEHIND_CAMERA: "intrinsics of another camera",
    RejectionReason.UNCERTAIN: "no depth, or an object that is too far away for this camera",
}


@dataclass(frozen=True)
class Target:
    """The frame in which a planner wants poses, and T_target_camera (4, 4) at the frame's stamp."""

    frame_id: str
    T_target_camera: Array


class PoseOutputs:
    """The publishers of results, all with the header of the input; the planner's may be of another frame."""

    def __init__(self, node: PipelineNode) -> None:
        self._node = node
        self._detections = node.announce(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
        self._poses = node.announce(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
        self._tracked = node.announce(Detection2DArray, topics.TRACKED_2D, qos.RESULT)
        self._tracked_ns = 0
        self._markers = node.announce(MarkerArray, topics.OBJECT_MARKERS, qos.RESULT)
        self._transforms = node.announce(TFMessage, topics.TF, qos.TRANSFORMS)
        self._board = MarkerBoard(mesh_uri)
        self._rejected: Counter[RejectionReason] = Counter()
        self._rejected_before = 0

    def activate(self, color_type: type, color_topic: str, profile: QoSProfile) -> None:
        """Draw on colour images while the drawn ones have a subscriber: only then their topic is read."""
        self._overlay = _Overlay(self._node, color_type, color_topic, profile)
        self._node.add_check(self._report_rejections)

    def deactivate(self) -> None:
        """Draw no more."""
        self._overlay.close()

    def publish(
        self,
        results: PoseResults,
        camera: Camera,
        header: Header,
        target: Target | None,
        dropped_frames: int,
        with_transforms: bool,
    ) -> None:
        """Publish one frame's results, the planner's message first; that only where its frame is known."""
        if target is not None:
            self._publish_for_planner(results.poses, header, target)
        if self._poses.get_subscription_count():
            self._poses.publish(conversions.results_to_message(results, header, dropped_frames))
        if self._markers.get_subscription_count():
            self._markers.publish(self._board.update(results.poses, header))
        if with_transforms:
            namespace = self._node.get_namespace()
            self._transforms.publish(conversions.transforms_to_message(results.poses, header, namespace))
        self._overlay.publish(results, camera, header)
        self._rejected.update(rejection.reason for rejection in results.rejections if rejection.reason in _CAUSES)
        if any(pose.visibility > 0.0 for pose in results.poses):
            self._rejected.clear()

    def _publish_for_planner(self, poses: Sequence[ObjectPose], header: Header, target: Target) -> None:
        if target.frame_id != header.frame_id:
            header = Header(stamp=header.stamp, frame_id=target.frame_id)
            poses = [pose.in_frame(target.T_target_camera) for pose in poses]
        self._detections.publish(conversions.detections_3d_to_message(poses, header))

    def publish_tracked(self, poses: Callable[[], Sequence[ObjectPose]], header: Header) -> None:
        """Publish the boxes of tracked objects now and then, for a detection node that need not refine them."""
        stamp = Time.from_msg(header.stamp).nanoseconds
        if self._tracked.get_subscription_count() and abs(stamp - self._tracked_ns) >= _TRACKED_PERIOD_NS:
            self._tracked_ns = stamp
            self._tracked.publish(conversions.boxes_to_message(poses(), header))

    def _report_rejections(self) -> None:
        """Report when poses were rejected and none was accepted since the last one that was."""
        rejected = self._rejected.copy()  # the thread that publishes goes on counting
        total = rejected.total()
        is_going_on, self._rejected_before = total > self._rejected_before, total
        if is_going_on and total >= _TELLING_REJECTIONS:
            ((reason, count),) = rejected.most_common(1)
            text = f"no pose is accepted, {count} of {total} are rejected as '{reason.value}': {_CAUSES[reason]}?"
            self._node.diagnostics.problem("rejections", text)


class _Overlay:
    """Draws in a thread of its own; listens to colour images only while its own topic has a subscriber."""

    def __init__(self, node: PipelineNode, color_type: type, color_topic: str, profile: QoSProfile) -> None:
        self._node = node
        self._source = color_type, color_topic
        self._profile = profile
        self._publisher = node.create_publisher(Image, topics.DETECTIONS_IMAGE, qos.RESULT, **qos.publisher_events())
        self._subscription: Subscription | None = None
        self._images = StampedBuffer()
        self._lock = threading.Lock()
        self._worker = NewestWorker("drawing", self._draw, node.frame_failed)

    def publish(self, results: PoseResults, camera: Camera, header: Header) -> None:
        """Draw on the image of the header's stamp, if it is wanted and there, beside what goes on."""
        self._follow_demand()
        stamp = Time.from_msg(header.stamp).nanoseconds
        with self._lock:
            message = self._images.nearest(stamp)
            self._images.drop_before(stamp)
        if message is not None:
            self._worker.offer((message, results, camera, header))

    def _draw(self, item: tuple[Any, PoseResults, Camera, Header]) -> None:
        message, results, camera, header = item
        picture = draw_poses(image_from_message(message), results.poses, camera, results.rejections)
        self._publisher.publish(rgb_to_message(picture, header))

    def close(self) -> None:
        """Stop listening, drawing and publishing."""
        self._unsubscribe()
        self._worker.stop()
        self._node.destroy_publisher(self._publisher)

    def _follow_demand(self) -> None:
        if not self._publisher.get_subscription_count():
            self._unsubscribe()
        elif self._subscription is None:
            self._subscription = self._node.create_subscription(
                *self._source, self._keep, self._profile, **qos.subscription_events()
            )

    def _keep(self, message: Any) -> None:
        with self._lock:
            self._images.add(stamp_ns(message), message)

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        with self._lock:
            self._images.clear()
