"""Camera frames in bags: colour, depth and camera_info, joined by their stamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.io.bags import BagWriter, read_bag
from object_pose.io.camera_info import info_from_message, info_of_camera, message_fields
from object_pose.io.images import depth_in_millimetres
from object_pose.io.messages import depth_from_message, image_from_message, stamp_ns
from object_pose.io.pairing import StampPairer

_OPTICAL_FRAME = "camera_color_optical_frame"


@dataclass(frozen=True)
class FrameTopics:
    """Where a camera's images are; realsense-ros names by default. Without ``depth`` frames are colour only."""

    color: str = "/camera/camera/color/image_raw"
    depth: str = "/camera/camera/aligned_depth_to_color/image_raw"
    camera_info: str = "/camera/camera/color/camera_info"


def read_bag_frames(path: str | Path, topics: FrameTopics | None = None, tolerance_ns: int = 0) -> Iterator[Frame]:
    """Yield the frames of a bag; messages whose stamps have no partner within ``tolerance_ns`` are left out.

    Raises ``DataError`` when a topic is missing, a size differs, or no set of messages belongs together.
    """
    topics = topics or FrameTopics()
    streams = [topic for topic in (topics.color, topics.depth, topics.camera_info) if topic]
    pairer = StampPairer(streams, tolerance_ns, capacity=30)
    count = 0
    for topic, _, message in read_bag(path, streams):
        joined = pairer.add(topic, stamp_ns(message), message)
        if joined:
            count += 1
            yield _frame(path, joined, topics)
    if count == 0:
        raise DataError(f"bag {path} has no frames whose stamps agree on {', '.join(streams)}", "raise the tolerance")


def write_frame(
    bag: BagWriter, frame: Frame, topics: FrameTopics | None = None, frame_id: str = _OPTICAL_FRAME
) -> None:
    """Add a frame to a bag as the three messages of a camera, all with the frame's stamp."""
    topics = topics or FrameTopics()
    types = bag.store.types
    seconds, nanoseconds = divmod(frame.stamp_ns, 1_000_000_000)
    stamp = types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    header = types["std_msgs/msg/Header"](stamp, frame_id)

    def image(encoding: str, pixels: Any) -> Any:
        height, width = pixels.shape[:2]
        data = np.ascontiguousarray(pixels).view(np.uint8).ravel()
        step = data.size // height
        return types["sensor_msgs/msg/Image"](header, height, width, encoding, 0, step, data)

    bag.write(topics.color, "sensor_msgs/msg/Image", frame.stamp_ns, image("rgb8", frame.rgb))
    if frame.depth_m is not None:
        depth = image("16UC1", depth_in_millimetres(frame.depth_m))
        bag.write(topics.depth, "sensor_msgs/msg/Image", frame.stamp_ns, depth)
    fields = message_fields(info_of_camera(frame.camera), types["sensor_msgs/msg/RegionOfInterest"])
    info = types["sensor_msgs/msg/CameraInfo"](header=header, **fields)
    bag.write(topics.camera_info, "sensor_msgs/msg/CameraInfo", frame.stamp_ns, info)


def _frame(path: str | Path, joined: dict[str, Any], topics: FrameTopics) -> Frame:
    color = joined[topics.color]
    depth_m = depth_from_message(joined[topics.depth]) if topics.depth else None
    try:
        return Frame(
            image_from_message(color), info_from_message(joined[topics.camera_info]).camera(), depth_m, stamp_ns(color)
        )
    except ValueError as error:
        raise DataError(f"bag {path}: colour, depth and camera_info differ in size", str(error)) from error
