"""Camera frames in bags: colour and depth joined by their stamps, with the camera_info that was valid then."""

from __future__ import annotations

import bisect
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.frame import NS_PER_S, Frame
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.transform_tree import TransformTree
from object_pose.core.params import parameter
from object_pose.core.vision.depth_registration import DepthSource
from object_pose.io.bags import BagWriter, describe_bag, read_bag
from object_pose.io.camera_info import CameraInfo, info_from_message, info_of_camera, message_fields
from object_pose.io.images import depth_in_millimetres
from object_pose.io.messages import depth_from_message, extrinsics_from_message, image_from_message, stamp_ns

logger = logging.getLogger(__name__)

OPTICAL_FRAME = "camera_color_optical_frame"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_INFO_TYPES = ("sensor_msgs/msg/CameraInfo",)
_TRANSFORM_TOPICS = ("/tf", "/tf_static")
_WAITING = 30  # images that wait for their partner
_WAITING_FOR_INFO = 5  # frames that wait for a camera_info that may come after them


@dataclass(frozen=True)
class RecordingConfig:
    """Where a recording's frames are and how they are read; topics are realsense-ros's by default."""

    color_topic: str = parameter("/camera/camera/color/image_raw", "colour images of a bag", read_only=True)
    depth_topic: str = parameter(
        "/camera/camera/aligned_depth_to_color/image_raw", "aligned depth of a bag; '' reads none", read_only=True
    )
    camera_info_topic: str = parameter("/camera/camera/color/camera_info", "intrinsics of a bag", read_only=True)
    depth_camera_info_topic: str = parameter(
        "",
        "intrinsics of depth that is not aligned with colour, which is registered by them and /tf; '' is aligned",
        read_only=True,
    )
    tolerance_ms: float = parameter(
        0.0,
        "stamps of a frame's colour and depth in a bag may differ by this much",
        minimum=0.0,
        maximum=10_000.0,
        read_only=True,
    )
    rectified: bool = parameter(
        False, "images are rectified: the projection matrix P is theirs, not K and D", read_only=True
    )
    depth_scale: float = parameter(
        0.0,
        "millimetres in one count of 16-bit depth, and in 1.0 of floating-point files; 0: as the source says, else 1 "
        "and metres",
        minimum=0.0,
        maximum=1000.0,
        read_only=True,
    )

    def depth_unit_m(self, said: float | None = None) -> float:
        """Return metres in one count of 16-bit depth, of which a source may have ``said`` millimetres."""
        return (self.depth_scale or said or 1.0) * 1e-3

    @property
    def float_depth_unit_m(self) -> float:
        """Metres in 1.0 of floating-point depth files, which are metres unless it is said here: others mean counts."""
        return self.depth_scale * 1e-3 if self.depth_scale else 1.0


def read_bag_frames(path: str | Path, config: RecordingConfig | None = None) -> Iterator[Frame]:
    """Yield the frames of a bag; images whose stamps have no partner are left out, and how many is logged.

    Raises ``DataError`` when a topic is missing, a size differs, or no set of messages belongs together, and
    ``CalibrationError`` where the intrinsics are impossible.
    """
    config = config or RecordingConfig()
    cameras = _Cameras(path, config, config.camera_info_topic, config.color_topic)
    sources = _DepthSources(path, config) if config.depth_topic and config.depth_camera_info_topic else None
    streams = [topic for topic in (config.color_topic, config.depth_topic) if topic]
    counts = dict.fromkeys(streams, 0)
    frames = jumps = last_ns = 0
    frame_ids: set[str] = set()
    for joined in _joined_messages(path, config, [cameras, *([sources.cameras] if sources else [])], counts):
        frames += 1
        jumps += stamp_ns(joined[config.color_topic]) < last_ns
        last_ns = stamp_ns(joined[config.color_topic])
        frame_ids |= {item.header.frame_id for item in joined.values()}
        yield _frame(path, joined, cameras, sources, config)
    depth = f", {counts[config.depth_topic]} depth" if config.depth_topic else ""
    found = f"{counts[config.color_topic]} images{depth}, {cameras.count} camera_info: {frames} frames"
    if frames == 0:
        raise DataError(f"bag {path} has no frames whose stamps agree: {found}", "raise the tolerance")
    if jumps:
        logger.warning("bag %s: time runs backwards %d times: ids start anew; two recordings, or a loop?", path, jumps)
    if frames < max(counts.values()):
        logger.warning("bag %s: %s", path, found)
    if len(frame_ids) > 1 and sources is None:
        text = "bag %s: colour and depth have the frames %s: is depth aligned? If not, name its camera_info"
        logger.warning(text, path, sorted(frame_ids))


