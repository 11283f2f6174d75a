"""Services answer whatever they are asked, and the pipeline goes on as before where they refuse."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from object_pose_msgs.srv import EstimatePoses, SetModel

from cube import CAMERA
from driver import FakeDriver, publish_until, start
from networks import save_constant_network
from object_pose.core.vision.decoders import Layout
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.runtime.card import METADATA_KEY, ModelCard


def set_model(ros, model):
    return ros.call(SetModel, "/detection_node/set_model", SetModel.Request(model=str(model)))


def wait_for_poses(ros, driver, answers, frame):
    answers.clear()
    publish_until(ros, driver, lambda: any(message.poses for message in answers), "a pose", frame=frame)


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf"), 1e300, -1e-300])
def test_an_impossible_timeout_is_refused_and_the_service_lives_on(ros, cube_model, timeout_s):
    start(ros, PoseNode, model=str(cube_model))
    for _ in range(2):
        answer = ros.call(EstimatePoses, "/pose_node/estimate_poses", EstimatePoses.Request(timeout_s=timeout_s))
        assert (answer.success, "timeout_s is" in answer.message) == (False, True)
    answer = ros.call(EstimatePoses, "/pose_node/estimate_poses", EstimatePoses.Request(timeout_s=0.05))
    assert "no frame came in time" in answer.message


def test_a_request_that_waits_ends_with_the_node(ros, cube_model):
    node = start(ros, PoseNode, model=str(cube_model))
    client = ros.node.create_client(EstimatePoses, "/pose_node/estimate_poses")
    ros.wait_for(client.service_is_ready, "service")
    future = client.call_async(EstimatePoses.Request(timeout_s=600.0))
    ros.wait_for(lambda: node._requests, "the request")
    node.trigger_deactivate()
    ros.wait_for(future.done, "answer")
    assert "deactivated" in future.result().message


@pytest.mark.parametrize("options", [{}, {"every_frame": False}, {"continuous": False}], ids=str)
def test_a_request_is_answered_where_stamps_stand_still(ros, cube_model, frame, options):
    start(ros, PoseNode, model=str(cube_model), **options)
    start(ros, DetectionNode, model=str(cube_model))
    driver, client = FakeDriver(ros), ros.node.create_client(EstimatePoses, "/pose_node/estimate_poses")
    driver.wait_until_heard()
    ros.wait_for(client.service_is_ready, "service")
    driver.publish(frame, stamp_ns=10**9)
    future = client.call_async(EstimatePoses.Request(timeout_s=60.0))
    publish_until(ros, driver, future.done, "the answer", 30.0, frame=frame, stamp_ns=10**9)
    assert future.result().success, future.result().message


def hostile(cube_model, folder, edit):
    """The cube's model with another card."""
    model = onnx.load(str(cube_model))
    (entry,) = [item for item in model.metadata_props if item.key == METADATA_KEY]
    entry.value = edit(json.loads(entry.value))
    path = folder / "hostile.onnx"
    onnx.save(model, str(path))
    return path


def replaced(**fields):
    return lambda document: json.dumps(document | fields)


def with_object(**fields):
    return lambda document: json.dumps(document | {"objects": [document["objects"][0] | fields]})


@pytest.mark.parametrize(
    "edit",
    [
        replaced(input_wh=[200_000, 200_000]),
        replaced(input_wh=[4096, 32]),
        replaced(keypoint_count=10**18),
        replaced(labels=["\ud800"]),
        replaced(name="\udfff"),
        with_object(diameter=10**400),
        with_object(diameter=float("nan")),
        with_object(points_object={"shape": [10**30, 3], "float32": ""}),
        with_object(points_object={"shape": [0, 3], "float32": ""}),
        lambda document: "[" * 100_000,
        lambda document: '{"format": ' + "9" * 10_000 + "}",
    ],
    ids=["huge", "large", "keypoints", "label", "name", "diameter", "nan", "shape", "no points", "deep", "digits"],
)
def test_a_hostile_card_is_refused_and_the_old_model_goes_on(ros, pipeline, cube_model, frame, tmp_path, edit):
    answers, driver = pipeline[2:]
    answer = set_model(ros, hostile(cube_model, tmp_path, edit))
    assert not answer.success
    assert "hostile.onnx" in answer.message
    wait_for_poses(ros, driver, answers, frame)


@pytest.mark.parametrize("name", ["", ".", "/", "/dev/null", "x" * 5000, "no/such.onnx", "\u2028"])
def test_what_is_no_model_file_is_refused(ros, pipeline, frame, name):
    answers, driver = pipeline[2:]
    answer = set_model(ros, name)
    assert not answer.success and answer.message
    wait_for_poses(ros, driver, answers, frame)


def save_detector(path):
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("person",), CAMERA.wh)
    return save_constant_network(np.zeros((1, 5, 3)), card.to_metadata(), CAMERA.wh, path)


def test_a_model_that_only_detects_is_refused_where_poses_are_wanted(ros, pipeline, frame, tmp_path):
    answers, driver = pipeline[2:]
    answer = set_model(ros, save_detector(tmp_path / "detector.onnx"))
    assert not answer.success
    assert "carries no object geometry" in answer.message
    wait_for_poses(ros, driver, answers, frame)


def test_a_model_that_only_detects_is_taken_where_nobody_wants_poses(ros, cube_model, tmp_path):
    start(ros, DetectionNode, model=str(cube_model))
    answer = set_model(ros, save_detector(tmp_path / "detector.onnx"))
    assert (answer.success, list(answer.class_names)) == (True, ["person"])


def test_poses_of_another_model_are_prepared_before_it_is_switched_to(ros, pipeline, cube_model, frame, tmp_path):
    pose_node, _, answers, driver = pipeline
    other = shutil.copy(cube_model, tmp_path / "other.onnx")
    opened = []
    pose_node._models._open_model = lambda path, make=pose_node._open: opened.append(path) or make(path)
    for model in (other, cube_model, other):
        assert set_model(ros, model).success
        before = list(opened)
        wait_for_poses(ros, driver, answers, frame)
        assert opened == before, "the pose node opened a model while frames waited"
    assert [path.name for path in opened] == ["other.onnx"]
