"""What was found in a recording as a recording: pictures with the poses drawn, detections and markers for Foxglove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.core.frame import NS_PER_S, Frame
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose
from object_pose.core.vision.drawing import class_color
from object_pose.io.bags import BagWriter, make_typestore, write_bag
from object_pose.io.camera_info import info_of_camera, message_fields
from object_pose.io.images import encode_image

PICTURES = "/annotated/image/compressed"
CAMERA_INFO = "/annotated/camera_info"
DETECTIONS = "/detections_3d"
MARKERS = "/object_markers"
_JPEG_QUALITY = 85
_CUBE, _TEXT, _DELETE_ALL = 1, 9, 3
_TEXT_HEIGHT_M = 0.012


@dataclass(frozen=True)
class _Shape:
    """What a marker shows: its kind, where and how large (metres) in the camera's frame, its colour and text."""

    kind: int
    T_camera_shape: Array
    size: Array
    color: Sequence[int]
    text: str = ""


_NOTHING = _Shape(_CUBE, np.eye(4), np.zeros(3), (0, 0, 0))


class AnnotatedBagWriter:
    """Adds frames with what was found in them; see ``annotated_bag``."""

    def __init__(self, bag: BagWriter, frame_id: str) -> None:
        self._bag = bag
        self._types = bag.store.types
        self._frame_id = frame_id

    def write(self, frame: Frame, poses: Sequence[ObjectPose], picture: Image) -> None:
        """Add a frame: its ``picture`` (H, W, 3) with the poses drawn, its camera, and the poses."""
        stamp = self._make("builtin_interfaces/msg/Time", *divmod(frame.stamp_ns, NS_PER_S))
        header = self._make("std_msgs/msg/Header", stamp, self._frame_id)
        jpeg = np.frombuffer(encode_image(picture, ".jpg", _JPEG_QUALITY), np.uint8)
        fields = message_fields(info_of_camera(frame.camera), self._types["sensor_msgs/msg/RegionOfInterest"])
        messages = (
            (PICTURES, self._make("sensor_msgs/msg/CompressedImage", header, "jpeg", jpeg)),
            (CAMERA_INFO, self._types["sensor_msgs/msg/CameraInfo"](header=header, **fields)),
            (DETECTIONS, self._detections(header, poses)),
            (MARKERS, self._markers(header, poses)),
        )
        for topic, message in messages:
            self._bag.write(topic, message.__msgtype__, frame.stamp_ns, message)

    def _make(self, name: str, *values: Any) -> Any:
        return self._types[name](*values)

    def _vector(self, values: Array) -> Any:
        return self._make("geometry_msgs/msg/Vector3", *map(float, values))

    def _pose(self, transform: Array) -> Any:
        w, x, y, z = se3.quat_wxyz_from_rotation(transform[:3, :3]).tolist()
        point = self._make("geometry_msgs/msg/Point", *transform[:3, 3].tolist())
        return self._make("geometry_msgs/msg/Pose", point, self._make("geometry_msgs/msg/Quaternion", x, y, z, w))

    def _detections(self, header: Any, poses: Sequence[ObjectPose]) -> Any:
        found = []
        for pose in poses:
            with_covariance = self._make(
                "geometry_msgs/msg/PoseWithCovariance", self._pose(pose.T_camera_object), pose.covariance.ravel()
            )
            hypothesis = self._make("vision_msgs/msg/ObjectHypothesis", pose.class_name, float(pose.score))
            result = self._make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis, with_covariance)
            box = self._make("vision_msgs/msg/BoundingBox3D", self._pose(_box_pose(pose)), self._vector(pose.box_size))
            number = str(pose.track_id) if pose.track_id >= 0 else ""
            found.append(self._make("vision_msgs/msg/Detection3D", header, [result], box, number))
        return self._make("vision_msgs/msg/Detection3DArray", header, found)

    def _markers(self, header: Any, poses: Sequence[ObjectPose]) -> Any:
        markers = [self._marker(header, "", 0, _NOTHING, _DELETE_ALL)]
        for index, pose in enumerate(poses):
            color, place = class_color(pose.class_id), _box_pose(pose)
            text = f"{pose.class_name} {pose.score:.2f}"
            height = np.array([0.0, 0.0, _TEXT_HEIGHT_M])
            markers.append(self._marker(header, "box", index, _Shape(_CUBE, place, pose.box_size, color)))
            markers.append(self._marker(header, "name", index, _Shape(_TEXT, place, height, (255, 255, 255), text)))
        return self._make("visualization_msgs/msg/MarkerArray", markers)

    def _marker(self, header: Any, namespace: str, number: int, shape: _Shape, action: int = 0) -> Any:
        """Return a marker; the fields that we do not use are empty."""
        types = self._types
        zero = self._make("builtin_interfaces/msg/Duration", 0, 0)
        rgba = self._make(
            "std_msgs/msg/ColorRGBA", *(value / 255.0 for value in shape.color), 1.0 if shape.text else 0.4
        )
        empty = np.zeros(0, dtype=np.uint8)
        now = self._make("builtin_interfaces/msg/Time", 0, 0)
        texture = types["sensor_msgs/msg/CompressedImage"](self._make("std_msgs/msg/Header", now, ""), "", empty)
        mesh = types["visualization_msgs/msg/MeshFile"]("", empty)
        return types["visualization_msgs/msg/Marker"](
            header=header,
            ns=namespace,
            id=number,
            type=shape.kind,
            action=action,
            pose=self._pose(shape.T_camera_shape),
            scale=self._vector(shape.size),
            color=rgba,
            lifetime=zero,
            frame_locked=False,
            points=[],
            colors=[],
            texture_resource="",
            texture=texture,
            uv_coordinates=[],
            text=shape.text,
            mesh_resource="",
            mesh_file=mesh,
            mesh_use_embedded_materials=False,
        )


@contextmanager
def annotated_bag(path: str | Path, frame_id: str = "camera_color_optical_frame") -> Iterator[AnnotatedBagWriter]:
    """Write an mcap bag of annotated frames, which appears when the block ends well."""
    with write_bag(path, make_typestore()) as bag:
        yield AnnotatedBagWriter(bag, frame_id)


def _box_pose(pose: ObjectPose) -> Array:
    """Return where the object's box lies, in the camera's frame."""
    return pose.T_camera_object @ se3.make_transform(translation=pose.box_center)
