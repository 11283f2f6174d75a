"""Bags: messages and frames come back as they went in, without ROS; a broken bag is a data error."""

import dataclasses

import cv2
import numpy as np
import pytest
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader
from rosbags.typesys import get_types_from_msg

from object_pose.core.errors import DataError
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames, write_frame
from object_pose.io.bag_storage.opening import is_bag
from object_pose.io.bags import make_typestore, read_bag, write_bag
from object_pose.io.camera_info import info_of_camera, message_fields
from object_pose.io.messages import stamp_ns

STRING = "std_msgs/msg/String"


@pytest.fixture(scope="module")
def store():
    return make_typestore()


@pytest.fixture
def bag(tmp_path, store, frame):
    """Three frames, 33 ms apart."""
    with write_bag(tmp_path / "bag", store) as writer:
        for index in range(3):
            write_frame(writer, dataclasses.replace(frame, stamp_ns=frame.stamp_ns + index * 33_000_000))
    return tmp_path / "bag"


def image_message(store, encoding, array, *, padding=0, big_endian=False, stamp=(3, 14)):
    types = store.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*stamp), "camera")
    array = array.astype(array.dtype.newbyteorder(">" if big_endian else "<"))
    height, width = array.shape[:2]
    rows = np.ascontiguousarray(array).view(np.uint8).reshape(height, -1)
    rows = np.concatenate([rows, np.full((height, padding), 77, np.uint8)], axis=1)
    return types["sensor_msgs/msg/Image"](header, height, width, encoding, big_endian, rows.shape[1], rows.ravel())


def test_a_bag_says_which_topics_are_latched_and_plays_them_so(tmp_path, store):
    with write_bag(tmp_path / "bag", store) as writer:
        for topic, latched in (("/state", 7), ("/text", 0)):
            for index in range(2):
                writer.write(topic, STRING, index, store.types[STRING]("word"), latched)
    with Reader(tmp_path / "bag") as reader:
        offered = {item.topic: item.ext.offered_qos_profiles for item in reader.connections}
    assert offered["/text"] == []
    (profile,) = offered["/state"]
    assert (profile.durability, profile.depth) == (QosDurability.TRANSIENT_LOCAL, 7)
    assert [topic for topic, *_ in read_bag(tmp_path / "bag", ["/state"])] == ["/state"] * 2


def test_frames_come_back(bag, frame):
    frames = list(read_bag_frames(bag))
    assert [item.stamp_ns - frame.stamp_ns for item in frames] == [0, 33_000_000, 66_000_000]
    for item in frames:
        np.testing.assert_array_equal(item.rgb, frame.rgb)
        np.testing.assert_allclose(item.depth_m, frame.depth_m, atol=1e-6)
        assert item.camera == frame.camera


def test_colour_alone_will_do(bag, frame):
    frames = list(read_bag_frames(bag, RecordingConfig(depth_topic="")))
    assert len(frames) == 3 and all(item.depth_m is None for item in frames)


def info_of(store, camera, stamp_ns):
    types = store.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), "camera")
    fields = message_fields(info_of_camera(camera), types["sensor_msgs/msg/RegionOfInterest"])
    return types["sensor_msgs/msg/CameraInfo"](header=header, **fields)


@pytest.mark.parametrize(
    ("infos", "focals"),
    [
        ([(0, 0, 50.0)], [50.0] * 4),  # latched: stamped zero, and recorded before the images
        ([(6, 0, 50.0)], [50.0] * 4),  # or after them
        ([(1, 1, 50.0)], [50.0] * 4),
        ([(1, 1, 50.0), (3, 3, 60.0)], [50.0, 50.0, 60.0, 60.0]),  # another zoom
    ],
)
def test_a_camera_info_holds_until_the_next_one(tmp_path, store, frame, infos, focals):
    def image(second):
        return image_message(store, "rgb8", frame.rgb, stamp=(second, 0))

    config = RecordingConfig(depth_topic="")
    messages = [(second, config.color_topic, "Image", image(second)) for second in (1, 2, 3, 4)]
    for at, stamp, focal in infos:
        info = info_of(store, dataclasses.replace(frame.camera, fx=focal), stamp * 10**9)
        messages.append((at, config.camera_info_topic, "CameraInfo", info))
    with write_bag(tmp_path / "bag", store) as writer:
        for at, topic, kind, message in sorted(messages, key=lambda item: item[0]):
            writer.write(topic, f"sensor_msgs/msg/{kind}", at * 10**9, message)
    assert [item.camera.fx for item in read_bag_frames(tmp_path / "bag", config)] == focals


