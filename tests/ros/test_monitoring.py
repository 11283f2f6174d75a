"""The drift monitor in a running pipeline: what /diagnostics, Prometheus and a request's folder get."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import ObjectPoseArray
from vision_msgs.msg import Detection2DArray

from driver import FakeDriver, problems, publish_until, start
from networks import save_constant_network
from object_pose.core.errors import ConfigError
from object_pose.core.metrics.drift import DriftReference, describe_depth, describe_image
from object_pose.core.vision.decoders import Layout
from object_pose.io.bop import read_bop_scene
from object_pose.io.datasets.opening import open_dataset
from object_pose.io.retraining_request import open_requests
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics
from object_pose.runtime.card import ModelCard


@pytest.fixture
def reference(cube_model, frame):
    """What lies beside the cube's model: frames like the test's, a little brighter and darker."""
    rgb = frame.rgb.astype(np.int64)
    described = [describe_image(np.clip(rgb + step, 0, 255).astype(np.uint8)) for step in range(-8, 9)]
    statistics = [{**item, **describe_depth(frame.depth_m)} for item, _ in described]
    path = cube_model.with_name("cube.reference.json")
    path.write_text(json.dumps(DriftReference.of(statistics, [vector for _, vector in described]).to_json()))
    return path


@pytest.fixture
def detector(tmp_path):
    """A detector of boxes, which finds one in every image."""
    output = np.zeros((1, 5, 126))
    output[0, :, 0] = 48.0, 32.0, 20.0, 20.0, 0.9
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("cube",), (96, 64))
    return save_constant_network(output, card.to_metadata(), (96, 64), tmp_path / "boxes.onnx")


def drift_in(diagnostics):
    texts = [status.message for message in diagnostics for status in message.status]
    return [text for text in texts if "usually" in text]


def test_drift_is_told_counted_and_kept(ros, cube_model, reference, frame, tmp_path):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    monitor = {"every": 1, "window": 6, "min_frames": 3, "request_frames": 3}
    monitor |= {"requests": str(tmp_path / "requests"), "metrics": str(tmp_path / "object_pose.prom")}
    start(ros, PoseNode, model=str(cube_model), **{f"monitor.{name}": value for name, value in monitor.items()})
    start(ros, DetectionNode, model=str(cube_model))
    driver = FakeDriver(ros)

    metrics = tmp_path / "object_pose.prom"
    publish_until(ros, driver, metrics.exists, "the file for Prometheus", 20.0, frame=frame)
    publish_until(ros, driver, lambda: len([m for m in poses if m.poses]) > 6, "poses", 20.0, frame=frame)
    assert drift_in(diagnostics) == [] and open_requests(tmp_path / "requests") == []

    dark = dataclasses.replace(frame, rgb=frame.rgb // 4)
    told = lambda: any("brightness" in text for text in drift_in(diagnostics))  # noqa: E731
    publish_until(ros, driver, told, "the drift", 30.0, frame=dark)
    counted = lambda: 'drift{statistic="brightness"} 0\n' not in metrics.read_text()  # noqa: E731
    publish_until(ros, driver, counted, "the drift in the file", 20.0, frame=dark)
    assert "object_pose_pipeline_rate_hz" in metrics.read_text()
    (request,) = open_requests(tmp_path / "requests")
    assert request.model == str(cube_model)
    assert len(list(read_bop_scene(request.data, {1: "cube"}))) == 3


def test_a_file_that_cannot_be_written_is_named_and_poses_go_on(ros, cube_model, reference, frame, tmp_path):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    (tmp_path / "no_folder").write_text("")
    metrics = tmp_path / "no_folder" / "object_pose.prom"
    start(ros, PoseNode, model=str(cube_model), **{"monitor.every": 1, "monitor.metrics": str(metrics)})
    start(ros, DetectionNode, model=str(cube_model))
    driver = FakeDriver(ros)
    told = lambda: f"{metrics} cannot be written" in str(problems(diagnostics, "pose_node"))  # noqa: E731
    publish_until(ros, driver, told, "the problem", 30.0, frame=frame)
    poses.clear()
    publish_until(ros, driver, lambda: [message for message in poses if message.poses], "poses", 30.0, frame=frame)


def test_a_detector_alone_is_watched_too(ros, detector, reference, frame, tmp_path):
    shutil.copyfile(reference, detector.with_name("boxes.reference.json"))
    boxes = ros.collect(Detection2DArray, topics.DETECTIONS_2D, qos.RESULT)
    monitor = {"every": 1, "window": 4, "min_frames": 3, "request_frames": 3, "requests": str(tmp_path / "requests")}
    start(ros, DetectionNode, model=str(detector), **{f"monitor.{name}": value for name, value in monitor.items()})
    driver, dark = FakeDriver(ros), dataclasses.replace(frame, rgb=frame.rgb // 4)
    publish_until(ros, driver, lambda: len(boxes) > 4, "boxes", 20.0, frame=frame)
    assert open_requests(tmp_path / "requests") == []
    publish_until(ros, driver, lambda: open_requests(tmp_path / "requests"), "the request", 30.0, frame=dark)
    (request,) = open_requests(tmp_path / "requests")
    (dataset,) = open_dataset(request.data).splits.values()
    assert request.task == "detect" and [len(sample.class_ids) for sample in dataset.samples] == [1, 1, 1]


def test_a_reference_that_is_none_stops_the_node(ros, cube_model, reference):
    reference.write_text("[]")
    with pytest.raises(ConfigError, match="no reference"):
        start(ros, PoseNode, model=str(cube_model))
