"""Hand-eye samples of a bag: where the robot stood still, by /tf or a topic of poses, one sharp image each."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from object_pose.calibration.boards import parse_board
from object_pose.calibration.simulated import board_picture, simulate_hand_eye
from object_pose.cli.main import main
from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.io.bag_frames import RecordingConfig, write_frame
from object_pose.io.bag_samples import BagSamplesConfig, extract_samples
from object_pose.io.bags import make_typestore, write_bag
from object_pose.io.robot_samples import read_samples
from object_pose.io.static_transforms import transform_from_mapping

CAMERA = Camera(320, 240, 280.0, 281.0, 161.0, 118.0, (-0.1, 0.02, 0.0, 0.0, 0.0))
BOARD = "charuco:7x5:0.04:0.03:DICT_5X5_100"
COLOUR = RecordingConfig(depth_topic="")
STAND_S, MOVE_S, RATE_HZ = 1.2, 0.8, 25.0
# The arm's last link hangs between base and tool, as a robot's do.
T_TOOL_LINK = se3.exp([0.0, 0.0, -0.1, 0.0, 0.0, 0.5])


class Arm:
    """Where the tool is: it stands at each pose in turn, and moves between them."""

    def __init__(self, poses):
        self.poses = poses
        self.duration_s = len(poses) * (STAND_S + MOVE_S) - MOVE_S

    def at(self, time_s):
        index, since_s = divmod(time_s, STAND_S + MOVE_S)
        here, there = self.poses[int(index)], self.poses[min(int(index) + 1, len(self.poses) - 1)]
        share = max(0.0, since_s - STAND_S) / MOVE_S
        twist = se3.log(se3.inverse(here) @ there)
        return here @ se3.exp(share * twist)


def transform_messages(types, stamp, stamped):
    header = lambda frame: types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*stamp), frame)  # noqa: E731
    found = []
    for parent, child, T in stamped:
        w, x, y, z = se3.quat_wxyz_from_rotation(T[:3, :3]).tolist()
        place = types["geometry_msgs/msg/Vector3"](*T[:3, 3].tolist())
        turn = types["geometry_msgs/msg/Quaternion"](x, y, z, w)
        transform = types["geometry_msgs/msg/Transform"](place, turn)
        found.append(types["geometry_msgs/msg/TransformStamped"](header(parent), child, transform))
    return types["tf2_msgs/msg/TFMessage"](found)


def pose_message(types, stamp, T):
    w, x, y, z = se3.quat_wxyz_from_rotation(T[:3, :3]).tolist()
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*stamp), "base_link")
    place = types["geometry_msgs/msg/Point"](*T[:3, 3].tolist())
    pose = types["geometry_msgs/msg/Pose"](place, types["geometry_msgs/msg/Quaternion"](x, y, z, w))
    return types["geometry_msgs/msg/PoseStamped"](header, pose)


@pytest.fixture(scope="module")
def truth():
    return simulate_hand_eye(parse_board(BOARD), CAMERA, samples=10, robot_sigma_mm=0.05, robot_sigma_deg=0.01, seed=1)


@pytest.fixture(scope="module")
def bag(truth, tmp_path_factory):
    """A robot that stands at ten poses: two images at each, the first of them shaken, and one on the way."""
    path = tmp_path_factory.mktemp("bags") / "bag"
    board, arm = parse_board(BOARD), Arm(truth.T_base_gripper)
    with write_bag(path, make_typestore()) as out:
        types = out.store.types
        for step in range(int(arm.duration_s * RATE_HZ) + 1):
            stamp_ns = int(1e9 + step / RATE_HZ * 1e9)
            T, stamp = arm.at(step / RATE_HZ), divmod(stamp_ns, 10**9)
            links = [("base_link", "link_6", T @ T_TOOL_LINK), ("link_6", "tool0", se3.inverse(T_TOOL_LINK))]
            out.write("/tf", "tf2_msgs/msg/TFMessage", stamp_ns, transform_messages(types, stamp, links))
            out.write("/tool_pose", "geometry_msgs/msg/PoseStamped", stamp_ns, pose_message(types, stamp, T))
        for index, T in enumerate(truth.T_camera_board):
            picture = board_picture(board, CAMERA, T, seed=index)
            shaken = cv2.blur(picture, (7, 1))
            start_s = 1.0 + index * (STAND_S + MOVE_S)
            for since_s, gray in ((0.4, shaken), (0.7, picture), (1.5, shaken)):
                rgb = np.repeat(gray[..., None], 3, axis=-1)
                write_frame(out, Frame(rgb, CAMERA, None, int((start_s + since_s) * 1e9)), COLOUR, "wrist_optical")
    return path


@pytest.mark.parametrize("config", [BagSamplesConfig(), BagSamplesConfig(pose_topic="/tool_pose")])
def test_one_sharp_image_at_each_stop_with_the_tool_s_pose(bag, truth, tmp_path, config):
    found = extract_samples(bag, tmp_path / "samples", "base_link", "tool0", config)
    assert found.camera == CAMERA and found.camera_frame == "wrist_optical"
    # The last stop has no transform after its second image for as long as is wanted.
    stops = [1.0 + index * (STAND_S + MOVE_S) for index in range(10)]
    assert [float(sample.name) for sample in found.samples] == pytest.approx([stop + 0.7 for stop in stops])
    read = read_samples(tmp_path / "samples")
    np.testing.assert_allclose([sample.T_base_gripper for sample in read], truth.T_base_gripper, atol=1e-9)


def test_the_command_calibrates_from_a_bag_and_keeps_its_samples(bag, truth, tmp_path, capsys):
    words = ["calibrate", "hand-eye", str(bag), "--board", BOARD, "--output", str(tmp_path), "--json"]
    assert main([*words, "--min-samples", "8"]) == 0
    figures = json.loads(capsys.readouterr().out)
    X = transform_from_mapping(figures["transform"], "transform")
    assert np.linalg.norm(X[:3, 3] - truth.X[:3, 3]) < 1e-3
    assert len(read_samples(tmp_path / "camera_samples")) == 10
    launch = (tmp_path / "camera.launch.py").read_text()
    assert "'tool0'" in launch and "'wrist_optical'" in launch


def test_intrinsics_from_a_bag_take_what_adds_to_the_images_before(bag, tmp_path, capsys):
    words = ["calibrate", "intrinsics", str(bag), "--board", BOARD, "--output", str(tmp_path), "--json"]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["rms_px"] < 0.3 and 8 <= len(list((tmp_path / "camera_images").iterdir())) <= 20


def test_what_a_bag_lacks_is_named_and_nothing_is_written(bag, tmp_path):
    for frames, config, words in (
        (("base_link", "flange"), BagSamplesConfig(), "'base_link' and 'flange' are not connected"),
        (("base_link", "tool0"), BagSamplesConfig(pose_topic="/absent"), "has no topic /absent"),
        (("base_link", "tool0"), BagSamplesConfig(color_topic="/tf"), "has the type tf2_msgs"),
    ):
        with pytest.raises(DataError, match=words):
            extract_samples(bag, tmp_path / "samples", *frames, config)
        assert not (tmp_path / "samples").exists()
    moving = tmp_path / "moving"
    with write_bag(moving, make_typestore()) as out:
        types = out.store.types
        for step in range(50):
            stamp_ns = 10**9 + step * 40_000_000
            links = [("base_link", "tool0", se3.make_transform(translation=(0.01 * step, 0.0, 0.0)))]
            message = transform_messages(types, divmod(stamp_ns, 10**9), links)
            out.write("/tf", "tf2_msgs/msg/TFMessage", stamp_ns, message)
        picture = np.zeros((240, 320, 3), np.uint8)
        write_frame(out, Frame(picture, CAMERA, None, 2 * 10**9), COLOUR)
    with pytest.raises(DataError, match="stands still at none of the 1 images"):
        extract_samples(moving, tmp_path / "samples", "base_link", "tool0", BagSamplesConfig())