def test_images_without_a_partner_are_counted(tmp_path, store, frame, caplog):
    with write_bag(tmp_path / "bag", store) as writer:
        for second in range(4):
            depth_m = frame.depth_m if second % 2 else None
            write_frame(writer, dataclasses.replace(frame, depth_m=depth_m, stamp_ns=second * 10**9))
    assert len(list(read_bag_frames(tmp_path / "bag"))) == 2
    assert "4 images, 2 depth, 4 camera_info: 2 frames" in caplog.text


def test_depth_of_another_frame_is_noticed(tmp_path, store, frame, caplog):
    config, types = RecordingConfig(), store.types
    with write_bag(tmp_path / "bag", store) as writer:
        write_frame(writer, dataclasses.replace(frame, depth_m=None, stamp_ns=3_000_000_014))
        depth = image_message(store, "16UC1", np.rint(frame.depth_m * 1e3).astype(np.uint16))
        depth.header = types["std_msgs/msg/Header"](depth.header.stamp, "camera_depth_optical_frame")
        writer.write(config.depth_topic, "sensor_msgs/msg/Image", 1, depth)
    assert len(list(read_bag_frames(tmp_path / "bag"))) == 1
    assert "is depth aligned" in caplog.text and "camera_depth_optical_frame" in caplog.text


def test_rectified_images_belong_to_the_projection_matrix(tmp_path, store, frame, caplog):
    config = RecordingConfig("/camera/image_rect", "", rectified=True)
    lens = dataclasses.replace(frame.camera, fx=44.0, distortion=(-0.3, 0.1, 0.0, 0.0), distortion_model="plumb_bob")
    raw = dataclasses.replace(info_of_camera(lens), p=info_of_camera(frame.camera).p)
    message = info_of(store, lens, 1)
    for name, value in message_fields(raw, store.types["sensor_msgs/msg/RegionOfInterest"]).items():
        setattr(message, name, value)
    with write_bag(tmp_path / "bag", store) as writer:
        writer.write(config.color_topic, "sensor_msgs/msg/Image", 1, image_message(store, "rgb8", frame.rgb))
        writer.write(config.camera_info_topic, "sensor_msgs/msg/CameraInfo", 1, message)
    (item,) = read_bag_frames(tmp_path / "bag", config)
    assert item.camera == frame.camera and not caplog.text
    (item,) = read_bag_frames(tmp_path / "bag", dataclasses.replace(config, rectified=False))
    assert item.camera == lens and "looks rectified" in caplog.text


def test_depth_in_another_unit(bag, frame):
    for item in read_bag_frames(bag, RecordingConfig(depth_scale=0.1)):
        np.testing.assert_allclose(item.depth_m, 0.1 * frame.depth_m, atol=1e-6)


def test_one_mcap_file_reads_like_its_folder(bag):
    (file,) = bag.glob("*.mcap")
    assert is_bag(file) and len(list(read_bag_frames(file))) == 3


def test_messages_of_more_packages_are_described_in_the_bag(tmp_path):
    store = make_typestore()
    store.register(get_types_from_msg("string name\nfloat64[36] covariance\n", "toy_msgs/msg/Part"))
    store.register(get_types_from_msg("std_msgs/Header header\nPart[] parts\n", "toy_msgs/msg/Thing"))
    types = store.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 2), "camera")
    thing = types["toy_msgs/msg/Thing"](header, [types["toy_msgs/msg/Part"]("gear", np.arange(36.0))])
    with write_bag(tmp_path / "bag", store) as writer:
        writer.write("/things", "toy_msgs/msg/Thing", 5, thing)
        writer.write("/things", "toy_msgs/msg/Thing", 6, store.serialize_cdr(thing, "toy_msgs/msg/Thing").tobytes())
    messages = list(read_bag(tmp_path / "bag"))
    assert [(topic, time_ns) for topic, time_ns, _ in messages] == [("/things", 5), ("/things", 6)]
    for _, _, message in messages:
        assert stamp_ns(message) == 1_000_000_002
        assert message.parts[0].name == "gear" and message.parts[0].covariance.tolist() == list(range(36))


