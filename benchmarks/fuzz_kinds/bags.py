"""Recordings of ROS 1 and ROS 2 as fuzz inputs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_kinds.kind import CAMERA, Kind, picture, read_each
from benchmarks.fuzz_mutation import Files
from object_pose.core.frame import Frame
from object_pose.io.bag_frames import (
    OPTICAL_FRAME,
    RecordingConfig,
    read_bag_frames,
    read_camera_transforms,
    write_frame,
)
from object_pose.io.bags import BagWriter, describe_bag, make_typestore, read_bag, write_bag

_STAMP_NS = 1_700_000_000_000_000_000


def _bag_seeds() -> list[Files]:
    from rosbags.rosbag1 import Writer as Ros1Writer
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = make_typestore()
    frames = [Frame(picture(), CAMERA, np.full((24, 32), 0.5, np.float32), _STAMP_NS + step) for step in (0, 10**8)]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        with write_bag(folder / "bag", store) as bag:
            for frame in frames:
                write_frame(bag, frame)
        with write_bag(folder / "text", store) as bag:
            for index, word in enumerate("abc"):
                bag.write("/text", "std_msgs/msg/String", index, store.types["std_msgs/msg/String"](word))
        with write_bag(folder / "packed", store, compress=True) as bag:
            write_frame(bag, frames[0])
            _write_transform(bag)
        messages = list(read_bag(folder / "bag"))
        with Writer(folder / "sqlite", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
            topics = {topic: message.__msgtype__ for topic, _, message in messages}
            channels = {topic: writer.add_connection(topic, name, typestore=store) for topic, name in topics.items()}
            for topic, stamp, message in messages:
                writer.write(channels[topic], stamp, store.serialize_cdr(message, topics[topic]))
        ros1 = get_typestore(Stores.ROS1_NOETIC)
        for compression in (None, Ros1Writer.CompressionFormat.LZ4):
            with _ros1_writer(folder / f"{compression}.bag", compression) as old:
                channel = old.add_connection("/text", "std_msgs/msg/String", typestore=ros1)
                message = ros1.types["std_msgs/msg/String"]("abc")
                old.write(channel, _STAMP_NS, ros1.serialize_ros1(message, message.__msgtype__))
        seeds: list[Files] = [{"bag.bag": file.read_bytes()} for file in sorted(folder.glob("*.bag"))]
        for name in ("bag", "text", "packed", "sqlite"):
            files = {f"bag/{file.name}": file.read_bytes() for file in sorted((folder / name).iterdir())}
            seeds += [files, {Path(key).name: content for key, content in files.items() if not key.endswith(".yaml")}]
    return seeds


def _write_transform(bag: BagWriter) -> None:
    """Add the place of the camera in the robot's base."""
    types = bag.store.types
    place, turn = types["geometry_msgs/msg/Vector3"](0.1, 0.0, 0.5), types["geometry_msgs/msg/Quaternion"](0, 0, 0, 1)
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "base")
    transform = types["geometry_msgs/msg/Transform"](place, turn)
    stamped = types["geometry_msgs/msg/TransformStamped"](header, OPTICAL_FRAME, transform)
    bag.write("/tf_static", "tf2_msgs/msg/TFMessage", 0, types["tf2_msgs/msg/TFMessage"]([stamped]))


def _ros1_writer(path: Path, compression: Any) -> Any:
    from rosbags.rosbag1 import Writer

    writer = Writer(path)
    if compression:
        writer.set_compression(compression)
    return writer


def _read_bag(folder: Path) -> None:
    (path,) = folder.iterdir()
    read_each(
        lambda: describe_bag(path),
        lambda: list(read_bag(path)),
        lambda: list(read_bag_frames(path, RecordingConfig(tolerance_ms=1.0))),
        lambda: read_camera_transforms(path, "base"),
    )


KINDS = {"bag": Kind(15, _bag_seeds, _read_bag)}