def read_camera_transforms(
    path: str | Path, fixed_frame: str, config: RecordingConfig | None = None
) -> Callable[[int], Array | None]:
    """Return what gives T_fixed_camera (4, 4) at a stamp, None where unknown, by the bag's /tf and /tf_static.

    Raises ``DataError`` where the bag holds no transforms, or none that connects the camera with ``fixed_frame``.
    """
    config = config or RecordingConfig()
    tree = transform_tree(path, f"the camera's place in '{fixed_frame}' is not known")
    _, _, color = next(read_bag(path, [config.color_topic]))
    camera_frame = color.header.frame_id.lstrip("/")
    tree.check_connected(fixed_frame, camera_frame)
    return partial(tree.find, fixed_frame, camera_frame)


def camera_at_start(path: str | Path, topic: str, config: RecordingConfig = RecordingConfig()) -> Camera:
    """Return the camera of a bag's first camera_info; raises ``CalibrationError`` where it is impossible."""
    return _Cameras(path, config, topic, config.color_topic).at(0)


def transform_tree(path: str | Path, problem: str) -> TransformTree:
    """Return all transforms of a bag; raises ``DataError`` with the ``problem`` where it has none."""
    present = {item.name for item in describe_bag(path).topics}
    topics = [topic for topic in _TRANSFORM_TOPICS if topic in present]
    if not topics:
        raise DataError(f"bag {path} has no /tf: {problem}", f"record {' and '.join(_TRANSFORM_TOPICS)}")
    tree = TransformTree(memory_s=float("inf"))
    refused: list[str] = []
    for topic, _, message in read_bag(path, topics):
        for item in message.transforms:
            try:
                tree.add(extrinsics_from_message(item), stamp_ns(item), fixed=topic == _TRANSFORM_TOPICS[1])
            except (CalibrationError, DataError) as error:  # of a frame that may not matter; tf2 ignores it, too
                refused.append(error.message)
    if refused:
        logger.warning("bag %s: %d transforms are left out, the first: %s", path, len(refused), refused[0])
    return tree


def write_frame(
    bag: BagWriter, frame: Frame, config: RecordingConfig | None = None, frame_id: str = OPTICAL_FRAME
) -> None:
    """Add a frame to a bag as the three messages of a camera, all with the frame's stamp."""
    config = config or RecordingConfig()
    types = bag.store.types
    seconds, nanoseconds = divmod(frame.stamp_ns, NS_PER_S)
    stamp = types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    header = types["std_msgs/msg/Header"](stamp, frame_id)

    def image(encoding: str, pixels: Any) -> Any:
        height, width = pixels.shape[:2]
        data = np.ascontiguousarray(pixels).view(np.uint8).ravel()
        step = data.size // height
        return types["sensor_msgs/msg/Image"](header, height, width, encoding, 0, step, data)

    bag.write(config.color_topic, "sensor_msgs/msg/Image", frame.stamp_ns, image("rgb8", frame.rgb))
    if frame.depth_m is not None:
        depth = image("16UC1", depth_in_millimetres(frame.depth_m))
        bag.write(config.depth_topic, "sensor_msgs/msg/Image", frame.stamp_ns, depth)
    fields = message_fields(info_of_camera(frame.camera), types["sensor_msgs/msg/RegionOfInterest"])
    info = types["sensor_msgs/msg/CameraInfo"](header=header, **fields)
    bag.write(config.camera_info_topic, "sensor_msgs/msg/CameraInfo", frame.stamp_ns, info)


class StampPairer:
    """Joins one item of each stream when their stamps lie within ``tolerance_ns`` of the newest one's.

    A stream keeps at most ``capacity`` items that wait for their partners. Within a stream the stamps must not fall.
    """

    def __init__(self, streams: Sequence[str], tolerance_ns: int = 0, capacity: int = 10) -> None:
        self._waiting: dict[str, deque[tuple[int, Any]]] = {name: deque(maxlen=capacity) for name in streams}
        self._tolerance_ns = tolerance_ns

    def add(self, stream: str, stamp_ns: int, item: Any) -> dict[str, Any] | None:
        """Take an item; return the set that it completes, by stream, or None."""
        self._waiting[stream].append((stamp_ns, item))
        positions = {name: self._nearest(name, stamp_ns) for name in self._waiting}
        if any(position is None for position in positions.values()):
            return None
        return {name: self._take(name, position) for name, position in positions.items() if position is not None}

    def _nearest(self, stream: str, stamp_ns: int) -> int | None:
        distances = [abs(stamp - stamp_ns) for stamp, _ in self._waiting[stream]]
        if not distances or min(distances) > self._tolerance_ns:
            return None
        return distances.index(min(distances))

    def _take(self, stream: str, position: int) -> Any:
        """Remove and return an item; those before it can find no partner any more."""
        for _ in range(position):
            self._waiting[stream].popleft()
        return self._waiting[stream].popleft()[1]