def test_a_new_bag_replaces_the_old_only_when_it_is_whole(bag, store):
    def break_off():
        with write_bag(bag, store) as writer:
            writer.write("/text", STRING, 1, store.types[STRING]("half"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert len(list(read_bag_frames(bag))) == 3
    with write_bag(bag, store) as writer:
        writer.write("/text", STRING, 1, store.types[STRING]("new"))
    assert [message.data for _, _, message in read_bag(bag)] == ["new"]
    assert [path.name for path in bag.parent.iterdir()] == ["bag"]


def test_a_folder_that_is_no_bag_is_left_alone(tmp_path, store):
    (tmp_path / "precious").mkdir()
    with pytest.raises(DataError, match="is not a bag"), write_bag(tmp_path / "precious", store):
        pass
    assert (tmp_path / "precious").is_dir()


def test_an_unknown_message_type_is_named(tmp_path, store):
    with pytest.raises(DataError, match="'no_msgs/msg/None'"), write_bag(tmp_path / "bag", store) as writer:
        writer.write("/x", "no_msgs/msg/None", 0, b"")


def test_a_missing_topic_is_named_with_those_there(bag):
    with pytest.raises(DataError, match=r"no topic /depth.*it has /camera/camera/aligned"):
        list(read_bag_frames(bag, RecordingConfig(depth_topic="/depth")))


def test_stamps_that_never_agree_are_an_error(tmp_path, store, frame):
    with write_bag(tmp_path / "bag", store) as writer:
        write_frame(writer, dataclasses.replace(frame, depth_m=None))
        topic = RecordingConfig().depth_topic
        writer.write(topic, "sensor_msgs/msg/Image", 0, image_message(store, "16UC1", np.ones((24, 32), np.uint16)))
    with pytest.raises(DataError, match="no frames whose stamps agree"):
        list(read_bag_frames(tmp_path / "bag"))
    assert len(list(read_bag_frames(tmp_path / "bag", RecordingConfig(tolerance_ms=10_000)))) == 1


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_bag_truncated_in_its_first_chunk_is_a_data_error(bag, share):
    (file,) = bag.glob("*.mcap")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match="bag"):
        list(read_bag_frames(file))


@pytest.mark.parametrize("name", ["missing.mcap", "text.mcap"])
def test_what_is_no_bag_is_a_data_error(tmp_path, name):
    (tmp_path / "text.mcap").write_text("no bag at all")
    with pytest.raises(DataError, match=name):
        list(read_bag(tmp_path / name))


def test_compressed_topics_are_frames(tmp_path, store, frame):
    types, config = store.types, RecordingConfig("/color/compressed", "/depth/compressedDepth")
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 2), "camera")
    depth_mm = np.rint(frame.depth_m * 1e3).astype(np.uint16)
    color = cv2.imencode(".png", frame.rgb[:, :, ::-1])[1].ravel()
    depth = np.concatenate([np.zeros(12, np.uint8), cv2.imencode(".png", depth_mm)[1].ravel()])
    kind = "sensor_msgs/msg/CompressedImage"
    with write_bag(tmp_path / "bag", store) as writer:
        writer.write(config.color_topic, kind, 1, types[kind](header, "rgb8; png compressed bgr8", color))
        writer.write(config.depth_topic, kind, 1, types[kind](header, "16UC1; compressedDepth", depth))
        info = info_of(store, frame.camera, 1_000_000_002)
        writer.write(config.camera_info_topic, "sensor_msgs/msg/CameraInfo", 1, info)
    (item,) = read_bag_frames(tmp_path / "bag", config)
    np.testing.assert_array_equal(item.rgb, frame.rgb)
    np.testing.assert_allclose(item.depth_m, frame.depth_m, atol=1e-6)


def test_sizes_that_differ_are_named(tmp_path, store, frame):
    with write_bag(tmp_path / "bag", store) as writer:
        write_frame(writer, dataclasses.replace(frame, depth_m=None, stamp_ns=3_000_000_014))
        small = image_message(store, "16UC1", np.ones((12, 16), np.uint16))
        writer.write(RecordingConfig().depth_topic, "sensor_msgs/msg/Image", 0, small)
    with pytest.raises(DataError, match=r"\(24, 32\), got \(12, 16\)"):
        list(read_bag_frames(tmp_path / "bag"))


def test_a_definition_without_a_field_is_named(tmp_path, store, frame):
    with write_bag(tmp_path / "bag", store) as writer:
        write_frame(writer, frame)
    (file,) = (tmp_path / "bag").glob("*.mcap")
    file.write_bytes(file.read_bytes().replace(b"uint8 is_bigendian", b"uint8 is_bigendxxx"))
    with pytest.raises(DataError, match=r"/image_raw defines sensor_msgs/msg/Image without the field 'is_bigendian'"):
        list(read_bag_frames(tmp_path / "bag"))


def test_our_own_messages_are_known(store):
    for name in ("vision_msgs/msg/Detection3DArray", "object_pose_msgs/msg/ObjectPoseArray", "tf2_msgs/msg/TFMessage"):
        assert name in store.types
