"""Tracked objects as collision objects of MoveIt's planning scene: added, moved and removed as tracks come and go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose
from numpy.typing import NDArray
from rclpy.time import Time
from scipy.spatial import ConvexHull
from shape_msgs.msg import Mesh, MeshTriangle, SolidPrimitive
from std_msgs.msg import Header

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose
from object_pose.io.grasps import Grasp
from object_pose.io.messages import pose_from_message
from object_pose.ros.messages.conversions import pose_to_message
from object_pose.ros.messages.interfaces import optional_interface
from object_pose.simulation.parts.mesh_files import read_mesh

MESH, HULL, BOX = "mesh", "hull", "box"
SHAPES = (MESH, HULL, BOX)
_UNITS_M = (1.0, 1e-3)  # of mesh files
_SAME_SIZE = 0.03  # of an object's diameter by which its mesh may be larger or smaller


@dataclass(frozen=True)
class CollisionShape:
    """The shape of a class relative to the object's frame: meshes or primitives with their poses, and named frames."""

    meshes: Sequence[Mesh]
    primitives: Sequence[SolidPrimitive]
    poses: Sequence[Pose]
    frames: Mapping[str, Pose]


def collision_shape(
    model: ObjectModel, shape: str, mesh_file: Path | None, grasps: Sequence[Grasp] = ()
) -> CollisionShape:
    """Return one of ``SHAPES`` of a class; where it has no mesh file, its surface points' hull stands for the mesh.

    Grasps become named frames 'grasp_0', 'grasp_1', ..., by which MoveIt plans. Raises ``DataError`` for a mesh file of
    another size than the object.
    """
    frames = {f"grasp_{index}": pose_to_message(grasp.T_object_grasp) for index, grasp in enumerate(grasps)}
    if shape == BOX:
        box = SolidPrimitive(type=SolidPrimitive.BOX, dimensions=model.box_size.tolist())
        return CollisionShape((), (box,), (pose_to_message(se3.make_transform(translation=model.box_center)),), frames)
    vertices, faces = _hull(model) if mesh_file is None else _mesh(model, mesh_file)
    if shape == HULL and mesh_file is not None:
        hull = ConvexHull(vertices)
        vertices, faces = _compact(vertices, hull.simplices)
    mesh = Mesh(
        triangles=[MeshTriangle(vertex_indices=face) for face in np.asarray(faces, dtype=np.uint32)],
        vertices=[Point(x=x, y=y, z=z) for x, y, z in vertices.tolist()],
    )
    return CollisionShape((mesh,), (), (Pose(),), frames)


