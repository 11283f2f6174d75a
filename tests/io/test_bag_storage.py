"""Bags as they are found: without metadata, of every storage, damaged, of ROS 1, with definitions that do not parse."""

import contextlib
import dataclasses
import logging
import re
import shutil
import sqlite3
import struct
import sys
import tempfile
import tracemalloc
import zlib

import lz4.frame
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from object_pose.core.errors import DataError
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames, write_frame
from object_pose.io.bag_storage import packing
from object_pose.io.bags import BagWriter, describe_bag, make_typestore, read_bag, write_bag

STRING = "std_msgs/msg/String"
MAGIC = b"\x89MCAP0\r\n"


@pytest.fixture(scope="module")
def store():
    return make_typestore()


@pytest.fixture
def bag(tmp_path, store, frame):
    return record(tmp_path / "bag", store, frame)


def record(path, store, frame, count=3, plugin=StoragePlugin.MCAP, compression=None):
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        bag = BagWriter(writer, store)
        for index in range(count):
            write_frame(bag, dataclasses.replace(frame, stamp_ns=index * 10**9))
    return path


def zstd_compress(data):
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.compress(data)


def file_of(bag):
    (file,) = [path for path in bag.iterdir() if path.name != "metadata.yaml"]
    return file


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("compression", [None, CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_every_storage_gives_the_same_frames(tmp_path, store, frame, plugin, compression):
    if (plugin, compression) == (StoragePlugin.SQLITE3, CompressionMode.STORAGE):
        pytest.skip("SQLite compresses nothing itself")
    bag = record(tmp_path / "bag", store, frame, plugin=plugin, compression=compression)
    frames = list(read_bag_frames(bag))
    assert [item.stamp_ns for item in frames] == [0, 10**9, 2 * 10**9]
    for item in frames:
        np.testing.assert_array_equal(item.rgb, frame.rgb)
    info = describe_bag(bag)
    assert [topic.count for topic in info.topics] == [3, 3, 3]
    assert (info.start_ns, info.duration_ns) == (0, 2 * 10**9)


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_metadata_may_be_missing_or_wrong(tmp_path, store, frame, plugin):
    bag = record(tmp_path / "bag", store, frame, plugin=plugin)
    text = (bag / "metadata.yaml").read_text()
    unnamed = re.sub("storage_identifier: .*", "storage_identifier: ''", text)
    for wrong in (unnamed, "a: [", "just text", "[" * 10_000):
        (bag / "metadata.yaml").write_text(wrong)
        assert len(list(read_bag_frames(bag))) == 3
    (bag / "metadata.yaml").unlink()
    assert len(list(read_bag_frames(bag))) == 3
    file_of(bag).unlink()
    with pytest.raises(DataError, match="holds no"):
        list(read_bag(bag))


def test_a_split_bag_whose_file_is_missing_says_so(bag):
    shutil.move(file_of(bag), bag / "other.mcap")
    with pytest.raises(DataError, match=r"lacks bag\.mcap"):
        list(read_bag(bag))


@pytest.mark.parametrize("has_metadata", [False, True])
def test_split_files_are_read_in_the_order_of_their_times(tmp_path, store, frame, has_metadata):
    """Of more than ten files the names are not in order: bag_10 comes before bag_2."""
    bag = record(tmp_path / "bag", store, frame, plugin=StoragePlugin.SQLITE3)
    first, last = file_of(bag).rename(bag / "bag_2.db3"), shutil.copy(bag / "bag_2.db3", bag / "bag_10.DB3")
    for file, condition in ((first, ">= 1000000000"), (last, "< 1000000000")):
        with sqlite3.connect(file) as database:
            database.execute(f"DELETE FROM messages WHERE timestamp {condition}")
    (bag / "metadata.yaml").write_text(
        "rosbag2_bagfile_information: {relative_file_paths: [bag_2.db3, bag_10.DB3]}" if has_metadata else ""
    )
    assert [item.stamp_ns for item in read_bag_frames(bag)] == [0, 10**9, 2 * 10**9]


def break_off(whole, bag, mode, is_committed):
    """Write three more frames into a db3 file and leave file and log in ``bag`` as a killed recorder does."""
    bag.mkdir()
    database = sqlite3.connect(whole, isolation_level=None)
    for setting in (f"journal_mode={mode}", "wal_autocheckpoint=0", "cache_size=1"):
        database.execute(f"PRAGMA {setting}")
    database.execute("BEGIN")
    database.execute("INSERT INTO messages SELECT id + 1000, topic_id, timestamp + 3000000000, data FROM messages")
    if is_committed:
        database.execute("COMMIT")
    for file in whole.parent.glob(f"{whole.name}*"):
        if not file.name.endswith("-shm"):
            shutil.copyfile(file, bag / file.name)
    database.close()
    return {file.name: file.read_bytes() for file in bag.iterdir()}


@pytest.mark.parametrize("has_room", [True, False])
@pytest.mark.parametrize(
    ("mode", "is_committed", "frames"),
    [("WAL", True, 6), ("WAL", False, 3), ("PERSIST", True, 6), ("DELETE", False, 3)],
)
def test_what_a_killed_recorder_left_in_its_log_counts_or_is_said_to_be_missing(
    tmp_path, store, frame, monkeypatch, caplog, mode, is_committed, frames, has_room
):
    whole, bag = file_of(record(tmp_path / "whole", store, frame, plugin=StoragePlugin.SQLITE3)), tmp_path / "bag"
    before = break_off(whole, bag, mode, is_committed)
    if not has_room:
        (tmp_path / "full").write_text("")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    if has_room or mode != "DELETE":  # where half a transaction stands in the file itself, anything may be read
        found = len(list(read_bag_frames(bag)))
        assert found == (3 if mode == "WAL" and not has_room else frames)
        assert (f"messages in {whole.name}-wal are missing" in caplog.text) == (mode == "WAL" and not has_room)
    assert {file.name: file.read_bytes() for file in bag.iterdir()} == before


def test_quality_of_service_that_no_one_understands_does_not_matter(tmp_path, store, frame):
    bag = record(tmp_path / "bag", store, frame, plugin=StoragePlugin.SQLITE3)
    with sqlite3.connect(file_of(bag)) as database:
        database.execute("UPDATE topics SET offered_qos_profiles = '- history: [nonsense'")
    assert len(list(read_bag_frames(bag))) == 3


def mcap_record(kind, content):
    return struct.pack("<BQ", kind, len(content)) + content


def text(value):
    return struct.pack("<I", len(value)) + value.encode()


def mcap_file(path, messages, definition="string data\n", chunk=None, whole=True):
    """Write an MCAP file by hand: a topic /text of a definition, messages in one chunk each that ``chunk`` packs."""
    records = mcap_record(0x01, text("ros2") + text("by hand"))
    for channel, (topic, name, described) in enumerate(
        [("/text", STRING, "string data\n"), ("/odd", "odd_msgs/srv/Odd_Event", definition)], 1
    ):
        records += mcap_record(0x03, struct.pack("<H", channel) + text(name) + text("ros2msg") + text(described))
        records += mcap_record(0x04, struct.pack("<HH", channel, channel) + text(topic) + text("cdr") + text(""))
    for time_ns, data in messages:
        inner = mcap_record(0x05, struct.pack("<HIQQ", 1, 0, time_ns, time_ns) + data)
        records += mcap_record(0x06, (chunk or plain_chunk)(inner)) if chunk is not False else inner
    tail = mcap_record(0x0F, b"\0" * 4) + mcap_record(0x02, b"\0" * 20) + MAGIC if whole else b""
    path.write_bytes(MAGIC + records + tail)
    return path


def plain_chunk(inner, compression="", size=None, checksum=None):
    packed = {"lz4": lz4.frame.compress, "zstd": zstd_compress}.get(compression, bytes)(inner)
    head = struct.pack("<QQQI", 0, 0, size or len(inner), zlib.crc32(inner) if checksum is None else checksum)
    return head + text(compression) + struct.pack("<Q", len(packed)) + packed


def strings(store, *values):
    return [(index, store.serialize_cdr(store.types[STRING](value), STRING).tobytes()) for index, value in values]


@pytest.mark.parametrize("chunk", [plain_chunk, lambda inner: plain_chunk(inner, "lz4"), False])
@pytest.mark.parametrize("whole", [True, False])
def test_a_file_without_summary_is_read_through_in_order_of_time(tmp_path, store, chunk, whole, caplog):
    messages = strings(store, (2, "b"), (1, "a"), (3, "c"))
    file = mcap_file(tmp_path / "x.mcap", messages, chunk=chunk, whole=whole)
    assert [message.data for _, _, message in read_bag(file, ["/text"])] == ["a", "b", "c"]
    assert describe_bag(file).topics[1].count == 3
    assert whole or "truncated" in caplog.text


def test_a_definition_that_does_not_parse_hinders_its_own_topic_only(tmp_path, store):
    file = mcap_file(tmp_path / "x.mcap", strings(store, (1, "a")), definition="???[[ no definition")
    assert [message.data for _, _, message in read_bag(file, ["/text"])] == ["a"]
    assert {topic.name for topic in describe_bag(file).topics} == {"/text", "/odd"}


def test_a_truncated_file_gives_what_is_whole_and_says_so(tmp_path, store, frame, caplog):
    big = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    camera = dataclasses.replace(frame.camera, width=640, height=480)
    bag = record(tmp_path / "bag", store, type(frame)(big, camera), 9)
    file = file_of(bag)
    file.write_bytes(file.read_bytes()[: int(0.6 * file.stat().st_size)])
    with caplog.at_level(logging.WARNING):
        frames = list(read_bag_frames(file, RecordingConfig(depth_topic="")))
    assert 0 < len(frames) < 9 and "truncated" in caplog.text
    assert describe_bag(bag).topics[0].count < 9


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
def test_what_is_whole_in_the_last_chunk_is_read(tmp_path, store, compression, caplog):
    noise = np.random.default_rng(0).bytes(9 * 20_000)
    noise = [noise[20_000 * index : 20_000 * (index + 1)] for index in range(9)]
    inner = b"".join(
        mcap_record(0x05, struct.pack("<HIQQ", 1, 0, time_ns, time_ns) + data)
        for time_ns, data in strings(store, *[(index, f"{index}{noise[index].hex()}") for index in range(9)])
    )
    file = mcap_file(tmp_path / "x.mcap", [(0, b"")], chunk=lambda _: plain_chunk(inner, compression), whole=False)
    file.write_bytes(file.read_bytes()[:-40])
    found = [message.data[0] for _, _, message in read_bag(file, ["/text"])]
    assert found == list("01234567")[: len(found)] and len(found) >= (6 if compression else 8)
    assert "truncated" in caplog.text


def record_ros1(path, frame, compression=None):
    ros1 = get_typestore(Stores.ROS1_NOETIC)
    types = ros1.types
    config, camera = RecordingConfig(depth_topic=""), frame.camera
    writer = Ros1Writer(path)
    if compression:
        writer.set_compression(compression)
    with writer:
        connections = {
            topic: writer.add_connection(topic, f"sensor_msgs/msg/{kind}", typestore=ros1)
            for topic, kind in ((config.color_topic, "Image"), (config.camera_info_topic, "CameraInfo"))
        }
        for index in range(2):
            header = types["std_msgs/msg/Header"](index, types["builtin_interfaces/msg/Time"](index, 0), "camera")
            image = types["sensor_msgs/msg/Image"](header, 24, 32, "rgb8", 0, 96, frame.rgb.ravel())
            info = types["sensor_msgs/msg/CameraInfo"](
                header, 24, 32, "plumb_bob", np.zeros(5), camera.matrix.ravel(), np.eye(3).ravel(), np.zeros(12), 0, 0,
                types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
            )  # fmt: skip
            for topic, message in ((config.color_topic, image), (config.camera_info_topic, info)):
                raw = ros1.serialize_ros1(message, message.__msgtype__)
                writer.write(connections[topic], index * 10**9, raw)
    return config


@pytest.mark.parametrize("compression", [None, *Ros1Writer.CompressionFormat])
def test_bags_of_ros1_are_read(tmp_path, frame, compression):
    config = record_ros1(tmp_path / "x.bag", frame, compression)
    frames = list(read_bag_frames(tmp_path / "x.bag", config))
    assert [item.stamp_ns for item in frames] == [0, 10**9] and frames[0].camera == frame.camera
    np.testing.assert_array_equal(frames[0].rgb, frame.rgb)


def without_index(content):
    """What a recorder leaves that is killed: the bag's header says 0 instead of where the index is."""
    (index_pos,) = re.search(rb"index_pos=(.{8})", content, re.DOTALL).groups()
    return content[: int.from_bytes(index_pos, "little")].replace(b"index_pos=" + index_pos, b"index_pos=" + bytes(8))


def with_an_open_chunk(content):
    """The same while its chunk was being written: its length is still 0."""
    content = without_index(content)
    place = end_of_blocks(content, 3)
    return content[:place] + bytes(4) + content[place + 4 :]


def end_of_blocks(content, count):
    """Where blocks with their lengths before them end: header and data of the bag, then of its chunks."""
    place = len("#ROSBAG V2.0\n")
    for _ in range(count):
        place += 4 + int.from_bytes(content[place : place + 4], "little")
    return place


def cut_in_its_index(content):
    return content[:-40]


@pytest.mark.parametrize(
    ("broken_off", "compression"),
    [
        *((without_index, compression) for compression in (None, *Ros1Writer.CompressionFormat)),
        (with_an_open_chunk, None),
        (cut_in_its_index, None),
    ],
)
def test_bags_of_ros1_are_read_without_their_index(tmp_path, frame, caplog, broken_off, compression):
    config = record_ros1(tmp_path / "x.bag", frame, compression)
    (tmp_path / "x.bag.active").write_bytes(broken_off((tmp_path / "x.bag").read_bytes()))
    frames = list(read_bag_frames(tmp_path / "x.bag.active", config))
    assert [item.stamp_ns for item in frames] == [0, 10**9] and frames[0].camera == frame.camera
    np.testing.assert_array_equal(frames[1].rgb, frame.rgb)
    assert "its index is missing or damaged" in caplog.text
    assert describe_bag(tmp_path / "x.bag.active") == describe_bag(tmp_path / "x.bag")


def test_a_damaged_chunk_of_ros1_loses_what_it_holds_alone(tmp_path, frame, caplog):
    config = record_ros1(tmp_path / "x.bag", frame, Ros1Writer.CompressionFormat.LZ4)
    content = without_index((tmp_path / "x.bag").read_bytes())
    head, data = end_of_blocks(content, 2), end_of_blocks(content, 3) + 4
    damaged = content[:data] + bytes(8) + content[data + 8 :]
    (tmp_path / "x.bag").write_bytes(damaged + content[head:])
    assert [item.stamp_ns for item in read_bag_frames(tmp_path / "x.bag", config)] == [0, 10**9]
    assert "a chunk is damaged" in caplog.text


def test_a_topic_of_another_type_is_named(tmp_path, store, bag):
    config = RecordingConfig()
    wrong = dataclasses.replace(config, color_topic=config.camera_info_topic)
    with pytest.raises(DataError, match=r"has the type sensor_msgs/msg/CameraInfo \(expected sensor_msgs/msg/Image or"):
        list(read_bag_frames(bag, wrong))


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        (lambda inner: plain_chunk(inner, size=1 << 40), "chunk of 1099511627776 bytes"),
        (lambda inner: plain_chunk(inner, checksum=1), "damaged chunk"),
        (lambda inner: plain_chunk(inner, "lz4", size=len(inner) - 1), "damaged chunk"),
        (lambda inner: plain_chunk(inner, "brotli"), "'brotli'"),
        (lambda inner: plain_chunk(inner[:-3]), "longer than its chunk"),
        (lambda inner: b"\0" * 5, "cannot be read"),
    ],
)
def test_hostile_chunks_are_refused_in_one_line(tmp_path, store, chunk, text):
    file = mcap_file(tmp_path / "x.mcap", strings(store, (1, "a")), chunk=chunk)
    with pytest.raises(DataError, match=text):
        list(read_bag(file))


