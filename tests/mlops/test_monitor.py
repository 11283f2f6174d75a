"""From drift to a retraining request, and what Prometheus and Grafana are told."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from object_pose.core.errors import ConfigError, DataError
from object_pose.core.metrics.drift import DriftReference, describe_depth, describe_image, describe_poses
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import PoseResults
from object_pose.io.bop import bop_names, read_bop_scene
from object_pose.io.datasets.opening import open_dataset
from object_pose.io.datasets.samples import require_usable
from object_pose.io.retraining_request import open_requests, read_request
from object_pose.mlops.monitor import DriftMonitor, MonitorConfig, load_reference
from object_pose.runtime.pose_estimator import PoseEstimator

DEPLOY = Path(__file__).parents[2] / "deploy" / "monitoring"
LABELS = ("cube",)


@pytest.fixture
def results(cube_model, frame) -> PoseResults:
    """What is found in the frame."""
    return PoseEstimator(cube_model).register(frame).results


@pytest.fixture
def reference(frame, results) -> DriftReference:
    """Frames like the one that is seen, a little brighter or darker."""
    described = [describe_image(shifted(frame, step).rgb) for step in range(-8, 9)]
    of_depth, of_poses = describe_depth(frame.depth_m), describe_poses(results)
    return DriftReference.of([{**item, **of_depth, **of_poses} for item, _ in described], [v for _, v in described])


def shifted(frame, step):
    rgb = np.clip(frame.rgb.astype(np.int64) + step, 0, 255).astype(np.uint8)
    return dataclasses.replace(frame, rgb=rgb)


def monitor(reference, tmp_path, **changes):
    values = {"window": 10, "min_frames": 5, "request_frames": 4, "metrics": str(tmp_path / "object_pose.prom")}
    config = MonitorConfig(**{**values, "requests": str(tmp_path / "requests"), **changes})
    return DriftMonitor(config, reference, Path("parts.onnx"), LABELS, 0.5)


def test_frames_like_the_reference_lead_to_nothing(reference, frame, results, tmp_path):
    watched = monitor(reference, tmp_path)
    assert [watched.observe(frame, results) for _ in range(12)] == 12 * [None]
    assert watched.findings == ()


def test_drift_leads_to_one_request_that_every_command_reads(reference, frame, results, tmp_path):
    watched = monitor(reference, tmp_path)
    dark = dataclasses.replace(frame, rgb=frame.rgb // 4)
    requests = [request for _ in range(12) if (request := watched.observe(dark, results))]
    assert len(requests) == 1  # the next is due in an hour
    (request,) = open_requests(tmp_path / "requests")
    assert request == read_request(request.path)
    assert request.frames == 4 and any("brightness" in reason for reason in request.reasons)
    frames = list(read_bop_scene(request.data, bop_names(LABELS)))
    assert len(frames) == 4
    np.testing.assert_array_equal(frames[0].frame.rgb, dark.rgb)
    (truth,) = frames[0].truths
    np.testing.assert_allclose(truth.T_camera_object, results.poses[0].T_camera_object, atol=1e-9)

    assert request.closed({"promoted": False}).state == "done"
    assert open_requests(tmp_path / "requests") == []


def test_poses_that_are_not_sure_are_no_labels(reference, frame, results, tmp_path):
    watched = monitor(reference, tmp_path)
    doubtful = dataclasses.replace(results, poses=tuple(dataclasses.replace(pose, score=0.3) for pose in results.poses))
    dark = dataclasses.replace(frame, rgb=frame.rgb // 4)
    (request,) = [request for _ in range(8) if (request := watched.observe(dark, doubtful))]
    assert [item.truths for item in read_bop_scene(request.data, bop_names(LABELS))] == 4 * [()]


def boxes(scores) -> Detections:
    count = len(scores)
    corners = np.array([10.0, 20.0, 30.0, 50.0]) + 9.0 * np.arange(count)[:, None]
    keypoints = np.zeros((count, 0, 2))
    return Detections(corners, np.array(scores), np.zeros(count, np.int64), keypoints, keypoints[..., 0])


def test_images_of_a_detector_are_labelled_where_all_is_sure(reference, frame, tmp_path):
    watched = monitor(reference, tmp_path)
    answers = itertools.cycle([boxes([0.9, 0.8, 0.01]), boxes([0.9, 0.3]), boxes([])])
    (request,) = [item for _ in range(8) if (item := watched.observe_image(frame.rgb // 4, next(answers), 0.2))]
    assert request.task == "detect" and request.frames == 4
    (dataset,) = open_dataset(request.data).splits.values()
    assert dataset.labels == LABELS
    for sample in require_usable(dataset).samples:
        np.testing.assert_allclose(sample.boxes_xyxy, boxes([0.9, 0.8]).boxes_xyxy, atol=1e-6)
    assert len(dataset.samples) + len(list((request.path / "unlabelled").iterdir())) == 4


def written(reference, frame, results, tmp_path):
    watched = monitor(reference, tmp_path, requests="")
    for _ in range(6):
        watched.observe(dataclasses.replace(frame, rgb=frame.rgb // 4), results)
    figures = ("rate_hz", "total_milliseconds", "registration_milliseconds", "frames_total", "errors_total")
    pipeline = {f"object_pose_pipeline_{name}": 1.0 for name in (*figures, "rejections_total")}
    watched.write_metrics(pipeline | {"object_pose_monitor_requests_total": 0.0})
    return (tmp_path / "object_pose.prom").read_text()


def test_prometheus_reads_what_is_written(reference, frame, results, tmp_path):
    text = written(reference, frame, results, tmp_path)
    assert all(re.fullmatch(r'[a-z_]+(\{([a-z]+="[a-z_]+",?)+\})? \S+', line) for line in text.splitlines())
    assert 'object_pose_monitor_drift{statistic="brightness"} 1\n' in text
    assert 'object_pose_monitor_reference{statistic="brightness",bound="low"}' in text


def test_alerts_and_dashboard_ask_for_what_there_is(reference, frame, results, tmp_path):
    known = set(re.findall(r"^object_pose_\w+", written(reference, frame, results, tmp_path), re.MULTILINE))
    source = (Path(__file__).parents[2] / "perception_ws/src/object_pose/object_pose/web/metrics.py").read_text()
    known |= set(re.findall(r'"(object_pose_\w+)"', source))
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    dashboard = json.loads((DEPLOY / "dashboard.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {name for text in asked for name in re.findall(r"object_pose_[a-z_]+", text)} - {"object_pose_"}
    bases = {re.sub(r"_(bucket|total)$", "", name) for name in names}
    assert bases <= {re.sub(r"_total$", "", name) for name in known}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_reference_beside_a_model_is_its_own(reference, tmp_path):
    model = tmp_path / "parts.onnx"
    assert load_reference(MonitorConfig(), model) is None
    (tmp_path / "parts.reference.json").write_text(json.dumps(reference.to_json()))
    assert load_reference(MonitorConfig(), model).frames == 17
    (tmp_path / "parts.reference.json").write_text("{}")
    with pytest.raises(ConfigError, match="no reference"):
        load_reference(MonitorConfig(), model)


def test_a_folder_without_a_request_is_named(tmp_path):
    with pytest.raises(DataError, match="no retraining request"):
        read_request(tmp_path)
