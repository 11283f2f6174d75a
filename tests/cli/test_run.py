"""``run``: what the user says of a recording reaches the camera node as its parameters."""

from __future__ import annotations

from object_pose.cli.main import make_parser
from object_pose.cli.run import ros_arguments
from object_pose.core.params import parameters
from object_pose.io.bag_frames import RecordingConfig


def test_how_a_recording_is_read_reaches_the_camera_node():
    given = {
        "color_topic": "/cam/rgb",
        "depth_topic": "",
        "camera_info_topic": "/cam/info",
        "depth_camera_info_topic": "/cam/depth_info",
        "tolerance_ms": "5",
        "depth_scale": "0.1",
    }
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    options = make_parser("run").parse_args(["run", "--source", "bag", "--rectified", *words])
    arguments = ros_arguments(options)
    assert {item.name for item in parameters(RecordingConfig)} == {*given, "rectified"}
    for name, value in (("color_topic", '"/cam/rgb"'), ("depth_topic", '""'), ("rectified", "true")):
        assert f"camera_node:{name}:={value}" in arguments
    assert "camera_node:tolerance_ms:=5.0" in arguments and "camera_node:depth_scale:=0.1" in arguments
