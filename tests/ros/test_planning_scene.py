"""Tracked parts in MoveIt's planning scene: added with their meshes, moved, removed, and left alone while attached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from cube import make_cube
from driver import problems, start
from object_pose.core.errors import ConfigError, DataError
from object_pose.core.geometry import se3
from object_pose.io.messages import pose_from_message
from object_pose.ros.messages import interfaces
from object_pose.ros.messages.conversions import camera_transform, detections_3d_to_message, pose_to_message
from object_pose.ros.messages.images import make_header
from object_pose.ros.messages.planning_scene import BOX, HULL, MESH, AttachedObjects, collision_shape
from object_pose.ros.nodes.planning_scene_node import PlanningSceneNode
from object_pose.ros.transport import qos, topics
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find, find_model
from poses import pose_of

LIMIT_S = 60.0
messages = pytest.importorskip("moveit_msgs.msg", reason="scripts/setup planning builds it")
CARD = load_card(find_model("parts.onnx"))
ADD, REMOVE, MOVE = (getattr(messages.CollisionObject, name) for name in ("ADD", "REMOVE", "MOVE"))


# Of the released package; that of the scene covers robot states, octomaps and all that these are made of.
TYPE_HASHES = {
    "CollisionObject": "74b0acd6d56be032bf4f764b2c2633f50588b5fb2bd71e97206c59052747cf7e",
    "PlanningScene": "0f58540ad5eab4b9ea827d53b763c793d8cabd202b3b301fcee25afa4ce1bd80",
}


class MoveIt:
    """What MoveIt's scene monitor does: it hears changes, and tells what it knows."""

    def __init__(self, ros):
        self.ros = ros
        self.heard = ros.collect(messages.CollisionObject, topics.COLLISION_OBJECT, qos.PLANNING_SCENE)
        self._scene = ros.node.create_publisher(
            messages.PlanningScene, topics.MONITORED_PLANNING_SCENE, qos.PLANNING_SCENE
        )
        self._detections = ros.node.create_publisher(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
        self._stamp_ns = 10**9

    def wait_until_heard(self, limit_s=10.0):
        publishers = (self._scene, self._detections)
        connected = lambda: all(item.get_subscription_count() for item in publishers)  # noqa: E731
        self.ros.wait_for(connected, "the node's subscriptions", limit_s)
        self.ros.wait_for(lambda: self.ros.node.count_publishers("/" + topics.COLLISION_OBJECT), "the node's publisher")

    def see(self, *poses, seconds=0.1):
        """Publish what the pose node sees, a moment after the last; poses are (class id, track id, pose)."""
        self._stamp_ns += int(seconds * 1e9)
        header = make_header(self._stamp_ns, "base_link")
        found = [pose_of(CARD.objects[c], c, T, track_id=track) for c, track, T in poses]
        self._detections.publish(detections_3d_to_message(found, header))

    def attach(self, name, operation=ADD, T_tool_object=None):
        scene = messages.PlanningScene(is_diff=True)
        scene.robot_state.is_diff = True
        scene.robot_state.attached_collision_objects = [messages.AttachedCollisionObject(link_name="tool0")]
        scene.robot_state.attached_collision_objects[0].object.id = name
        scene.robot_state.attached_collision_objects[0].object.operation = operation
        if T_tool_object is not None:
            scene.robot_state.attached_collision_objects[0].object.pose = pose_to_message(T_tool_object)
        self._scene.publish(scene)

    def next(self, count):
        self.ros.wait_for(lambda: len(self.heard) >= count, f"change {count}")
        assert len(self.heard) == count
        return self.heard[-1]


def start_node(ros):
    """Start the node with a clock that stands still unless the test publishes one: stamps alone pass."""
    return start(ros, PlanningSceneNode, use_sim_time=True)


def at(x):
    return se3.make_transform(se3.exp_so3([0.0, 0.3, 0.0]), (x, 0.1, 0.02))


@pytest.mark.parametrize("name", TYPE_HASHES)
def test_stand_ins_are_the_released_types(ros, name):
    ros.node.create_publisher(getattr(messages, name), "/topic", 1)
    (info,) = ros.wait_for(lambda: ros.node.get_publishers_info_by_topic("/topic"), "discovery")
    assert str(info.topic_type_hash) == f"RIHS01_{TYPE_HASHES[name]}"


def test_parts_are_added_moved_and_removed_as_tracks_come_and_go(ros):
    node, moveit = start_node(ros), MoveIt(ros)
    moveit.wait_until_heard()
    moveit.see((0, 7, at(0.4)))
    added = moveit.next(1)
    assert (added.operation, added.id, added.header.frame_id, added.type.key) == (ADD, "gear_7", "base_link", "gear")
    np.testing.assert_allclose(pose_from_message(added.pose), at(0.4), atol=1e-12)
    (mesh,) = added.meshes
    vertices = np.array([(p.x, p.y, p.z) for p in mesh.vertices])
    np.testing.assert_allclose(np.ptp(vertices, axis=0), CARD.objects[0].box_size, atol=1e-3)
    faces = np.array([t.vertex_indices for t in mesh.triangles])
    assert faces.max() < len(vertices) and len(faces) > 500
    assert added.subframe_names[0] == "grasp_0" and len(added.subframe_poses) == len(added.subframe_names)

    moveit.see((0, 7, at(0.4005)))  # less than a planner cares for
    moveit.see((0, 7, at(0.45)), (3, 8, at(0.6)))
    moveit.next(3)
    moved, second = moveit.heard[1:]
    assert (moved.operation, moved.id, len(moved.meshes)) == (MOVE, "gear_7", 0)
    np.testing.assert_allclose(moved.pose.position.x, 0.45)
    assert (second.operation, second.id) == (ADD, "bracket_8")

    moveit.see((3, 8, at(0.6)), seconds=0.5)
    moveit.see((3, 8, at(0.6)), seconds=0.6)
    removed = moveit.next(4)
    assert (removed.operation, removed.id) == (REMOVE, "gear_7")
    node.trigger_deactivate()
    assert (moveit.next(5).operation, moveit.heard[-1].id) == (REMOVE, "bracket_8")


def test_what_the_robot_holds_is_left_alone_until_it_is_put_down(ros):
    node, moveit = start_node(ros), MoveIt(ros)
    moveit.wait_until_heard()
    moveit.see((0, 7, at(0.4)))
    moveit.next(1)
    moveit.attach("gear_7")
    ros.wait_for(lambda: node._attached.names, "the attached object")
    moveit.see((0, 7, at(0.5)))
    moveit.see(seconds=5.0)
    moveit.see((3, 8, at(0.6)))
    assert moveit.next(2).id == "bracket_8"
    moveit.attach("gear_7", REMOVE)
    ros.wait_for(lambda: not node._attached.names, "the object put down")
    moveit.see((3, 8, at(0.6)))
    assert (moveit.next(3).operation, moveit.heard[-1].id) == (REMOVE, "gear_7")


def test_a_held_part_that_gets_another_id_is_not_added_again(ros):
    node, moveit = start_node(ros), MoveIt(ros)
    moveit.wait_until_heard()
    moveit.see((0, 7, at(0.4)))
    moveit.next(1)
    T_tool_object = se3.make_transform(translation=(0.0, 0.0, 0.1))
    moveit.attach("gear_7", T_tool_object=T_tool_object)
    ros.wait_for(lambda: node._attached.names, "the attached object")
    # Where the gripper is is not known yet: no new gear is added, a bracket is.
    moveit.see((0, 12, at(0.5)), (3, 8, at(0.6)))
    assert moveit.next(2).id == "bracket_8"
    publisher = ros.node.create_publisher(TFMessage, topics.TF_STATIC, qos.FIXED_TRANSFORMS)
    T_base_tool = at(0.5) @ se3.inverse(T_tool_object)
    publisher.publish(camera_transform(T_base_tool, make_header(0, "base_link"), "tool0"))

    def heard_of(*names):
        return [(change.operation, change.id) for change in moveit.heard if change.id in names]

    def elsewhere():
        moveit.see((0, 12, at(0.505)), (0, 13, at(0.6)))
        return heard_of("gear_13")

    ros.wait_for(elsewhere, "a gear elsewhere, which waited for the transform")
    moveit.see((0, 12, at(0.55)), (3, 8, at(0.7)))  # it slips: still the one that is held
    ros.wait_for(lambda: (MOVE, "bracket_8") in heard_of("bracket_8"), "the last frame")
    moveit.attach("gear_7", REMOVE)
    ros.wait_for(lambda: not node._attached.names, "the object put down")
    moveit.see((0, 12, at(0.55)), seconds=2.0)
    ros.wait_for(lambda: len(heard_of("gear_7", "gear_12")) == 3, "the part under its new name")
    assert heard_of("gear_7", "gear_12") == [(ADD, "gear_7"), (ADD, "gear_12"), (REMOVE, "gear_7")]


def test_a_planner_that_comes_later_hears_of_everything(ros):
    start_node(ros)
    moveit = MoveIt(ros)
    moveit.wait_until_heard()
    moveit.see((0, 7, at(0.4)), (3, 8, at(0.6)))
    moveit.next(2)
    late = ros.collect(messages.CollisionObject, topics.COLLISION_OBJECT, qos.PLANNING_SCENE)
    ros.wait_for(lambda: ros.node.count_subscribers("/" + topics.COLLISION_OBJECT) == 2, "the second planner")

    def heard():
        moveit.see((0, 7, at(0.4)), seconds=0.001)
        return late

    ros.wait_for(heard, "the object")
    assert late[0].operation == ADD
    # The first planner knows a part that was not seen since.
    assert not [change for change in moveit.heard if change.operation == REMOVE]
    moveit.see((0, 7, at(0.4)), seconds=2.0)
    removed = lambda: [change.id for change in moveit.heard if change.operation == REMOVE]  # noqa: E731
    assert ros.wait_for(removed, "the removal") == ["bracket_8"]


def test_parts_are_removed_where_no_frames_come_any_more(ros):
    node, moveit = start_node(ros), MoveIt(ros)
    moveit.wait_until_heard()
    clock = ros.node.create_publisher(Clock, "/clock", 1)

    def set_clock(seconds):
        message = Clock(clock=make_header(seconds * 10**9, "").stamp)
        is_set = lambda: node.get_clock().now().nanoseconds == seconds * 10**9  # noqa: E731
        ros.wait_for(lambda: clock.publish(message) or is_set(), "the clock")

    set_clock(100)
    moveit.see((0, 7, at(0.4)))
    moveit.next(1)
    set_clock(90)  # a recording that loops
    moveit.see((3, 8, at(0.6)))
    assert moveit.next(2).id == "bracket_8"
    set_clock(92)
    moveit.next(4)
    assert [change.operation for change in moveit.heard[2:]] == [REMOVE, REMOVE]
    assert {change.id for change in moveit.heard[2:]} == {"gear_7", "bracket_8"}
    moveit.see((0, 7, at(0.4)))
    assert (moveit.next(5).operation, moveit.heard[-1].id) == (ADD, "gear_7")


def test_detections_of_another_publisher_have_no_ids_and_end_nothing(ros):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    _, moveit = start_node(ros), MoveIt(ros)
    moveit.wait_until_heard()
    foreign = ros.node.create_publisher(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    ros.wait_for(foreign.get_subscription_count, "the node's subscription")
    message = detections_3d_to_message([pose_of(CARD.objects[0], 0, at(0.4), track_id=1)], make_header(1, "base_link"))
    message.detections[0].id = "part-a"

    def told():
        foreign.publish(message)
        return "objects without ids" in str(problems(diagnostics, "planning_scene_node"))

    ros.wait_for(told, "the reason")
    moveit.see((0, 7, at(0.4)))
    assert moveit.next(1).id == "gear_7"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_program_that_is_ended_removes_what_it_added(ros, domain_id, tmp_path, number):
    variables = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(tmp_path / "log")}
    command = [sys.executable, "-m", PlanningSceneNode.__module__, "--ros-args", "-p", "use_sim_time:=true"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    try:
        moveit = MoveIt(ros)
        moveit.wait_until_heard(LIMIT_S)
        moveit.see((0, 7, at(0.4)))
        moveit.next(1)
        process.send_signal(number)
        assert (moveit.next(2).operation, moveit.heard[-1].id) == (REMOVE, "gear_7")
        output, _ = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert "Traceback" not in output


def test_whole_scenes_and_changes_of_the_world_say_what_is_attached():
    attached, scene = AttachedObjects(), messages.PlanningScene()
    scene.robot_state.attached_collision_objects = [messages.AttachedCollisionObject()]
    scene.robot_state.attached_collision_objects[0].object.id = "gear_1"
    attached.update(scene)
    attached.update(messages.PlanningScene(is_diff=True))
    assert attached.names == {"gear_1"}
    attached.update(messages.PlanningScene())
    assert attached.names == frozenset()


def test_shapes_get_simpler_and_a_mesh_of_another_part_is_refused(tmp_path):
    gear = CARD.objects[0]
    file = find("models", "meshes/gear.stl")
    triangles = [len(collision_shape(gear, shape, file).meshes[0].triangles) for shape in (MESH, HULL)]
    assert triangles[1] < triangles[0]
    (box,) = collision_shape(gear, BOX, file).primitives
    np.testing.assert_allclose(box.dimensions, gear.box_size)
    hull = collision_shape(make_cube(), MESH, None).meshes[0]
    assert len(hull.triangles) >= 12
    with pytest.raises(DataError, match="is it the mesh that the model was made of"):
        collision_shape(CARD.objects[3], MESH, file)


def test_without_moveit_the_node_says_what_to_do(ros, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(interfaces, "import_module", missing)
    with pytest.raises(ConfigError, match="moveit_msgs is not installed"):
        start(ros, PlanningSceneNode)
