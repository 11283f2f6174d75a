"""What the messages of a frame carry, checked: its camera, colour, depth and detections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from object_pose_msgs.msg import KeypointDetectionArray

from object_pose.core.arrays import DepthImage
from object_pose.core.arrays import Image as RgbImage
from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.frame import AlignedDepth
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.detections import Detections
from object_pose.io.camera_info import CameraInfo
from object_pose.io.messages import depth_from_message, image_from_message
from object_pose.ros.diagnostics import NodeDiagnostics
from object_pose.ros.messages.conversions import keypoints_from_message
from object_pose.ros.transport.frame_inputs import CAMERA_INFO, COLOR, DEPTH, DEPTH_SOURCE, FrameInputsConfig
from object_pose.ros.transport.pairing import PairedSet
from object_pose.runtime.card import ModelCard


@dataclass(frozen=True)
class PairedFrame:
    """A ``CameraFrame`` of messages; colour is decoded when it is first asked for.

    Depth or colour that is lost or of no use is None, and a problem of ``diagnostics``.
    """

    paired: PairedSet
    camera: Camera
    depth_scale: float
    diagnostics: NodeDiagnostics

    @property
    def stamp_ns(self) -> int:
        """The stamp of the stream that anchors the set."""
        return self.paired.stamp_ns

    @cached_property
    def depth_m(self) -> DepthImage | None:
        """Depth (H, W) in metres."""
        with self.diagnostics.reporting("depth"):
            return read_depth(self.paired, self.camera, self.depth_scale)
        return None

    @cached_property
    def rgb(self) -> RgbImage | None:
        """The colour image (H, W, 3)."""
        with self.diagnostics.reporting("color"):
            return read_color(self.paired, self.camera)
        return None


def read_detections(message: KeypointDetectionArray, card: ModelCard) -> Detections:
    """Return the detections; raises ``DataError`` where their classes or keypoints are not the model's."""
    hint = "detection and pose node must use the same model file"
    for item in message.detections:
        if not 0 <= item.class_id < len(card.labels) or item.class_name != card.labels[item.class_id]:
            problem = f"class {item.class_id} '{item.class_name}' is detected, the model has {list(card.labels)}"
            raise DataError(problem, hint)
    try:
        return keypoints_from_message(message, card.keypoint_count)
    except ValueError as error:
        raise DataError(str(error), hint) from error


def raw_image_wh(message: Any) -> tuple[int, int] | None:
    """Return the size of an image, None of one that is compressed."""
    return (message.width, message.height) if hasattr(message, "width") else None


def read_camera(info: CameraInfo, image_wh: tuple[int, int] | None, rectified: bool = False) -> Camera:
    """Return the camera of a raw or ``rectified`` image, whose size is compared where it is known.

    Raises ``CalibrationError`` where it is impossible or of another size than the image.
    """
    camera = info.camera(rectified)
    if image_wh is not None and camera.wh != image_wh:
        raise CalibrationError(
            f"camera_info is for {camera.width}x{camera.height}, the image has {image_wh[0]}x{image_wh[1]}",
            "publish the intrinsics of this resolution",
        )
    return camera


def read_depth(paired: PairedSet, camera: Camera, depth_scale: float = 1.0) -> DepthImage | None:
    """Return depth in metres, of 16-bit counts of ``depth_scale`` millimetres; None while there is no depth camera.

    Raises ``DataError`` where it is lost, or of an encoding, a size or a content that is of no use.
    """
    message = _partner(paired, DEPTH)
    if message is None:
        return None
    depth_m, source = depth_from_message(message, depth_scale * 1e-3), paired.messages.get(DEPTH_SOURCE)
    if isinstance(source, DataError):
        raise source
    if source is not None:
        depth_m = source.registered(depth_m, camera)
    if depth_m.shape != (camera.height, camera.width):
        raise DataError(
            f"depth is {depth_m.shape[1]}x{depth_m.shape[0]}, the colour image {camera.width}x{camera.height}",
            "publish depth aligned to colour (realsense-ros: align_depth.enable:=true), or set register_depth",
        )
    if not depth_m.any():
        raise DataError("depth has no valid pixel", "is the object nearer than the sensor's minimum, the emitter off?")
    return depth_m


def read_color(paired: PairedSet, camera: Camera) -> RgbImage | None:
    """Return the colour image, None while it is not watched; raises ``DataError`` where it is lost or of no use."""
    message = _partner(paired, COLOR)
    if message is None:
        return None
    rgb = image_from_message(message)
    height, width = rgb.shape[:2]
    if (width, height) != camera.wh:
        raise DataError(f"the colour image is {width}x{height}, the camera {camera.width}x{camera.height}")
    return rgb


def read_aligned_depth(paired: PairedSet, image_wh: tuple[int, int], config: FrameInputsConfig) -> AlignedDepth | None:
    """Return depth with its camera; None and errors as in ``read_camera`` and ``read_depth``."""
    info = paired.messages.get(CAMERA_INFO)
    if info is None:
        return None
    camera = read_camera(info, image_wh, config.rectified)
    depth_m = read_depth(paired, camera, config.depth_scale)
    return None if depth_m is None else AlignedDepth(depth_m, camera)


def _partner(paired: PairedSet, stream: str) -> Any:
    """Return a message of an optional stream, None while none has ever come: the topic's silence is reported then."""
    if stream in paired.missing:
        raise DataError(f"{stream} did not come with the image", "lost on the way, or its stamp is another")
    return paired.messages.get(stream)
