"""Poses of tracked objects in; collision objects of MoveIt's planning scene out, with their CAD meshes."""

from __future__ import annotations

if __name__ == "__main__":  # before anything else is imported: see there
    from object_pose.ros.nodes.programs import run

    raise SystemExit(run("planning_scene_node"))

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.lifecycle import LifecyclePublisher
from rclpy.time import Time
from vision_msgs.msg import Detection3DArray

from object_pose.core.arrays import Array
from object_pose.core.frame import NS_PER_S
from object_pose.core.params import parameter
from object_pose.core.results.pose import ObjectPose
from object_pose.io.grasps import grasps_file, read_grasps
from object_pose.io.messages import stamp_ns
from object_pose.ros.messages.conversions import detections_3d_from_message
from object_pose.ros.messages.interfaces import optional_interface
from object_pose.ros.messages.markers import mesh_file
from object_pose.ros.messages.planning_scene import (
    MESH,
    SHAPES,
    AttachedObjects,
    CollisionObjects,
    CollisionShape,
    collision_shape,
)
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.spinning import spin_node
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.transform_listener import TransformListener
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model

_HEARD_WITHIN = Duration(seconds=0.5)


@dataclass(frozen=True)
class PlanningSceneConfig:
    """The parameters of the planning scene node."""

    model: str = parameter("parts.onnx", "model whose objects are published", read_only=True)
    meshes: str = parameter(
        "", "folder of mesh files by class name, metres or millimetres; '' is meshes beside the model", read_only=True
    )
    shape: str = parameter(
        MESH,
        "'mesh', its convex 'hull' or a 'box': the simpler, the faster are MoveIt's collision checks",
        choices=SHAPES,
        read_only=True,
    )
    keep_s: float = parameter(
        1.0,
        "how long an object stays after it was last seen, also where no frames come: more for single estimates",
        minimum=0.0,
        maximum=3600.0,
        read_only=True,
    )
    min_move_mm: float = parameter(
        2.0, "smaller motions are not sent to the planning scene", minimum=0.0, maximum=1000.0, read_only=True
    )
    min_turn_deg: float = parameter(1.0, "the same of rotations", minimum=0.0, maximum=180.0, read_only=True)
    held_within_mm: float = parameter(
        20.0,
        "a new object of the class of one that the robot holds, and no further from it, is that one with another id",
        minimum=0.0,
        maximum=1000.0,
        read_only=True,
    )


class PlanningSceneNode(PipelineNode):
    """Adds, moves and removes collision objects as the pose node's tracks come and go; what the robot holds it leaves.

    Poses are taken as the pose node publishes them: its ``target_frame`` is the planning frame, or one known to /tf.
    """

    def __init__(self, **node_options: object) -> None:
        super().__init__("planning_scene_node", PlanningSceneConfig, **node_options)
        self._scene: LifecyclePublisher | None = None

    def configure(self) -> None:
        """Read the shapes of the model's objects; refuse to start without MoveIt's messages."""
        self._messages = optional_interface("moveit_msgs.msg")
        config = self.config(PlanningSceneConfig)
        self._model = find_model(config.model)
        self._card = load_card(self._model)
        folder = Path(config.meshes) if config.meshes else self._model.parent / "meshes"
        grasps = read_grasps(grasps_file(self._model)) if grasps_file(self._model).exists() else {}
        self._shapes = {
            item.name: collision_shape(item, config.shape, mesh_file(folder, item.name), grasps.get(item.name, ()))
            for item in self._card.objects
        }
        if self._scene is None:
            self._scene = self.announce(self._messages.CollisionObject, topics.COLLISION_OBJECT, qos.PLANNING_SCENE)
        self._listeners = 0

    def activate(self) -> None:
        """Follow the pose node, and what MoveIt says is attached to the robot."""
        config = self.config(PlanningSceneConfig)
        self._attached = AttachedObjects()
        self._objects = CollisionObjects(
            self._shape_of,
            config.keep_s,
            1e-3 * config.min_move_mm,
            float(np.deg2rad(config.min_turn_deg)),
            1e-3 * config.held_within_mm,
        )
        self._transforms = TransformListener(self)
        self._came_at: Time | None = None
        self.watch(Detection3DArray, topics.DETECTIONS_3D, self._update, qos.RESULT)
        self.add_check(self._remove_unseen)
        # MoveIt may not run yet, so it is not watched as an input is.
        self._monitored = self.create_subscription(
            self._messages.PlanningScene,
            topics.MONITORED_PLANNING_SCENE,
            self._attached.update,
            qos.PLANNING_SCENE,
            **qos.subscription_events(),
        )

    def deactivate(self) -> None:
        """Remove what was added."""
        self._transforms.close()
        self.destroy_subscription(self._monitored)
        assert self._scene is not None
        self._send(self._objects.clear(self._attached.names))
        self._scene.wait_for_all_acked(_HEARD_WITHIN)  # ROS may end right after

    def _update(self, message: Detection3DArray) -> None:
        assert self._scene is not None
        self._came_at = self.get_clock().now()
        listeners = self._scene.get_subscription_count()
        if listeners > self._listeners:
            self._objects.tell_anew()
        self._listeners = listeners
        if not listeners:
            return
        poses = detections_3d_from_message(message, self._card.labels)
        if any(pose.track_id < 0 for pose in poses):
            self.diagnostics.problem("untracked", "objects without ids cannot be followed: set track of the pose node")
        known = [pose for pose in poses if pose.class_name in self._shapes]
        held_pose = partial(self._held_pose, message)
        self._send(self._objects.update(known, message.header, self._attached.names, held_pose))
        self.diagnostics.processed()

    def _remove_unseen(self) -> None:
        """Remove all objects where no detections have come for ``keep_s``, by the node's clock, which may be paused."""
        if self._came_at is None:
            return
        now = self.get_clock().now()
        silent_s = (now - self._came_at).nanoseconds / NS_PER_S
        if silent_s < 0.0:  # the clock was set back
            self._came_at = now
        elif silent_s > self.config(PlanningSceneConfig).keep_s:
            self._send(self._objects.clear(self._attached.names))

    def _held_pose(self, message: Detection3DArray, name: str) -> Array | None:
        """Return the pose of an object in the gripper at a message's stamp; None, reported, where /tf lacks it."""
        with self.diagnostics.reporting("transform"):
            link, T_link_object = self._attached.place(name)
            return self._transforms.look_up(message.header.frame_id, link, stamp_ns(message), 0.0) @ T_link_object
        return None

    def _send(self, changes: list[Any]) -> None:
        assert self._scene is not None
        for change in changes:
            self._scene.publish(change)

    def _shape_of(self, pose: ObjectPose) -> CollisionShape:
        return self._shapes[pose.class_name]


def main() -> int:
    """Run the node alone."""
    return spin_node(PlanningSceneNode)
