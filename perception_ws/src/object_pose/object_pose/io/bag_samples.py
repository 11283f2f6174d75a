"""Hand-eye samples of a bag: the sharpest image of each moment at which the robot stood still, with its pose."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.extrinsics import Extrinsics
from object_pose.core.geometry.se3 import rotation_angle
from object_pose.core.geometry.transform_tree import TransformTree
from object_pose.core.params import parameter
from object_pose.core.vision.image import to_grey
from object_pose.io.bag_frames import IMAGE_TYPES, RecordingConfig, camera_at_start, transform_tree
from object_pose.io.bags import describe_bag, read_bag
from object_pose.io.images import write_image
from object_pose.io.messages import image_from_message, pose_from_message, stamp_ns
from object_pose.io.robot_samples import STILL_S, RobotSample, still_pose, write_samples

_POSE_TYPES = ("geometry_msgs/msg/PoseStamped",)
_STEPS = 11  # in the time about an image at which the robot's pose is looked up
_SAME_M, _SAME_DEG = 0.005, 1.0  # stops nearer than this are one
_SHARPNESS_SIDE = 640

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BagImagesConfig:
    """Where a bag has the board's images."""

    color_topic: str = parameter(RecordingConfig.color_topic, "images of a bag", read_only=True)


@dataclass(frozen=True)
class BagSamplesConfig(BagImagesConfig):
    """Where a bag has the board's images and the robot's poses."""

    camera_info_topic: str = parameter(
        RecordingConfig.camera_info_topic,
        "intrinsics of a bag; where it has none they are calibrated from the same images",
        read_only=True,
    )
    pose_topic: str = parameter(
        "", "geometry_msgs/PoseStamped of the tool in the base; '' takes /tf between the two frames", read_only=True
    )


@dataclass(frozen=True)
class BagSamples:
    """The samples, the camera that the bag names (None where it does not), and the frame of its images."""

    samples: list[RobotSample]
    camera: Camera | None
    camera_frame: str


@dataclass(frozen=True)
class _Stop:
    """A pose at which the robot stood, and the sharpest image that was taken there."""

    T_base_tool: Array
    name: str
    rgb: Image
    sharpness: float


def extract_samples(bag: Path, folder: Path, base_frame: str, tool_frame: str, config: BagSamplesConfig) -> BagSamples:
    """Write the samples of a bag into a folder, which ``read_samples`` reads; images are named by their stamps.

    The robot stands still where its pose hardly changes for a while before and after the image; of several images
    at one pose the sharpest is taken. Raises ``DataError`` naming what the bag lacks.
    """
    look_up = _robot_poses(bag, base_frame, tool_frame, config.pose_topic)
    stops: list[_Stop] = []
    images = unknown = 0
    camera_frame = ""
    for stamp, frame_id, decode in bag_images(bag, config.color_topic):
        images += 1
        camera_frame = frame_id
        poses = [look_up(stamp + int(step * 1e9)) for step in np.linspace(-STILL_S, STILL_S, _STEPS)]
        known = [pose for pose in poses if pose is not None]
        if len(known) < _STEPS:
            unknown += 1
            continue
        T_base_tool = still_pose(np.stack(known))
        if T_base_tool is not None:
            rgb = decode()
            _take(stops, _Stop(T_base_tool, f"{stamp * 1e-9:.6f}", rgb, _sharpness(rgb)))
    if not stops:
        raise DataError(
            f"the robot stands still at none of the {images} images of {bag}; its pose is not known at {unknown}",
            f"it must stand for {2 * STILL_S:g} s about each image",
        )
    if unknown:
        logger.warning("bag %s: the robot's pose is not known at %d of %d images", bag, unknown, images)
    samples = [RobotSample(folder / f"{stop.name}.png", stop.T_base_tool) for stop in stops]
    for sample, stop in zip(samples, stops):
        write_image(sample.image, stop.rgb)
    write_samples(folder, samples)
    has_info = config.camera_info_topic in {topic.name for topic in describe_bag(bag).topics}
    return BagSamples(samples, camera_at_start(bag, config.camera_info_topic) if has_info else None, camera_frame)


def bag_images(bag: Path, topic: str) -> Iterator[tuple[int, str, Callable[[], Image]]]:
    """Yield the stamp and frame of each image of a bag, and what decodes it to RGB (H, W, 3)."""
    for _, _, message in read_bag(bag, [topic], types={topic: IMAGE_TYPES}):
        yield stamp_ns(message), message.header.frame_id.lstrip("/"), partial(image_from_message, message)


def _robot_poses(bag: Path, base: str, tool: str, pose_topic: str) -> Callable[[int], Array | None]:
    """Return what gives T_base_tool (4, 4) at a stamp, None where it is not known."""
    if pose_topic:
        tree = TransformTree(memory_s=float("inf"))
        for _, _, message in read_bag(bag, [pose_topic], types={pose_topic: _POSE_TYPES}):
            tree.add(Extrinsics(base, tool, pose_from_message(message.pose)), stamp_ns(message))
    else:
        tree = transform_tree(bag, "the robot's poses are not known; --pose-topic names a topic that has them")
    tree.check_connected(base, tool)
    return partial(tree.find, base, tool)


def _take(stops: list[_Stop], new: _Stop) -> None:
    """Add a stop, or its image to one at the same pose if it is sharper."""
    for index, stop in enumerate(stops):
        shift = float(np.linalg.norm(stop.T_base_tool[:3, 3] - new.T_base_tool[:3, 3]))
        turn = rotation_angle(stop.T_base_tool[:3, :3], new.T_base_tool[:3, :3])
        if shift < _SAME_M and np.rad2deg(turn) < _SAME_DEG:
            if new.sharpness > stop.sharpness:
                stops[index] = new
            return
    stops.append(new)


def _sharpness(rgb: Image) -> float:
    """Return the variance of the Laplacian: the more, the sharper is an image of the same thing."""
    gray = to_grey(rgb)
    scale = min(1.0, _SHARPNESS_SIDE / max(gray.shape))
    small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_32F).var())
