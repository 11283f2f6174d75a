"""From a first champion to a retrained one: gate, rollback, a pipeline's switch and its return, drift."""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import onnx
import rclpy
import yaml
from object_pose_msgs.msg import ObjectPoseArray
from onnx import numpy_helper
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from benchmarks.harness import Benchmark, checked, criteria_table, report
from object_pose.cli.processes import Start, child_processes, end_processes
from object_pose.core.arrays import Image
from object_pose.core.errors import DataError
from object_pose.evaluation.criteria import Criterion
from object_pose.io.bop_writing import LabelledFrame, write_labelled_scene
from object_pose.io.camera_info import write_camera
from object_pose.io.images import write_depth, write_image
from object_pose.io.messages import stamp_ns
from object_pose.io.retraining_request import open_requests
from object_pose.mlops.promotion import Promotion, promote_candidate
from object_pose.mlops.registry import CHAMPION, Registry
from object_pose.mlops.retraining import RetrainConfig, RetrainJob, retrain
from object_pose.mlops.store import open_store
from object_pose.mlops.tracking import TrackedTraining, log_run
from object_pose.ros.deployment import Deployment, deploy_model
from object_pose.ros.nodes.camera_feeds import SimulatedFeed, View
from object_pose.ros.transport import qos, topics
from object_pose.runtime.model_trial import TrialState
from object_pose.runtime.resources import find_model
from object_pose.simulation.parts.procedural import PART_NAMES
from object_pose.simulation.scenes.live import LiveConfig
from object_pose.workflows.export import export_retrained
from object_pose.workflows.gate_requirements import GateConfig
from object_pose.workflows.promote import TestSet
from object_pose.workflows.train import make_job, train

