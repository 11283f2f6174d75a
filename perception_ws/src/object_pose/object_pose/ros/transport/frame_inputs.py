"""What a node reads of a frame: its streams, watched and brought together by stamp, and depth and camera, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from object_pose_msgs.msg import KeypointDetectionArray
from sensor_msgs.msg import CameraInfo, Image

from object_pose.core.arrays import DepthImage
from object_pose.core.arrays import Image as RgbImage
from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.frame import AlignedDepth
from object_pose.core.geometry.camera import Camera
from object_pose.core.params import parameter
from object_pose.io.camera_info import info_from_message
from object_pose.io.messages import depth_from_message, image_from_message, stamp_ns
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.inputs import WatchedInput
from object_pose.ros.transport.pairing import FramePairer, PairedSet

COLOR, DEPTH, CAMERA_INFO, DETECTIONS = "color", "depth", "camera_info", "detections"
_STREAMS = {
    COLOR: (Image, topics.COLOR, qos.SENSOR_INPUT),
    DEPTH: (Image, topics.DEPTH, qos.SENSOR_INPUT),
    CAMERA_INFO: (CameraInfo, topics.CAMERA_INFO, qos.SMALL_INPUT),
    DETECTIONS: (KeypointDetectionArray, topics.KEYPOINTS, qos.SMALL_INPUT),
}


@dataclass(frozen=True)
class FrameInputsConfig:
    """How a node listens to the streams of a frame."""

    pair_tolerance_ms: float = parameter(
        2.0, "stamps of one frame may differ by this much", minimum=0.0, maximum=100.0, read_only=True
    )
    input_reliability: str = parameter(
        "best_effort", "QoS of the subscriptions", choices=("best_effort", "reliable"), read_only=True
    )
    rectified: bool = parameter(
        False, "the images are rectified: camera_info's P is theirs, not K and D", read_only=True
    )

    @property
    def pair_tolerance_ns(self) -> int:
        """The tolerance as stamps are."""
        return int(self.pair_tolerance_ms * 1e6)


class FrameInputs:
    """Watches streams for a node and offers what belongs together, as ``pairer`` finds it."""

    def __init__(
        self, node: PipelineNode, config: FrameInputsConfig, pairer: FramePairer, offer: Callable[[PairedSet], None]
    ) -> None:
        self._node = node
        self._reliability = config.input_reliability
        self._pairer = pairer
        self._offer = offer

    @property
    def lost(self) -> int:
        """Frames so far that found no required partner."""
        return self._pairer.lost

    def watch(self, stream: str) -> WatchedInput:
        """Subscribe to a stream, until the node is deactivated or does not watch it any more."""
        message_type, topic, profile = _STREAMS[stream]

        def receive(message: Any) -> None:
            self._offer_all(self._pairer.add(stream, stamp_ns(message), message))

        return self._node.watch(message_type, topic, receive, qos.input_profile(self._reliability, profile))

    def forget(self, stream: str) -> None:
        """Wait no longer for a stream that is not watched any more."""
        self._offer_all(self._pairer.forget(stream))

    def report_mismatches(self) -> None:
        """Report streams that come but whose stamps never meet."""
        for stream in self._pairer.partners:
            if reason := self._pairer.explain(stream):
                self._node.diagnostics.problem("pairing", reason)

    def _offer_all(self, sets: list[PairedSet]) -> None:
        for paired in sets:
            self._offer(paired)


def read_camera(message: CameraInfo, image_wh: tuple[int, int], rectified: bool = False) -> Camera:
    """Return the camera of a raw or ``rectified`` image.

    Raises ``CalibrationError`` where it is impossible or of another size than the image.
    """
    camera = info_from_message(message).camera(rectified)
    if camera.wh != image_wh:
        raise CalibrationError(
            f"camera_info is for {camera.width}x{camera.height}, the image has {image_wh[0]}x{image_wh[1]}",
            "publish the intrinsics of this resolution",
        )
    return camera


def read_depth(paired: PairedSet, camera: Camera) -> DepthImage | None:
    """Return depth in metres, None while there is no depth camera.

    Raises ``DataError`` where it is lost, or of an encoding, a size or a content that is of no use.
    """
    message = _partner(paired, DEPTH)
    if message is None:
        return None
    depth_m = depth_from_message(message)
    if depth_m.shape != (camera.height, camera.width):
        raise DataError(
            f"depth is {message.width}x{message.height}, the colour image {camera.width}x{camera.height}",
            "publish depth aligned to colour (realsense-ros: align_depth.enable:=true)",
        )
    if not depth_m.any():
        raise DataError("depth has no valid pixel", "is the object nearer than the sensor's minimum, the emitter off?")
    return depth_m


def read_color(paired: PairedSet, camera: Camera) -> RgbImage | None:
    """Return the colour image, None while it is not watched; raises ``DataError`` where it is lost or of no use."""
    message = _partner(paired, COLOR)
    if message is None:
        return None
    if (message.width, message.height) != camera.wh:
        raise DataError(
            f"the colour image is {message.width}x{message.height}, the camera {camera.width}x{camera.height}"
        )
    return image_from_message(message)


def read_aligned_depth(paired: PairedSet, image_wh: tuple[int, int], rectified: bool = False) -> AlignedDepth | None:
    """Return depth with its camera; None and errors as in ``read_camera`` and ``read_depth``."""
    message = _partner(paired, CAMERA_INFO)
    if message is None:
        return None
    camera = read_camera(message, image_wh, rectified)
    depth_m = read_depth(paired, camera)
    return None if depth_m is None else AlignedDepth(depth_m, camera)


def _partner(paired: PairedSet, stream: str) -> Any:
    """Return a message of an optional stream, None while none has ever come: the topic's silence is reported then."""
    if stream in paired.missing:
        raise DataError(f"{stream} did not come with the image", "lost on the way, or its stamp is another")
    return paired.messages.get(stream)