def test_a_chunk_as_long_as_a_huge_file_costs_no_memory(tmp_path):
    file = tmp_path / "x.mcap"
    file.write_bytes(MAGIC + struct.pack("<BQ", 0x06, 4 << 30))
    with file.open("r+b") as stream:
        stream.truncate(5 << 30)  # a sparse file: it takes no space
    tracemalloc.start()
    with pytest.raises(DataError, match="chunk of 4294967305 bytes"):
        list(read_bag(file))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_a_chunk_that_unpacks_to_more_than_it_says_costs_no_memory(tmp_path, store):
    bomb = lz4.frame.compress(b"\0" * (200 << 20))
    packed = struct.pack("<QQQI", 0, 0, 1000, 0) + text("lz4") + struct.pack("<Q", len(bomb)) + bomb
    file = mcap_file(tmp_path / "x.mcap", strings(store, (1, "a")), chunk=lambda inner: packed)
    tracemalloc.start()
    with pytest.raises(DataError, match="damaged chunk"):
        list(read_bag(file))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".db3", ".mcap"])
def test_a_packed_file_is_read_alone_without_metadata_and_beside_what_was_unpacked(tmp_path, store, frame, suffix):
    plugin = StoragePlugin.SQLITE3 if suffix == ".db3" else StoragePlugin.MCAP
    bag = record(tmp_path / "bag", store, frame, plugin=plugin, compression=CompressionMode.FILE)
    file = file_of(bag)
    assert file.name.endswith(f"{suffix}.zstd")
    assert len(list(read_bag_frames(file))) == 3
    unpacked = record(tmp_path / "plain", store, frame, plugin=plugin)
    shutil.copy(file_of(unpacked), bag / file.name.removesuffix(".zstd"))  # as 'ros2 bag play' leaves it
    assert len(list(read_bag_frames(bag))) == 3
    file.unlink()
    assert len(list(read_bag_frames(bag))) == 3
    (bag / "metadata.yaml").unlink()
    assert len(list(read_bag_frames(bag))) == 3


