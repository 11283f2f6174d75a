"""A planner's end of the pipeline: a separate process that receives the detections and measures what it gets.

Prints one JSON object a line: what it sees, for a live table, and at the end the summary.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray, ObjectTruthArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection3DArray

from object_pose.core.errors import DataError, ObjectPoseError
from object_pose.core.frame import NS_PER_S
from object_pose.io.messages import stamp_ns
from object_pose.ros.demo.observations import Observations, summarize
from object_pose.ros.nodes.spinning import executor_of, prepare_process
from object_pose.ros.transport import qos, topics
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model

_NS_PER_MS = 1_000_000
_REPORT_EVERY_S = 0.5
_STRAGGLERS_S = 1.0
_MOST_KEPT = 5000  # messages, of more than a minute


Report = Callable[[dict[str, Any]], None]


class PlannerProbe(Node):
    """Reads detections as a planner does, with the time of receipt, and keeps what no planner reads for later."""

    def __init__(self) -> None:
        super().__init__("planner_probe", start_parameter_services=False)
        self.seen = Observations()
        self.trouble: dict[str, str] = {}
        self._unread: list[tuple[Callable[[Any], None], type, bytes]] = []
        self.create_subscription(Detection3DArray, topics.DETECTIONS_3D, self._on_detections, qos.RESULT)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.RESULT)
        self._keep(ObjectTruthArray, topics.GROUND_TRUTH, self._on_truth)
        self._keep(KeypointDetectionArray, topics.KEYPOINTS, self._on_keypoints)
        self._keep(ObjectPoseArray, topics.OBJECT_POSES, self._on_poses)

    def read_kept(self) -> None:
        """Read what was kept: while the pipeline runs that would take its time."""
        for read, message_type, data in self._unread:
            read(deserialize_message(data, message_type))
        self._unread.clear()

    def _keep(self, message_type: type, topic: str, read: Callable[[Any], None]) -> None:
        def keep(data: bytes) -> None:
            self._unread.append((read, message_type, data))
            if len(self._unread) > _MOST_KEPT:
                self.read_kept()

        self.create_subscription(message_type, topic, keep, qos.RESULT, raw=True)

    def _on_detections(self, message: Detection3DArray) -> None:
        received_ns = self.get_clock().now().nanoseconds
        stamp = stamp_ns(message)
        self.seen.latencies_ns[stamp] = received_ns - stamp
        self.seen.detections[stamp] = message

    def _on_truth(self, message: ObjectTruthArray) -> None:
        self.seen.truths[stamp_ns(message)] = message

    def _on_keypoints(self, message: KeypointDetectionArray) -> None:
        self.seen.inference_ms[stamp_ns(message)] = message.inference_ms

    def _on_poses(self, message: ObjectPoseArray) -> None:
        self.seen.dropped[stamp_ns(message)] = message.dropped_frames

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.trouble.pop(status.name, None)
            if status.level != DiagnosticStatus.OK:
                self.trouble[status.name] = status.message


def observe(
    probe: PlannerProbe, seconds: float, start_within_s: float, report: Report = lambda values: None
) -> Observations:
    """Spin until ``seconds`` of frames have come; return what was seen of those frames.

    ``report`` gets a live view twice a second. The time begins with the first detections; raises ``DataError`` when
    none come.
    """
    duration_ns = round(seconds * NS_PER_S)
    with executor_of(probe) as executor:
        _wait_for_detections(executor, probe, start_within_s, report)
        give_up = time.monotonic() + seconds + _STRAGGLERS_S
        next_report = time.monotonic()
        while max(probe.seen.detections) < probe.seen.start_ns + duration_ns and time.monotonic() < give_up:
            executor.spin_once(timeout_sec=0.1)
            if not probe.seen.truths:
                probe.read_kept()  # the time begins with the first truth, where there is any
            if time.monotonic() >= next_report:
                next_report += _REPORT_EVERY_S
                report(live_view(probe.seen))
    probe.read_kept()
    return probe.seen.between(probe.seen.start_ns, probe.seen.start_ns + duration_ns)


def _wait_for_detections(
    executor: SingleThreadedExecutor, probe: PlannerProbe, start_within_s: float, report: Report
) -> None:
    start = next_report = time.monotonic()
    while not probe.seen.detections:
        executor.spin_once(timeout_sec=0.1)
        probe.read_kept()
        now = time.monotonic()
        reason = "; ".join(probe.trouble.values())
        if now - start > start_within_s:
            raise DataError(f"no detections came in {start_within_s:.0f} s", reason or "the pipeline does not run")
        if now >= next_report:
            next_report += _REPORT_EVERY_S
            report({"waiting": f"waiting for the first detections, {now - start:.0f} s {reason}"})


def live_view(seen: Observations) -> dict[str, Any]:
    """Return what a live table shows: rate and latency of the last second, and the newest objects."""
    newest_ns = max(seen.detections)
    # The truth comes before the detections of a frame, so the start may lie after the newest detections.
    recent = seen.between(newest_ns - NS_PER_S, newest_ns + 1)
    spread_s = max((newest_ns - min(recent.detections)) / NS_PER_S, 1e-3)
    return {
        "elapsed_s": max(newest_ns - seen.start_ns, 0) / NS_PER_S,
        "rate_hz": (len(recent.detections) - 1) / spread_s,
        "latency_ms": float(np.median(list(recent.latencies_ns.values()))) / _NS_PER_MS,
        "objects": [_object_row(detection) for detection in seen.detections[newest_ns].detections],
    }


def _object_row(detection: Any) -> dict[str, Any]:
    result = detection.results[0]
    position = result.pose.pose.position
    sigma_m = float(np.sqrt(np.trace(result.pose.covariance.reshape(6, 6)[:3, :3])))
    return {
        "id": detection.id,
        "class": result.hypothesis.class_id,
        "score": result.hypothesis.score,
        "position_m": [position.x, position.y, position.z],
        "sigma_mm": sigma_m * 1e3,
    }


def _print(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to watch, from the first detections on")
    parser.add_argument("--start-within", type=float, default=90.0, help="seconds until the first detections must come")
    parser.add_argument("--model", default="parts.onnx", help="model file, for the objects' geometry")
    options = parser.parse_args()
    prepare_process()
    rclpy.init()
    probe = PlannerProbe()
    try:
        objects = load_card(find_model(options.model)).objects
        seen = observe(probe, options.seconds, options.start_within, _print)
        transport = f"{rclpy.get_rmw_implementation_identifier()}, shared memory, separate subscriber process"
        _print({"summary": summarize(seen, options.seconds, objects, transport)})
    except ObjectPoseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        probe.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
