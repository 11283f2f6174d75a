"""Poses as RViz markers: box, axes, CAD mesh and name, deleted when the object goes."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose
from object_pose.ros.messages.conversions import pose_to_message
from object_pose.runtime.resources import folders

_NAMESPACES = ("box", "axes", "mesh", "name")
_RED, _GREEN, _BLUE = (
    ColorRGBA(r=1.0, a=1.0),
    ColorRGBA(g=1.0, a=1.0),
    ColorRGBA(b=1.0, a=1.0),
)
_LINE_WIDTH_M = 0.0015
_TEXT_HEIGHT_M = 0.012


class MarkerBoard:
    """Turns each frame's poses into markers and remembers what it drew, so that it can delete it.

    ``mesh_uri`` names a class's CAD mesh as a URI that RViz opens, '' where there is none.
    """

    def __init__(self, mesh_uri: Callable[[str], str]) -> None:
        self._mesh_uri = mesh_uri
        self._drawn: set[tuple[str, int]] = set()

    def update(self, poses: Sequence[ObjectPose], header: Header) -> MarkerArray:
        """Return what to add and what to delete for these poses."""
        markers = [
            marker
            for index, pose in enumerate(poses)
            for marker in self._object(pose, pose.track_id if pose.track_id >= 0 else index, header)
        ]
        drawn = {(marker.ns, marker.id) for marker in markers}
        gone = [_delete(namespace, number, header) for namespace, number in sorted(self._drawn - drawn)]
        self._drawn = drawn
        return MarkerArray(markers=gone + markers)

    def _object(self, pose: ObjectPose, number: int, header: Header) -> list[Marker]:
        box, axes, mesh, name = (
            Marker(header=header, ns=namespace, id=number, action=Marker.ADD) for namespace in _NAMESPACES
        )
        color = _color(pose.class_id)
        T_camera_box = pose.T_camera_object @ se3.make_transform(translation=pose.box_center)
        box.type, box.pose, box.color = Marker.CUBE, pose_to_message(T_camera_box), ColorRGBA(**color, a=0.25)
        box.scale = Vector3(**dict(zip("xyz", pose.box_size.tolist())))
        axes.type, axes.pose, axes.scale = (
            Marker.LINE_LIST,
            pose_to_message(pose.T_camera_object),
            Vector3(x=_LINE_WIDTH_M),
        )
        length = float(np.max(pose.box_size)) * 0.75
        for axis, axis_color in zip("xyz", (_RED, _GREEN, _BLUE)):
            axes.points += [Point(), Point(**{axis: length})]
            axes.colors += [axis_color, axis_color]
        name.type, name.pose, name.text = Marker.TEXT_VIEW_FACING, pose_to_message(T_camera_box), pose.class_name
        name.scale, name.color = Vector3(z=_TEXT_HEIGHT_M), ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        uri = self._mesh_uri(pose.class_name)
        if not uri:
            return [box, axes, name]
        mesh.type, mesh.pose, mesh.mesh_resource = Marker.MESH_RESOURCE, axes.pose, uri
        mesh.scale, mesh.color = Vector3(x=1.0, y=1.0, z=1.0), ColorRGBA(**color, a=0.8)
        return [box, axes, mesh, name]


def mesh_uri(class_name: str) -> str:
    """Return where the CAD mesh of a shipped object is, '' for others."""
    found = (mesh_file(folder / "meshes", class_name) for folder in folders("models"))
    return next((path.resolve().as_uri() for path in found if path), "")


def mesh_file(folder: Path, class_name: str) -> Path | None:
    """Return the file of a class's CAD mesh in a folder, None where there is none."""
    return next(iter(sorted(folder.glob(f"{glob.escape(class_name)}.*"))), None)


def _delete(namespace: str, number: int, header: Header) -> Marker:
    return Marker(header=header, ns=namespace, id=number, action=Marker.DELETE)


def _color(class_id: int) -> dict[str, float]:
    """Return a colour per class, far from its neighbours'."""
    hue = (class_id * 0.61803398875) % 1.0
    red, green, blue = np.clip(np.abs((hue * 6.0 + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0).tolist()
    return {"r": red, "g": green, "b": blue}
