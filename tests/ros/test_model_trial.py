"""A running pipeline whose model is switched: to a good one, and to some that are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import KeypointDetectionArray
from object_pose_msgs.srv import SetModel
from onnx import numpy_helper

from driver import publish_until
from object_pose.ros.transport import qos, topics

_LIMIT_S = 40.0


def edited(cube_model, path, change):
    """The cube's model with another constant output."""
    model = onnx.load(str(cube_model))
    (constant,) = [node for node in model.graph.node if node.op_type == "Constant"]
    (value,) = constant.attribute
    output = change(numpy_helper.to_array(value.t).copy())
    value.t.CopyFrom(numpy_helper.from_array(output.astype(np.float32), value.t.name))
    onnx.save(model, str(path))
    return path


def without_scores(output):
    output[:, 4] = 0.0
    return output


def with_scattered_keypoints(output):
    rng = np.random.default_rng(0)
    output[:, 5:] += rng.uniform(-60.0, 60.0, output[:, 5:].shape)
    return output


def set_model(ros, model):
    answer = ros.call(SetModel, "/detection_node/set_model", SetModel.Request(model=str(model)))
    assert answer.success, answer.message


def deployed(domain_id, model, folder):
    """Start ``object-pose models deploy`` as its user does."""
    command = [sys.executable, "-m", "object_pose.cli.main", "models", "deploy", str(model), "--json"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain_id)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)


def model_of(keypoints):
    return {message.model for message in keypoints}


@pytest.fixture
def streams(ros, pipeline, frame):
    """The answers of a running pipeline that has found the cube."""
    answers, driver = pipeline[2:]
    keypoints = ros.collect(KeypointDetectionArray, topics.KEYPOINTS, qos.RESULT)
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    publish_until(ros, driver, lambda: keypoints and any(m.poses for m in answers), "a pose", frame=frame)
    return answers, keypoints, diagnostics, driver


def test_a_good_model_takes_over_and_no_frame_is_without_its_pose(ros, streams, cube_model, frame, tmp_path):
    answers, keypoints, diagnostics, driver = streams
    other = shutil.copy(cube_model, tmp_path / "other.onnx")
    answers.clear()
    set_model(ros, other)
    told = lambda: any(f"{other}: passed" in str(m.status) for m in diagnostics)  # noqa: E731
    publish_until(ros, driver, told, "the end of the trial", _LIMIT_S, frame=frame)
    assert keypoints[-1].model == str(other)
    assert all(message.poses for message in answers)


@pytest.mark.parametrize("change", [without_scores, with_scattered_keypoints])
def test_a_broken_model_never_answers(ros, streams, cube_model, frame, tmp_path, change):
    answers, keypoints, diagnostics, driver = streams
    broken = edited(cube_model, tmp_path / "broken.onnx", change)
    keypoints.clear()
    answers.clear()
    set_model(ros, broken)
    told = lambda: any(f"{broken} failed" in str(m.status) for m in diagnostics)  # noqa: E731
    publish_until(ros, driver, told, "the failed trial", _LIMIT_S, frame=frame)
    assert model_of(keypoints) == {str(cube_model)}
    assert answers and all(message.poses for message in answers)


@pytest.mark.parametrize("is_broken", [False, True])
def test_who_deploys_hears_how_the_trial_ends(ros, domain_id, streams, cube_model, frame, tmp_path, is_broken):
    driver = streams[3]
    model = tmp_path / "other.onnx"
    edited(cube_model, model, without_scores if is_broken else np.array)
    with deployed(domain_id, model, tmp_path) as process:
        publish_until(ros, driver, lambda: process.poll() is not None, "the command's end", _LIMIT_S, frame=frame)
        said = json.loads(process.stdout.read())
    assert (said["state"], process.returncode) == (("failed", 1) if is_broken else ("passed", 0))
    assert ("detects" in said["text"]) == is_broken