class CollisionObjects:
    """Turns the poses of each frame into changes of the planning scene, and remembers what it told.

    An object that the robot holds is left alone, also where tracking gives it another id: a new object of its class
    within ``held_within_m`` of it is that one, until it is put down. One that has not been seen for ``keep_s`` is
    removed, one that has moved by less than ``min_move_m`` and ``min_turn_rad`` is not sent again.
    """

    def __init__(
        self,
        shape_of: Callable[[ObjectPose], CollisionShape],
        keep_s: float,
        min_move_m: float,
        min_turn_rad: float,
        held_within_m: float,
    ) -> None:
        self._shape_of = shape_of
        self._keep_ns = int(keep_s * 1e9)
        self._least = min_move_m, min_turn_rad
        self._held_within_m = held_within_m
        self._messages = optional_interface("moveit_msgs.msg")
        self._told: dict[str, _Told] = {}
        self._held_as: dict[str, str] = {}

    def update(
        self,
        poses: Sequence[ObjectPose],
        header: Header,
        attached: Collection[str] = (),
        attached_pose: Callable[[str], Array | None] = lambda name: None,
    ) -> list[Any]:
        """Return the ``moveit_msgs/CollisionObject`` messages that a frame asks for, in the header's frame.

        ``attached_pose`` gives the pose of an attached object in that frame at the header's stamp, None where it is
        not known: then new objects of its class wait.
        """
        now_ns, kind = Time.from_msg(header.stamp).nanoseconds, self._messages.CollisionObject
        found: list[Any] = []
        for pose in poses:
            if pose.track_id < 0:
                continue
            name = f"{pose.class_name}_{pose.track_id}"
            told = self._told.get(name)
            if told is not None:
                told.seen_ns = now_ns
            if name in attached or (told is None and self._is_held(name, pose, attached, attached_pose)):
                continue
            if told is None or told.frame_id != header.frame_id or not told.is_known:
                found.append(self._added(name, pose, header))
            elif self._has_moved(told.pose, pose.T_camera_object):
                found.append(
                    kind(header=header, id=name, pose=pose_to_message(pose.T_camera_object), operation=kind.MOVE)
                )
            else:
                continue
            self._told[name] = _Told(pose.T_camera_object, header.frame_id, now_ns)
        gone = [
            name
            for name, told in self._told.items()
            if name not in attached and abs(now_ns - told.seen_ns) > self._keep_ns
        ]
        return found + self._removed(gone, header)

    def clear(self, attached: Collection[str] = ()) -> list[Any]:
        """Return what removes every object that the robot does not hold; the next frame that shows one adds it anew."""
        names = [name for name in self._told if name not in attached]
        return self._removed(names, Header())

    def tell_anew(self) -> None:
        """Add every object anew when it is next seen: one who listens has not heard of them, others may have."""
        for told in self._told.values():
            told.is_known = False

    def _is_held(
        self,
        name: str,
        pose: ObjectPose,
        attached: Collection[str],
        attached_pose: Callable[[str], Array | None],
    ) -> bool:
        """Whether a new object is one that the robot holds, or may be."""
        if self._held_as.get(name) in attached:
            return True
        for held in attached:
            if held.rpartition("_")[0] != pose.class_name:
                continue
            T_frame_held = attached_pose(held)
            if T_frame_held is None:
                return True
            if np.linalg.norm(T_frame_held[:3, 3] - pose.T_camera_object[:3, 3]) <= self._held_within_m:
                self._held_as[name] = held
                return True
        return False

    def _added(self, name: str, pose: ObjectPose, header: Header) -> Any:
        shape, kind = self._shape_of(pose), self._messages.CollisionObject
        message = kind(header=header, id=name, pose=pose_to_message(pose.T_camera_object), operation=kind.ADD)
        message.type.key = pose.class_name
        message.meshes, message.primitives = list(shape.meshes), list(shape.primitives)
        message.mesh_poses = list(shape.poses) if shape.meshes else []
        message.primitive_poses = list(shape.poses) if shape.primitives else []
        message.subframe_names, message.subframe_poses = list(shape.frames), list(shape.frames.values())
        return message

    def _removed(self, names: Sequence[str], header: Header) -> list[Any]:
        kind = self._messages.CollisionObject
        for name in names:
            header = Header(stamp=header.stamp, frame_id=self._told.pop(name).frame_id)
        return [kind(header=header, id=name, operation=kind.REMOVE) for name in names]

    def _has_moved(self, before: Array, after: Array) -> bool:
        shift = float(np.linalg.norm(after[:3, 3] - before[:3, 3]))
        return shift > self._least[0] or se3.rotation_angle(before[:3, :3], after[:3, :3]) > self._least[1]


@dataclass
class _Told:
    """What the planning scene knows of an object; where it is not ``is_known``, not all who listen do."""

    pose: Array
    frame_id: str
    seen_ns: int
    is_known: bool = True


class AttachedObjects:
    """The objects that the robot holds by name, from MoveIt's ``PlanningScene`` messages, whole ones and changes."""

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}

    @property
    def names(self) -> frozenset[str]:
        """The names of what is held."""
        return frozenset(self._objects)

    def place(self, name: str) -> tuple[str, Array]:
        """Return the frame in which an object is held, and T_frame_object; raises ``DataError`` for an invalid one."""
        held = self._objects[name]
        return held.object.header.frame_id or held.link_name, pose_from_message(held.object.pose)

    def update(self, scene: Any) -> None:
        """Take up one message."""
        objects = dict(self._objects) if scene.is_diff and scene.robot_state.is_diff else {}
        if scene.is_diff and not scene.robot_state.is_diff and not scene.robot_state.attached_collision_objects:
            return  # a change of the world alone
        for item in scene.robot_state.attached_collision_objects:
            if item.object.operation == type(item.object).REMOVE:
                objects.pop(item.object.id, None)
            else:
                objects[item.object.id] = item
        self._objects = objects


def _hull(model: ObjectModel) -> tuple[Array, NDArray[Any]]:
    points = model.surface_object if len(model.surface_object) else model.points_object
    return _compact(points, ConvexHull(points).simplices)


def _mesh(model: ObjectModel, file: Path) -> tuple[Array, NDArray[Any]]:
    mesh = read_mesh(file).mesh
    vertices = np.asarray(mesh.vertices, dtype=np.float64)
    size = np.ptp(vertices, axis=0)
    for unit_m in _UNITS_M:
        if np.abs(size * unit_m - model.box_size).max() < _SAME_SIZE * model.diameter:
            return vertices * unit_m, np.asarray(mesh.faces)
    raise DataError(
        f"{file} is {' x '.join(f'{side:g}' for side in size)}, and '{model.name}' "
        f"{' x '.join(f'{side:.4f}' for side in model.box_size)} m",
        "is it the mesh that the model was made of, in metres or millimetres?",
    )


def _compact(vertices: Array, faces: NDArray[Any]) -> tuple[Array, NDArray[Any]]:
    """Return the vertices that faces use, and the faces of these."""
    used, numbers = np.unique(faces, return_inverse=True)
    return vertices[used], np.reshape(numbers, faces.shape)