class _Cameras:
    """The cameras of a bag by stamp. A camera_info holds until the next one: sent once, latched or at another rate.

    The first one is known from the start, wherever in the bag it stands; ``take`` adds the others as they come.
    """

    def __init__(self, path: str | Path, config: RecordingConfig, topic: str, image_topic: str) -> None:
        self.topic = topic
        self._path, self._rectified = path, config.rectified
        self._known: list[tuple[int, Camera]] = []
        self._last: CameraInfo | None = None
        first = next(read_bag(path, [topic], types={topic: _INFO_TYPES}), None)
        if first is None:
            raise DataError(f"bag {path} has no message on {topic}")
        self.count, self.newest_ns = 0, 0
        self._add(first[2])
        if self._last and not config.rectified and (problem := self._last.rectification_problem(image_topic)):
            logger.warning("bag %s: %s", path, problem)

    def take(self, message: Any) -> None:
        """Add a camera_info; raises ``CalibrationError`` where it is impossible."""
        self.count += 1
        self.newest_ns = max(self.newest_ns, stamp_ns(message))
        self._add(message)

    def at(self, stamp: int) -> Camera:
        """Return the camera that was valid at a stamp, before the first camera_info that one."""
        return self._known[max(0, bisect.bisect_right(self._known, stamp, key=itemgetter(0)) - 1)][1]

    def _add(self, message: Any) -> None:
        info = info_from_message(message)
        if info == self._last:
            return
        try:
            changed = stamp_ns(message), info.camera(self._rectified)
        except CalibrationError as error:
            raise CalibrationError(f"bag {self._path}, {self.topic}: {error.message}", error.hint) from error
        bisect.insort(self._known, changed, key=itemgetter(0))
        self._last = info


class _DepthSources:
    """The depth camera of a bag by stamp: its camera_info, and its place beside the colour camera by /tf."""

    def __init__(self, path: str | Path, config: RecordingConfig) -> None:
        self.cameras = _Cameras(path, config, config.depth_camera_info_topic, config.depth_topic)
        self._tree = transform_tree(path, "depth cannot be registered")

    def at(self, stamp: int, color_frame: str, depth_frame: str) -> DepthSource:
        """Return the depth camera at a stamp; raises ``DataError`` where its place is not known."""
        T_color_depth = self._tree.look_up(color_frame.lstrip("/"), depth_frame.lstrip("/"), stamp)
        return DepthSource(self.cameras.at(stamp), T_color_depth)


def _joined_messages(
    path: str | Path, config: RecordingConfig, listening: Sequence[_Cameras], counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield the messages of each frame by topic, when its cameras are known; ``counts`` those of each stream."""
    types = {cameras.topic: _INFO_TYPES for cameras in listening} | dict.fromkeys(counts, IMAGE_TYPES)
    pairer = StampPairer(list(counts), round(config.tolerance_ms * 1e6), capacity=_WAITING)
    waiting: deque[dict[str, Any]] = deque()
    for topic, _, message in read_bag(path, list(types), types=types):
        for cameras in listening:
            if topic == cameras.topic:
                cameras.take(message)
        if topic in counts:
            counts[topic] += 1
            if joined := pairer.add(topic, stamp_ns(message), message):
                waiting.append(joined)
        while waiting and (
            len(waiting) > _WAITING_FOR_INFO
            or all(cameras.newest_ns >= stamp_ns(waiting[0][config.color_topic]) for cameras in listening)
        ):
            yield waiting.popleft()
    yield from waiting


def _frame(
    path: str | Path, joined: dict[str, Any], cameras: _Cameras, sources: _DepthSources | None, config: RecordingConfig
) -> Frame:
    color, depth = joined[config.color_topic], joined.get(config.depth_topic)
    stamp = stamp_ns(color)
    depth_m = None
    try:
        if depth is not None:
            depth_m = depth_from_message(depth, config.depth_unit_m())
            if sources is not None:
                source = sources.at(stamp_ns(depth), color.header.frame_id, depth.header.frame_id)
                depth_m = source.registered(depth_m, cameras.at(stamp))
        return Frame(image_from_message(color), cameras.at(stamp), depth_m, stamp)
    except DataError as error:
        raise DataError(f"bag {path}: {error.message}", error.hint) from error
    except ValueError as error:
        raise DataError(f"bag {path}: colour, depth and camera_info differ in size", str(error)) from error