_NAME = "parts"
_RATE_HZ = 10.0
_CAMERA_SEED, _TEST_SEEDS = 7, (101, 102, 103, 104)
_FRAMES_A_SEED, _RECORDED = 8, 40
_Found = TypeVar("_Found")
_STARTED_WITHIN_S, _DRIFT_WITHIN_S, _TOLD_WITHIN_S = 180.0, 120.0, 20.0
# As little as runs on two cores in minutes; the weights start from the shipped model's.
_TINY = {
    "batch_size": 4,
    "warmup_steps": 1,
    "crop_width": 256,
    "crop_height": 192,
    "reuse": 8,
    "validation_frames": 2,
    "workers": 0,
    "device": "cpu",
}
_GENTLE, _RUINOUS = 1e-5, 0.05  # learning rates
# Noise on the weights, of their deviation: of a model that finds a little less, and of one that is of no use.
_POORER, _BROKEN = 0.3, 3.0
_STEPS = 6
# Two cores that do other work decide nothing by time.
_GATE = GateConfig(max_latency_ratio=3.0)
_MONITOR = {"every": 2, "window": 20, "min_frames": 15, "request_frames": 12}
_CRITERIA = (
    Criterion("promoted", 1.0),
    Criterion("gate_refused", 1.0),
    Criterion("rolled_back", 1.0),
    Criterion("switched", 1.0),
    Criterion("frames_lost", 3.0, at_most=True),
    Criterion("broken_refused", 1.0),
    Criterion("recovery_s", 2.0, at_most=True),
    Criterion("false_alarms", 0.0, at_most=True),
    Criterion("drift_found", 1.0),
    Criterion("retrained", 1.0),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no options: everything here is small already."""


def run(options: argparse.Namespace) -> int:
    """Go the whole way once."""
    output: Path = options.output
    shutil.rmtree(output, ignore_errors=True)
    test_set = TestSet(_write_test_set(output / "test"))
    registry = Registry(open_store(str(output / "store")))
    figures: dict[str, Any] = _promotions(registry, test_set, output)
    figures |= _running_pipeline(registry, output)
    figures |= _retraining(registry, output)
    summary = checked(figures, _CRITERIA)
    summary |= {name: bool(figures[name]) for name in ("gate_refused", "retrained")}
    report(options, summary, output / "summary.json", criteria_table({"": summary["bars"]}))
    return 0 if summary["met"] else 1


def _promotions(registry: Registry, test_set: TestSet, output: Path) -> dict[str, float]:
    """Train three tiny models: the first and a better one are promoted, a ruined one is refused; go back and forth."""
    shipped = find_model("parts.onnx")
    first = _promote(registry, _ruined(shipped, output / "first.onnx", _POORER), test_set, output)
    better = _promote(registry, _trained(registry, output / "better", _GENTLE), test_set, output)
    worse = _promote(registry, _trained(registry, output / "worse", _RUINOUS), test_set, output)
    back = registry.rollback(_NAME)
    promote_candidate(registry, f"{_NAME}/{better.model.version}", None, _GATE)
    champion = registry.find(f"{_NAME}@{CHAMPION}")
    qualities = {
        f"quality_{name}": promotion.report.figures["candidate"]["quality"]
        for name, promotion in (("first", first), ("better", better), ("worse", worse))
    }
    is_better = qualities["quality_better"] > qualities["quality_first"]
    return {
        "promoted": float(first.report.passed and better.report.passed and is_better),
        "gate_refused": float(not worse.report.passed),
        "rolled_back": float(back.version == first.model.version and champion.version == better.model.version),
        **qualities,
    }


def _trained(registry: Registry, run_dir: Path, learning_rate: float) -> tuple[Path, Path]:
    """Train the shipped model on for some steps; return the exported file and the run."""
    shipped = find_model("parts.onnx")
    options = {**_TINY, "steps": _STEPS, "learning_rate": learning_rate, "initial": str(shipped), "ema_decay": 0.5}
    train(make_job("pose", run_dir, options, "ops-check"), callbacks=[TrackedTraining(registry.store)])
    return export_retrained(run_dir, shipped, run_dir / "model.onnx").path, run_dir


def _ruined(model: Path, path: Path, noise: float) -> tuple[Path, None]:
    """Write a model whose detector's weights have noise of a share of their deviation; it is of no run."""
    loaded = onnx.load(str(model))
    rng = np.random.default_rng(0)
    for tensor in loaded.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if len(weights.shape) == 4:
            changed = weights + noise * weights.std() * rng.normal(size=weights.shape)
            tensor.CopyFrom(numpy_helper.from_array(changed.astype(weights.dtype), tensor.name))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(loaded, str(path))
    return path, None


def _promote(registry: Registry, made: tuple[Path, Path | None], test_set: TestSet, output: Path) -> Promotion:
    model, run_dir = made
    added = registry.add(_NAME, model, log_run(registry.store, run_dir) if run_dir else "")
    reference, folder = f"{_NAME}/{added.version}", output / "gates" / str(added.version)
    return promote_candidate(registry, reference, test_set, _GATE, run_dir=run_dir, report_dir=folder)


def _running_pipeline(registry: Registry, output: Path) -> dict[str, float]:
    """Switch a running pipeline to the champion and to a broken model; then let its camera see less light."""
    champion, previous = registry.find(_NAME), registry.find(f"{_NAME}@previous")
    files = {
        item.version: registry.pull(item, output / "deployed" / str(item.version)) for item in (champion, previous)
    }
    good, earlier = files[champion.version], files[previous.version]
    broken, _ = _ruined(good, output / "deployed" / "broken" / "parts.onnx", _BROKEN)
    requests = output / "requests"
    parameters = _write_parameters(output / "nodes.yaml", requests, output / "metrics.prom")
    normal, dark = _write_recordings(output)
    with child_processes() as start, _listener() as heard:
        pipeline = start("object_pose.cli.main", "run", "--no-camera", "--model", earlier, "--params-file", parameters)
        camera = _start_camera(start, normal)
        heard.wait_for_poses(_STARTED_WITHIN_S)
        switch = heard.during(lambda: deploy_model(good))
        failure = heard.during(lambda: deploy_model(broken))
        false_alarms = len(open_requests(requests))
        camera.terminate()
        camera.wait()
        camera = _start_camera(start, dark)
        found = bool(_wait_until(lambda: open_requests(requests), _DRIFT_WITHIN_S))
        drifts = _wait_until(lambda: _drifts(output / "metrics.prom"), _TOLD_WITHIN_S) if found else []
        end_processes({"pipeline": pipeline})
    return {
        "switched": float(switch.deployment.state is TrialState.PASSED),
        "frames_lost": float(switch.lost),
        "frames_of_switch": float(switch.frames),
        "frames_without_poses": float(switch.without),
        "frames_skipped": float(switch.dropped),
        "broken_refused": float(failure.deployment.state is TrialState.FAILED),
        "recovery_s": failure.longest_s,
        "false_alarms": float(false_alarms),
        "drift_found": float(found and bool(drifts)),
    }


def _retraining(registry: Registry, output: Path) -> dict[str, float]:
    """Do what the request asks for; whether the gate lets the new model pass is the gate's to say."""
    request = open_requests(output / "requests")[0]
    config = RetrainConfig(steps=_STEPS, learning_rate=_GENTLE, data_share=0.5)
    job = RetrainJob(_NAME, request, output / "retrained", options=_TINY)
    promotion = retrain(registry, job, config, _GATE)
    closed = not open_requests(output / "requests")
    return {
        "retrained": float(closed and promotion.model.gate in ("passed", "refused")),
        "retrained_passed": float(promotion.report.passed),
    }


def _views(seed: int, count: int) -> Iterator[View]:
    feed = SimulatedFeed(seed, "parts", LiveConfig(), count / 30.0)
    for number in range(count):
        yield feed.view(number / 30.0)


def _write_test_set(folder: Path) -> Path:
    """Render what the models are measured on: the simulated camera over other scenes than the pipeline's."""
    for number, seed in enumerate(_TEST_SEEDS):
        frames = [
            LabelledFrame(view.frame.rgb, view.frame.depth_m, view.frame.camera, view.truths)
            for index, view in enumerate(_views(seed, 3 * _FRAMES_A_SEED))
            if index % 3 == 0
        ]
        write_labelled_scene(folder / f"{number:06d}", PART_NAMES, frames)
    return folder


def _write_recordings(output: Path) -> tuple[Path, Path]:
    """Write what the camera sees, and the same when most lamps are out and the lens is out of focus."""
    normal, dark = output / "normal", output / "dark"
    views = list(_views(_CAMERA_SEED, _RECORDED))
    # To and fro, so that nothing jumps where the recording begins again.
    for number, view in enumerate([*views, *views[-2:0:-1]]):
        for folder, rgb in ((normal, view.frame.rgb), (dark, _darkened(view.frame.rgb))):
            for kind in ("rgb", "depth"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
            write_image(folder / "rgb" / f"{number:06d}.png", rgb)
            if view.frame.depth_m is not None:
                write_depth(folder / "depth" / f"{number:06d}.png", view.frame.depth_m)
            write_camera(folder / "camera.yaml", view.frame.camera)
    return normal, dark


def _darkened(rgb: Image) -> Image:
    return np.asarray(cv2.GaussianBlur((0.35 * rgb).astype(np.uint8), (0, 0), 1.2), dtype=np.uint8)


def _write_parameters(path: Path, requests: Path, metrics: Path) -> Path:
    monitor = {**_MONITOR, "requests": str(requests.resolve()), "metrics": str(metrics.resolve())}
    path.write_text(yaml.safe_dump({"/**/pose_node": {"ros__parameters": {"monitor": monitor}}}))
    return path


def _start_camera(start: Start, recording: Path) -> Any:
    intrinsics = (recording / "camera.yaml").resolve()
    parameters = {"source": recording.resolve(), "intrinsics": intrinsics, "rate_hz": _RATE_HZ}
    words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    return start("object_pose.ros.nodes.camera_node", "--ros-args", *words)


def _wait_until(look: Callable[[], _Found], limit_s: float) -> _Found:
    """Return what ``look`` finds as soon as that is something, or in the end."""
    deadline = time.monotonic() + limit_s
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _drifts(metrics: Path) -> list[str]:
    """Return the lines of the metrics that tell a drift; they are written now and then, after the request."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return [line for line in lines if "monitor_drift{" in line and not line.endswith(" 0")]


@dataclass(frozen=True)
class _Switch:
    """How a trial ended, and what became of the frames of that time.

    ``without`` have no poses; of these ``empty`` were answered so, and ``dropped`` were skipped as a newer one had
    come: that a machine is busy is no fault of the switch. ``longest_s`` is the longest time without poses.
    """

    deployment: Deployment
    frames: int
    without: int
    empty: int
    dropped: int
    longest_s: float

    @property
    def lost(self) -> int:
        """The frames without poses that were not skipped by a busy machine."""
        return max(self.without - self.dropped, self.empty)


@dataclass
class _Heard:
    """The stamps of the camera's frames and of those with poses, with the time that each came."""

    frames: dict[int, float] = field(default_factory=dict)
    posed: dict[int, float] = field(default_factory=dict)
    empty: set[int] = field(default_factory=set)
    dropped: int = 0

    def wait_for_poses(self, limit_s: float) -> None:
        """Wait until poses come steadily; raises ``DataError`` where none do."""
        if not _wait_until(lambda: len(self.posed) >= 3 * _RATE_HZ, limit_s):
            raise DataError(f"no poses came in {limit_s:.0f} s", "what the pipeline said is above")

    def during(self, work: Callable[[], Deployment]) -> _Switch:
        """Return what ``work`` does, and what became of the frames meanwhile."""
        began, dropped_before = time.monotonic(), self.dropped
        result = work()
        ended = time.monotonic()
        time.sleep(1.0)  # the poses of the last frames are on their way
        frames = [stamp for stamp, came in tuple(self.frames.items()) if began <= came <= ended]
        times = [began, *sorted(came for came in tuple(self.posed.values()) if began <= came <= ended), ended]
        without = sum(stamp not in self.posed for stamp in frames)
        empty = sum(stamp in self.empty for stamp in frames)
        dropped = self.dropped - dropped_before
        return _Switch(result, len(frames), without, empty, dropped, float(np.diff(times).max()))


@contextmanager
def _listener() -> Iterator[_Heard]:
    """Hear the camera and the pipeline, in a thread."""
    heard = _Heard()
    rclpy.init(args=[])
    node, executor = Node("ops_check", start_parameter_services=False), SingleThreadedExecutor()

    def on_frame(message: CameraInfo) -> None:
        heard.frames[stamp_ns(message)] = time.monotonic()

    def on_poses(message: ObjectPoseArray) -> None:
        heard.dropped = max(heard.dropped, message.dropped_frames)
        if message.poses:
            heard.posed[stamp_ns(message)] = time.monotonic()
        else:
            heard.empty.add(stamp_ns(message))

    node.create_subscription(CameraInfo, topics.CAMERA_INFO, on_frame, qos.RESULT)
    node.create_subscription(ObjectPoseArray, topics.OBJECT_POSES, on_poses, qos.RESULT)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.try_shutdown()


BENCHMARK = Benchmark(
    "ops_check", "a model's way through gate, pipeline, drift and retraining", add_options, run, Path("out/ops")
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
