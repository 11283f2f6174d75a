"""The same as a py_trees behaviour tree: wait for fresh poses, choose a part and a grasp, have it picked, again.

    object-pose run --target-frame base_link
    python examples/pick_tree.py --pick-service /pick           (a std_srvs/Trigger of your robot)

The chosen grasp goes out on ``pick_pose`` before the service is called. Needs py_trees.
"""

from __future__ import annotations

import argparse
import sys

import py_trees
import rclpy
from geometry_msgs.msg import PoseStamped
from pick_nearest import Limits, choose
from py_trees.common import Status
from rclpy.node import Node
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection3DArray

from object_pose.core.errors import ObjectPoseError
from object_pose.io.grasps import Grasp, grasps_file, read_grasps
from object_pose.ros.messages.conversions import detections_3d_from_message, pose_to_message
from object_pose.ros.transport import qos, topics
from object_pose.runtime.resources import find_model

PERIOD_S = 0.1


class FreshPoses(py_trees.behaviour.Behaviour):
    """Waits for detections that came after it began, and puts them on the blackboard."""

    def __init__(self, node: Node) -> None:
        super().__init__("fresh poses")
        self._newest: Detection3DArray | None = None
        self._board = self.attach_blackboard_client()
        self._board.register_key("detections", py_trees.common.Access.WRITE)
        node.create_subscription(Detection3DArray, topics.DETECTIONS_3D, self._keep, qos.RESULT)

    def initialise(self) -> None:
        """Forget what was seen before: the robot may have moved a part since."""
        self._newest = None

    def update(self) -> Status:
        """Succeed when something is seen."""
        if self._newest is None or not self._newest.detections:
            return Status.RUNNING
        self._board.detections = self._newest
        return Status.SUCCESS

    def _keep(self, message: Detection3DArray) -> None:
        self._newest = message


class ChooseGrasp(py_trees.behaviour.Behaviour):
    """Chooses the nearest part that can be gripped, as ``pick_nearest.py`` does."""

    def __init__(self, grasps: dict[str, tuple[Grasp, ...]]) -> None:
        super().__init__("choose grasp")
        self._grasps = grasps
        self._board = self.attach_blackboard_client()
        self._board.register_key("detections", py_trees.common.Access.READ)
        self._board.register_key("grasp", py_trees.common.Access.WRITE)

    def update(self) -> Status:
        """Fail where no part can be gripped."""
        message: Detection3DArray = self._board.detections
        pick = choose(list(detections_3d_from_message(message, list(self._grasps))), self._grasps, Limits())
        if pick is None:
            self.feedback_message = f"none of {len(message.detections)} parts can be gripped"
            return Status.FAILURE
        self.feedback_message = f"{pick.part.class_name} #{pick.part.track_id}"
        self._board.grasp = PoseStamped(header=message.header, pose=pose_to_message(pick.T_base_grasp))
        return Status.SUCCESS


class Pick(py_trees.behaviour.Behaviour):
    """Publishes the grasp and calls the robot's service; runs until that has answered."""

    def __init__(self, node: Node, service: str) -> None:
        super().__init__("pick")
        self._target = node.create_publisher(PoseStamped, "pick_pose", qos.RESULT)
        self._client = node.create_client(Trigger, service)
        self._answer: rclpy.Future | None = None
        self._board = self.attach_blackboard_client()
        self._board.register_key("grasp", py_trees.common.Access.READ)

    def initialise(self) -> None:
        """Begin a pick, if the robot is there."""
        self._target.publish(self._board.grasp)
        self._answer = self._client.call_async(Trigger.Request()) if self._client.service_is_ready() else None

    def update(self) -> Status:
        """Say how the pick went."""
        if self._answer is None:
            self.feedback_message = f"{self._client.srv_name} is not available"
            return Status.FAILURE
        if not self._answer.done():
            return Status.RUNNING
        self.feedback_message = self._answer.result().message
        return Status.SUCCESS if self._answer.result().success else Status.FAILURE


def make_tree(node: Node, grasps: dict[str, tuple[Grasp, ...]], service: str) -> py_trees.behaviour.Behaviour:
    """Return the tree; a pick that fails is tried again with fresh poses."""
    one = py_trees.composites.Sequence("pick one", memory=True)
    one.add_children([FreshPoses(node), ChooseGrasp(grasps), Pick(node, service)])
    return py_trees.decorators.Retry("try again", one, num_failures=3)


def main() -> int:
    """Tick the tree until Ctrl-C, or until three picks in a row have failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="parts.onnx", help="model whose grasps lie beside it (default: %(default)s)")
    parser.add_argument("--pick-service", default="/pick", help="of the robot (default: %(default)s)")
    options, ros_arguments = parser.parse_known_args()
    try:
        grasps = read_grasps(grasps_file(find_model(options.model)))
    except ObjectPoseError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    rclpy.init(args=ros_arguments)
    node = Node("pick_tree")
    tree = make_tree(node, grasps, options.pick_service)
    node.create_timer(PERIOD_S, tree.tick_once)
    try:
        while rclpy.ok() and tree.status != Status.FAILURE:
            rclpy.spin_once(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        return 0
    sys.stderr.write(f"{py_trees.display.unicode_tree(tree, show_status=True)}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