def sqlite_of(path, data):
    """A db3 file as ROS 2 Humble writes it, with one message."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);"
        )
        database.execute("INSERT INTO topics VALUES(1, '/text', ?, 'cdr')", [STRING])
        database.execute("INSERT INTO messages VALUES(1, 1, 1, ?)", [data])
        database.commit()
    return path


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (zstd_compress(b"\0" * (300 << 20)), "more than the 268435456 bytes"),
        (zstd_compress(b"\0" * 1000)[:-3], "zstd data that are cut"),
        (zstd_compress(b"\0" * 1000)[:4] + b"\x08" + b"\xff" * 9, "damaged zstd data"),
    ],
    ids=["bomb", "cut", "damaged"],
)
def test_hostile_packed_messages_are_refused_in_one_line(tmp_path, data, text):
    file = sqlite_of(tmp_path / "x.db3", data)
    with pytest.raises(DataError, match=text):
        list(read_bag(file))


def test_a_file_that_unpacks_beyond_measure_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(packing, "_MOST_FILE_BYTES", 1 << 20)
    for content, text in (
        (zstd_compress(b"\0" * (64 << 20)), "unpacks to more than 1 MB"),
        (zstd_compress(b"SQLite format 3" * 100)[:-3], "is damaged"),
    ):
        (tmp_path / "x.db3.zstd").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(DataError, match=text):
            list(read_bag(tmp_path / "x.db3.zstd"))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        tracemalloc.stop()
        assert not list(temporary.iterdir())


@given(data=st.data())
@settings(max_examples=150)
def test_damaged_bytes_are_a_data_error_or_read(tmp_path_factory, store, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    if not folder.exists():
        folder.mkdir()
        with write_bag(folder / "bag", store) as writer:
            for index, value in enumerate("abc"):
                writer.write("/text", STRING, index, store.types[STRING](value))
    content = bytearray(file_of(folder / "bag").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "damaged.mcap").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (lambda file: list(read_bag(file)), describe_bag):
        with contextlib.suppress(DataError):
            read(folder / "damaged.mcap")
