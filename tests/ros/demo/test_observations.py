"""The demo's summary says what the subscriber saw: rate, latency, drops, and how right the poses were."""

from __future__ import annotations

import json

import numpy as np
import pytest
from object_pose_msgs.msg import ObjectTruthArray

from cube import T_CAMERA_CUBE
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.ros.demo.observations import Observations, summarize
from object_pose.ros.demo.planner_probe import live_view
from object_pose.ros.messages.conversions import detections_3d_to_message, truths_to_message
from object_pose.ros.messages.images import make_header

PERIOD_NS = 50_000_000
KEYS = [
    *("transport", "seconds", "frames_published", "arrays_received", "rate_hz", "rate_share"),
    *("detector_hz", "latency_ms", "inference_ms"),
    *("overhead_ratio", "targets", "recall_add_01d", "precision"),
    *("translation_error_mm", "rotation_error_deg", "drops", "machine"),
]


def pose(offset_m: float) -> ObjectPose:
    """The cube, found ``offset_m`` too far to the right."""
    T_camera_object = se3.make_transform(translation=(offset_m, 0.0, 0.0)) @ T_CAMERA_CUBE
    nowhere = np.zeros(4)
    return ObjectPose(
        0, "cube", 0.9, T_camera_object, np.eye(6), np.zeros(3), np.full(3, 0.06), nowhere, 0.0, 0.0, 1.0, True, 4, 9
    )


@pytest.fixture
def seen() -> Observations:
    """Twenty frames of one second; every fourth was dropped, the last of the others is 30 mm off."""
    truth = ObjectTruth(0, "cube", T_CAMERA_CUBE, 1.0, np.zeros(4))
    observations = Observations()
    dropped = 7
    for index in range(20):
        stamp_ns = index * PERIOD_NS
        header = make_header(stamp_ns, "camera")
        observations.truths[stamp_ns] = truths_to_message([truth], header)
        if index % 4 == 3:
            dropped += 1
            continue
        offset_m = 0.03 if index == 18 else 0.001
        observations.detections[stamp_ns] = detections_3d_to_message([pose(offset_m)], header)
        observations.latencies_ns[stamp_ns] = 30_000_000
        observations.inference_ms[stamp_ns] = 15.0
        observations.dropped[stamp_ns] = dropped
    return observations


def test_the_summary_counts_and_measures(seen, cube):
    summary = summarize(seen, 1.0, [cube], "test")
    assert list(summary) == KEYS
    assert (summary["frames_published"], summary["arrays_received"], summary["drops"]) == (20, 15, 4)
    assert (summary["rate_hz"], summary["rate_share"], summary["detector_hz"]) == (15.0, 0.75, 15.0)
    assert summary["latency_ms"] == {"p50": 30.0, "p95": 30.0, "p99": 30.0}
    assert (summary["inference_ms"], summary["overhead_ratio"]) == ({"p50": 15.0}, 2.0)
    assert summary["targets"] == 15
    assert summary["recall_add_01d"] == pytest.approx(14 / 15, abs=1e-4)
    assert summary["precision"] == pytest.approx(14 / 15, abs=1e-4)
    assert summary["translation_error_mm"]["p50"] == pytest.approx(1.0, abs=1e-3)
    assert summary["rotation_error_deg"]["p95"] == pytest.approx(0.0, abs=1e-3)


def test_frames_outside_the_time_are_not_counted(seen, cube):
    summary = summarize(seen.between(4 * PERIOD_NS, 12 * PERIOD_NS), 0.4, [cube], "test")
    assert (summary["frames_published"], summary["arrays_received"], summary["drops"]) == (8, 6, 1)


def test_a_hardly_visible_object_is_no_target(seen, cube):
    hidden = ObjectTruth(0, "cube", T_CAMERA_CUBE, 0.2, np.zeros(4))
    seen.truths = {stamp: truths_to_message([hidden], message.header) for stamp, message in seen.truths.items()}
    assert summarize(seen, 1.0, [cube], "test")["targets"] == 0


def test_nothing_seen_is_valid_json_without_numbers(cube):
    summary = summarize(Observations(truths={0: ObjectTruthArray()}), 1.0, [cube], "test")
    assert json.loads(json.dumps(summary, allow_nan=False))["latency_ms"] == {"p50": None, "p95": None, "p99": None}


def test_the_live_view_shows_the_newest_detections_even_when_the_first_truth_is_newer(seen):
    newest_ns = max(seen.detections)
    seen.truths = {newest_ns + PERIOD_NS: ObjectTruthArray()}
    view = live_view(seen)
    assert view["rate_hz"] == pytest.approx(14 / 0.9, rel=0.01)
    assert view["elapsed_s"] == 0.0
    assert [item["class"] for item in view["objects"]] == ["cube"]
