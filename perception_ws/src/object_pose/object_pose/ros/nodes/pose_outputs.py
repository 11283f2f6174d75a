"""Everything the pose node publishes about a frame; what nobody listens to is not made."""

from __future__ import annotations

from object_pose_msgs.msg import ObjectPoseArray
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from object_pose.core.results.pose import PoseResults
from object_pose.ros.messages import conversions
from object_pose.ros.messages.markers import MarkerBoard, mesh_uri
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport import qos, topics


class PoseOutputs:
    """The publishers of results, all with the header of the input."""

    def __init__(self, node: PipelineNode) -> None:
        self._detections = node.announce(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
        self._poses = node.announce(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
        self._markers = node.announce(MarkerArray, topics.OBJECT_MARKERS, qos.RESULT)
        self._transforms = node.announce(TFMessage, topics.TF, qos.TRANSFORMS)
        self._board = MarkerBoard(mesh_uri)

    def publish(self, results: PoseResults, header: Header, dropped_frames: int, with_transforms: bool) -> None:
        """Publish one frame's results, the planner's message first."""
        self._detections.publish(conversions.detections_3d_to_message(results.poses, header))
        if self._poses.get_subscription_count():
            self._poses.publish(conversions.results_to_message(results, header, dropped_frames))
        if self._markers.get_subscription_count():
            self._markers.publish(self._board.update(results.poses, header))
        if with_transforms:
            self._transforms.publish(conversions.transforms_to_message(results.poses, header))
