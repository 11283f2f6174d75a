"""The calibration node: it says what to show, keeps what is useful, and calibrates as the command does."""

from __future__ import annotations

import numpy as np
import pytest
from object_pose_msgs.msg import CalibrationStatus
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from driver import start
from object_pose.calibration.boards import parse_board
from object_pose.calibration.simulated import board_picture, pose_before, simulate_hand_eye
from object_pose.core.errors import ConfigError
from object_pose.core.geometry.camera import Camera
from object_pose.io.camera_info import read_camera, write_camera
from object_pose.io.robot_samples import read_samples
from object_pose.ros.messages.conversions import camera_transform
from object_pose.ros.messages.images import make_header, rgb_to_message
from object_pose.ros.nodes.calibration_node import CalibrationNode
from object_pose.ros.transport import qos, topics

CAMERA = Camera(320, 240, 280.0, 281.0, 161.0, 118.0, (-0.1, 0.02, 0.0, 0.0, 0.0))
BOARD = "charuco:7x5:0.04:0.03:DICT_5X5_100"


class Show:
    """A camera before which a board is held, and a robot that tells where its tool is."""

    def __init__(self, ros):
        self.ros = ros
        self.answers = ros.collect(CalibrationStatus, topics.CALIBRATION_STATUS, qos.RESULT)
        self._color = ros.node.create_publisher(Image, topics.COLOR, qos.DRIVER_OUTPUT)
        self._transforms = ros.node.create_publisher(TFMessage, topics.TF, qos.TRANSFORMS)
        self._stamp_ns = 10**9

    def wait_until_heard(self, with_robot=False):
        publishers = [self._color] + [self._transforms] * with_robot
        self.ros.wait_for(lambda: all(p.get_subscription_count() for p in publishers), "the node's subscriptions")

    def image(self, gray, tool_poses=()):
        """Publish an image and the tool's poses for half a second before and after; return the node's answer."""
        self._stamp_ns += 2 * 10**9
        for index, pose in enumerate(tool_poses):
            stamp_ns = self._stamp_ns + int((index / (len(tool_poses) - 1) - 0.5) * 1e9)
            self._transforms.publish(camera_transform(pose, make_header(stamp_ns, "base_link"), "tool0"))
        rgb = np.repeat(gray[..., None], 3, axis=-1)
        self._color.publish(rgb_to_message(rgb, make_header(self._stamp_ns, "camera")))
        newest = lambda: [m for m in self.answers if m.header.stamp.sec == self._stamp_ns // 10**9]  # noqa: E731
        return self.ros.wait_for(newest, "the node's answer", 20.0)[0]


def shown(T, seed=0):
    return board_picture(parse_board(BOARD), CAMERA, T, seed=seed)


def test_images_are_kept_guided_and_solved(ros, tmp_path):
    start(ros, CalibrationNode, board=BOARD, name="wrist", output=str(tmp_path))
    show = Show(ros)
    pictures = ros.collect(Image, topics.CALIBRATION_IMAGE, qos.RESULT)
    show.wait_until_heard()
    nothing = show.image(np.full((240, 320), 90, np.uint8))
    assert not nothing.found and "not visible" in nothing.advice and nothing.images == 0
    generator = np.random.default_rng(0)
    for index in range(8):
        shift = generator.uniform(-0.05, 0.05, 2)
        T = pose_before(
            parse_board(BOARD), generator.uniform(0.35, 0.5), generator.uniform(-0.5, 0.5, 2), 0.3 * index, shift
        )
        answer = show.image(shown(T, index))
        assert answer.found and answer.images == index + 1 and len(answer.wanted_px) == 8
        assert len(answer.points_px) > 16
    again = show.image(shown(T, 99))
    assert again.images == 8 and not again.useful and "like 007" in again.advice
    ros.wait_for(lambda: pictures, "a picture")
    assert (pictures[-1].width, pictures[-1].height) == CAMERA.wh
    assert ros.call(Trigger, "/calibration_node/drop", Trigger.Request()).success
    client = ros.node.create_client(Trigger, "/calibration_node/solve")
    ros.wait_for(client.service_is_ready, "the service")
    future = client.call_async(Trigger.Request())
    ros.wait_for(future.done, "the calibration", 60.0)
    assert future.result().success, future.result().message
    assert read_camera(tmp_path / "intrinsics" / "wrist.yaml").fx == pytest.approx(CAMERA.fx, rel=0.03)


def test_hand_eye_takes_images_where_the_robot_stands_still(ros, tmp_path):
    truth = simulate_hand_eye(parse_board(BOARD), CAMERA, samples=7, robot_sigma_mm=0.05, robot_sigma_deg=0.01, seed=5)
    write_camera(tmp_path / "camera.yaml", CAMERA)
    parameters = {"board": BOARD, "kind": "hand_eye", "output": str(tmp_path), "min_samples": 6}
    start(ros, CalibrationNode, **parameters, intrinsics=str(tmp_path / "camera.yaml"))
    show = Show(ros)
    show.wait_until_heard(with_robot=True)
    poses = truth.T_base_gripper
    moving = show.image(shown(truth.T_camera_board[0]), [poses[0], poses[1], poses[0]])
    assert moving.images == 0 and "the robot moves" in moving.advice
    for index, (T, pose) in enumerate(zip(truth.T_camera_board, poses)):
        answer = show.image(shown(T, index), [pose] * 11)
        assert answer.images == index + 1, answer.advice
    assert "next pose worth taking" in answer.advice
    samples = read_samples(tmp_path / "hand_eye" / "camera_samples")
    np.testing.assert_allclose([sample.T_base_gripper for sample in samples], poses, atol=1e-9)


def test_without_a_board_it_does_not_start(ros):
    with pytest.raises(ConfigError, match="'board' is not set"):
        start(ros, CalibrationNode)
