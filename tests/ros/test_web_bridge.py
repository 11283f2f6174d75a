"""What a server sees of a running pipeline: frames with their results while it watches, states always, and control."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import httpx
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from driver import FRAME_ID, FakeDriver, publish_until, start
from object_pose.core.errors import ObjectPoseError
from object_pose.core.geometry import se3
from object_pose.ros.messages.conversions import camera_transform
from object_pose.ros.messages.images import make_header
from object_pose.ros.nodes.camera_node import CameraNode
from object_pose.ros.nodes.web_bridge import WebBridge
from object_pose.ros.transport import qos, topics
from object_pose.web.live.hub import LiveHub

LIMIT_S = 60.0


@pytest.fixture
def hub():
    return LiveHub()


@pytest.fixture
def bridge(ros, hub):
    return start(ros, lambda **options: WebBridge(hub, **options), base_frame="base")


def in_thread(ros, call):
    """Call what waits for a service, as a server's thread does, while the nodes are served."""
    answers, errors = [], []

    def run():
        try:
            answers.append(call())
        except ObjectPoseError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    ros.wait_for(lambda: not thread.is_alive(), "the answer")
    if errors:
        raise errors[0]
    return answers[0]


def test_a_frame_comes_with_its_own_results_and_the_place_of_the_camera(ros, pipeline, bridge, hub, frame):
    *_, driver = pipeline
    T_base_camera = se3.make_transform(translation=(0.1, 0.2, 0.3))
    transforms = ros.node.create_publisher(TFMessage, topics.TF_STATIC, qos.FIXED_TRANSFORMS)
    transforms.publish(camera_transform(T_base_camera, make_header(0, "base"), FRAME_ID))

    def is_shown():
        hub.want()
        live = hub.newest() and hub.newest().live
        return live and live.results and live.T_base_camera is not None

    publish_until(ros, driver, is_shown, "a frame with poses", frame=frame)
    found = hub.newest()
    np.testing.assert_array_equal(found.live.frame.rgb, frame.rgb)
    np.testing.assert_allclose(found.live.frame.depth_m, frame.depth_m, atol=6e-4)
    np.testing.assert_allclose(found.live.T_base_camera, T_base_camera)
    assert found.live.frame_id == FRAME_ID
    assert [pose.class_name for pose in found.live.results.poses] == ["cube"]


def test_images_are_read_only_while_somebody_watches(ros, bridge, hub):
    def readers():
        return ros.node.count_subscribers(topics.COLOR)

    ros.wait_for(lambda: hub.is_available, "a state")
    assert readers() == 0
    hub.want()
    ros.wait_for(readers, "the bridge to listen")
    ros.wait_for(lambda: not readers(), "the bridge to listen no more", 20.0)


def test_without_results_pictures_come_all_the_same(ros, bridge, hub, frame):
    driver = FakeDriver(ros)

    def shown():
        hub.want()
        return hub.newest()

    publish_until(ros, driver, shown, "a frame", frame=frame)
    assert hub.newest().live.results is None


def test_a_paused_camera_takes_the_frames_that_are_asked_for(ros, bridge, recording):
    frames = ros.collect(CameraInfo, topics.CAMERA_INFO, qos.SENSOR_INPUT)
    start(ros, CameraNode, **recording, rate_hz=100.0)
    ros.wait_for(lambda: frames, "a frame")
    ros.wait_for(lambda: in_thread(ros, lambda: bridge.pause(True)), "the camera to pause")
    ros.wait_for(lambda: not (frames.clear() or ros.executor.spin_once(0.3)) and not frames, "silence")
    in_thread(ros, bridge.step)
    ros.wait_for(lambda: len(frames) == 1, "one frame")
    in_thread(ros, bridge.step)
    ros.wait_for(lambda: len(frames) == 2, "one frame more")
    in_thread(ros, lambda: bridge.pause(False))
    ros.wait_for(lambda: len(frames) > 5, "frames")


def test_a_camera_that_is_not_ours_is_not_paused_and_models_are_switched_or_refused(ros, pipeline, bridge, cube_model):
    assert in_thread(ros, lambda: bridge.pause(True)) is False
    ros.wait_for(bridge._set_model.service_is_ready, "the service")
    assert in_thread(ros, lambda: bridge.set_model(cube_model)) == ["cube"]
    with pytest.raises(ObjectPoseError, match=r"gone\.onnx"):
        in_thread(ros, lambda: bridge.set_model(cube_model.with_name("gone.onnx")))


@pytest.mark.parametrize("options", [[], ["--processes"]], ids=["one process", "processes"])
def test_run_with_web_shows_what_the_pipeline_sees(domain_id, tmp_path, cube_model, recording, options):
    variables = {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(tmp_path / "log")}
    variables |= {"OBJECT_POSE_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "object_pose.cli.main", "run", "--model", str(cube_model), *options]
    command += ["--source", recording["source"], "--intrinsics", recording["intrinsics"], "--rate", "5"]
    command += ["--web", "--web-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | variables)
    try:
        url = next(line.split()[-1] for line in process.stdout if "answers on" in line)
        with httpx.Client(base_url=url, timeout=LIMIT_S) as client:
            with client.stream("GET", "/v1/live/events") as response:
                assert any(
                    line.startswith("data: ") and '"class_name":"cube"' in line for line in response.iter_lines()
                )
            bag = client.post("/v1/live/recording", json={"action": "start", "name": "bag"}).json()["name"]
            state = client.get("/v1/live").json()
            assert state["recording"] == bag and state["model"] == "cube"
            recordings = tmp_path / "state" / "recordings"
            while not any(file.stat().st_size for file in recordings.rglob("*.mcap")):
                assert client.get("/healthz").status_code == 200
            assert client.post("/v1/live/recording", json={"action": "stop"}).status_code == 200
            assert (recordings / bag / "metadata.yaml").exists()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
