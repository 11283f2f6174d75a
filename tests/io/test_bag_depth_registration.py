"""Bags whose depth is not aligned: registered by the depth's camera_info and the bag's /tf, or refused by name."""

import numpy as np
import pytest

from cube import CAMERA, cube_frame
from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.vision.depth_registration import register_depth
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames, read_camera_transforms, write_frame
from object_pose.io.bags import make_typestore, write_bag

DEPTH_CAMERA = Camera(424, 240, 210.0, 210.0, 211.5, 119.5)
T_COLOR_DEPTH = se3.make_transform(se3.exp_so3((0.0, 0.01, 0.02)), (0.05, 0.002, -0.003))
DEPTH = RecordingConfig(
    color_topic="/depth_as_colour", depth_topic="/depth/image", camera_info_topic="/depth/camera_info"
)
CONFIG = RecordingConfig(depth_topic="/depth/image", depth_camera_info_topic="/depth/camera_info")


def write_unaligned(path, with_transform=True):
    """A bag of colour in one frame, and depth with its camera_info in another."""
    frame = cube_frame()
    depth_m = register_depth(frame.depth_m, CAMERA, DEPTH_CAMERA, se3.inverse(T_COLOR_DEPTH))
    grey = np.zeros((*depth_m.shape, 3), np.uint8)
    with write_bag(path, make_typestore()) as bag:
        write_frame(bag, Frame(frame.rgb, CAMERA, None, frame.stamp_ns), CONFIG, frame_id="color")
        write_frame(bag, Frame(grey, DEPTH_CAMERA, depth_m, frame.stamp_ns), DEPTH, frame_id="depth")
        if with_transform:
            write_transform(bag)
    return frame


def write_transform(bag, parent="color", child="depth", quat_wxyz=None):
    types = bag.store.types
    w, x, y, z = quat_wxyz or se3.quat_wxyz_from_rotation(T_COLOR_DEPTH[:3, :3]).tolist()
    transform = types["geometry_msgs/msg/Transform"](
        types["geometry_msgs/msg/Vector3"](*T_COLOR_DEPTH[:3, 3].tolist()),
        types["geometry_msgs/msg/Quaternion"](x, y, z, w),
    )
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), parent)
    stamped = types["geometry_msgs/msg/TransformStamped"](header, child, transform)
    bag.write("/tf_static", "tf2_msgs/msg/TFMessage", 0, types["tf2_msgs/msg/TFMessage"]([stamped]))


def test_depth_is_registered(tmp_path):
    expected = write_unaligned(tmp_path / "bag")
    (frame,) = read_bag_frames(tmp_path / "bag", CONFIG)
    assert frame.depth_m.shape == expected.depth_m.shape
    both = (frame.depth_m > 0) & (expected.depth_m > 0)
    assert both.mean() > 0.7
    # Away from edges, where the two cameras see the same surface.
    assert np.median(np.abs(frame.depth_m - expected.depth_m)[both]) < 2e-3


def test_without_its_place_it_is_refused(tmp_path):
    write_unaligned(tmp_path / "bag", with_transform=False)
    with pytest.raises(DataError, match=r"has no /tf: depth cannot be registered"):
        list(read_bag_frames(tmp_path / "bag", CONFIG))


def test_a_transform_that_is_none_is_left_out_and_said(tmp_path, caplog):
    with write_bag(tmp_path / "bag", make_typestore()) as bag:
        write_frame(bag, cube_frame(), frame_id="color")
        write_transform(bag, "base", "color")
        write_transform(bag, "base", "conveyor", quat_wxyz=[0.0] * 4)
    stamp = cube_frame().stamp_ns
    np.testing.assert_allclose(read_camera_transforms(tmp_path / "bag", "base")(stamp), T_COLOR_DEPTH, atol=1e-9)
    assert "1 transforms are left out, the first: the transform from 'conveyor' to 'base'" in caplog.text


def test_without_its_camera_info_the_sizes_differ_and_that_is_said(tmp_path):
    write_unaligned(tmp_path / "bag")
    with pytest.raises(DataError, match="differ in size"):
        list(read_bag_frames(tmp_path / "bag", RecordingConfig(depth_topic="/depth/image")))
    with pytest.raises(DataError, match="has no topic /absent"):
        list(
            read_bag_frames(
                tmp_path / "bag", RecordingConfig(depth_topic="/depth/image", depth_camera_info_topic="/absent")
            )
        )
