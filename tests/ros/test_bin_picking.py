"""The service of BOP's industrial challenge, called as its tester does: three cameras, millimetres, the world."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, Image

from driver import problems, start
from object_pose.core.errors import ConfigError
from object_pose.core.geometry import se3
from object_pose.core.metrics.pose import rotation_error, translation_error
from object_pose.io.messages import pose_from_message
from object_pose.ros.messages import interfaces
from object_pose.ros.messages.conversions import pose_to_message
from object_pose.ros.nodes.bin_picking_node import BinPickingNode
from object_pose.ros.transport import qos, topics
from object_pose.simulation.scenes.live import LiveConfig, LiveScene

messages = pytest.importorskip("ibpc_interfaces.msg", reason="scripts/setup planning builds it")
services = pytest.importorskip("ibpc_interfaces.srv")
MOMENTS_S = (0.0, 7.0, 13.0)
SERVICE = "/get_pose_estimates"


def image_of(pixels, encoding):
    data = np.ascontiguousarray(pixels)
    return Image(
        height=data.shape[0], width=data.shape[1], encoding=encoding, step=data.strides[0], data=data.tobytes()
    )


def fill(message, frame, T_world_camera, encoding="rgb8"):
    """Make what their tester makes of a BOP image: K alone, depth in counts of 0.1 mm as floats."""
    message.info = CameraInfo(k=frame.camera.matrix.ravel().tolist())
    T_camera_world = se3.inverse(T_world_camera)
    T_camera_world[:3, 3] *= 1e3
    message.pose = pose_to_message(T_camera_world)
    message.rgb = image_of(frame.rgb if encoding == "rgb8" else frame.rgb[..., 1], encoding)
    message.depth = image_of(np.rint(frame.depth_m * 1e4).astype(np.float32), "32FC1")
    return message


@pytest.fixture(scope="module")
def scene():
    return LiveScene(3, LiveConfig(occlusion=False))


@pytest.fixture(scope="module")
def request_of_scene(scene):
    request = services.GetPoseEstimates.Request(object_ids=[1, 2, 3, 4, 5, 6, 77])
    frames = [scene.frame(moment, 0).frame for moment in MOMENTS_S]
    first, second, third = zip(frames, (scene.T_world_camera(moment) for moment in MOMENTS_S))
    request.cameras = [fill(messages.Camera(), *first), fill(messages.Camera(), *second, "8UC1")]
    fill(request.photoneo, *third)
    return request


def call(ros, request):
    client = ros.node.create_client(services.GetPoseEstimates, SERVICE)
    ros.wait_for(client.service_is_ready, "the service")
    future = client.call_async(request)
    ros.wait_for(future.done, "the answer", 120.0)
    return future.result().pose_estimates


def test_the_challenge_s_client_gets_right_poses_in_the_world(ros, scene, request_of_scene):
    start(ros, BinPickingNode)
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    found = call(ros, request_of_scene)
    symmetries = {number: item.model.symmetry for number, item in enumerate(scene.objects, start=1)}
    rest = [(item.class_id + 1, item.T_world_object) for item in scene._world.placements if item.class_id >= 0]
    errors = []
    for number, truth in rest:
        same = [estimate for estimate in found if estimate.obj_id == number]
        poses = [pose_from_message(estimate.pose) for estimate in same]
        for pose in poses:
            pose[:3, 3] *= 1e-3
        distances = [translation_error(pose, truth, symmetries[number]) for pose in poses]
        assert distances and min(distances) < 0.004, f"object {number}"
        nearest = poses[int(np.argmin(distances))]
        errors.append(np.rad2deg(rotation_error(nearest, truth, symmetries[number])))
        assert same[int(np.argmin(distances))].score > 0.9
    assert np.median(errors) < 3.0
    assert [estimate.score for estimate in found] == sorted((e.score for e in found), reverse=True)
    ros.wait_for(lambda: "no object [77]" in str(problems(diagnostics, "bin_picking_node")), "the unknown object")


def test_only_what_is_asked_for_is_answered_and_a_bad_camera_is_left_out(ros, scene, request_of_scene):
    start(ros, BinPickingNode)
    request = services.GetPoseEstimates.Request(object_ids=[4])
    broken = messages.Camera()
    broken.rgb = request_of_scene.cameras[0].rgb
    request.cameras = [broken, request_of_scene.cameras[0]]
    found = call(ros, request)
    assert {estimate.obj_id for estimate in found} == {4}
    assert call(ros, services.GetPoseEstimates.Request(object_ids=[4])) == []


def test_without_the_interface_the_node_says_what_to_do(ros, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(interfaces, "import_module", missing)
    with pytest.raises(ConfigError, match="ibpc_interfaces is not installed"):
        start(ros, BinPickingNode)
