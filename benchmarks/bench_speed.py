"""What a frame costs, stage by stage and beside what it could cost: every figure is a median of one run.

Times are told beside the detector's bare inference and the machine's matrix product, so that machines can be compared.
The detector is timed with ONNX Runtime in float32 and one thread, the engine of the published figures, and so is what
registers. Where there is a faster engine the nodes run with that one: ``by_engine`` has the same figures of each, every
ratio of one engine alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import util
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from rich.table import Table

from benchmarks.harness import Benchmark, checked, criteria_table, median_ms, plain, progress, report
from object_pose.core.frame import Frame
from object_pose.core.pose.config import PROFILES
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.known_objects import KnownObjects
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.core.tracking.view_model import ViewModel
from object_pose.evaluation.criteria import Criterion
from object_pose.io.camera_info import write_camera
from object_pose.io.images import write_depth, write_image
from object_pose.runtime.engine import EngineConfig
from object_pose.runtime.engine_choice import installed_engines, measure_engines
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.simulation.scenes.live import LiveConfig, LiveScene

_RATE_HZ = 30.0
_OBJECTS = 9
_COUNTS = (1, 3, 10, 30)
_SIZES = ((640, 480), (1280, 720), (1920, 1080))
_CLASSES = 20
_ENGINE_FRAMES = 13
_MATRIX = 1024
_STARTS = 3
_CRITERIA = (
    Criterion("track9_over_detector", 0.5, at_most=True),
    Criterion("register_over_detector", 2.5, at_most=True),
    Criterion("speedup_over_register_each_frame", 5.0),
    Criterion("cost_of_tripled_objects", 3.0, at_most=True),
)
_FIRST_POSE = """
import sys
from object_pose import Frame, PoseEstimator, read_camera, read_depth, read_image
folder = sys.argv[1]
camera, depth = read_camera(folder + "/camera.yaml"), read_depth(folder + "/depth.png")
frame = Frame(read_image(folder + "/color.png"), camera, depth)
assert PoseEstimator("parts.onnx").register(frame).results.poses
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--frames", type=int, default=60, help="frames of the sequence (default: %(default)s)")
    parser.add_argument("--model", default="parts.onnx", help="pose model (default: %(default)s)")
    parser.add_argument(
        "--open3d", action=argparse.BooleanOptionalAction, default=bool(util.find_spec("open3d")), help="beside Open3D"
    )


def run(options: argparse.Namespace) -> int:
    """Measure everything in turn, print and write the figures."""
    cv2.setNumThreads(1)
    figures = _sequence(options.model, options.frames)
    figures["by_engine"] = {name: _by_engine(options.model, name) for name in installed_engines()}
    figures |= _scaling(options.model)
    figures |= _surroundings(options.model)
    if options.open3d:
        figures["open3d_fpfh_icp_ms_per_object"] = _open3d(options.model)
    verdict = checked(figures, _CRITERIA)
    table = Table("figure", "value")
    for name, value in plain(figures, 3).items():
        table.add_row(name, str(value))
    report(options, verdict, options.output / "summary.json", table, criteria_table({"": verdict["bars"]}))
    return 0 if verdict["met"] else 1


def _sequence(model: str, count: int) -> dict[str, Any]:
    """Detect, track and register the same frames, each in turn, nine objects in view."""
    frames = _frames(LiveConfig(), count)
    single = PredictorConfig(threads=1, engine="onnxruntime", decoding=PROFILES["live"].decoding)
    predictor = Predictor(model, single)
    tracking = PoseEstimator(predictor, tracker_config=TrackerConfig())
    registering = PoseEstimator(predictor)
    tracking.prepare()
    known = tracking.register(frames[0]).results.poses
    bare = np.zeros((1, 3, 320, 416), dtype=np.float32)
    times: dict[str, list[float]] = {name: [] for name in ("detector", "track", "register")}
    stages: dict[str, list[float]] = {}
    tracked: list[int] = []
    for frame in progress(frames[1:], "frames", count - 1):
        times["detector"].append(_ms(lambda: predictor._engine.run(bare)))
        followed = tracking.track(frame)
        tracked.append(len(followed.results.poses))
        found = registering.register(frame)
        times["track"].append(followed.timings_ms["total"])
        times["register"].append(found.timings_ms["total"])
        for prefix, item in (("track", followed), ("register", found)):
            for stage, value in item.timings_ms.items():
                stages.setdefault(f"{prefix}.{stage}", []).append(value)
    detector, track, register = (median(times[name]) for name in ("detector", "track", "register"))
    objects = max(median(tracked), 1)
    track9 = track / objects * _OBJECTS
    return {
        "objects_known": len(known),
        "objects_tracked": objects,
        "detector_ms": detector,
        "track_ms": track,
        "register_ms": register,
        "track_ms_per_object": track / objects,
        "track_fps_9_objects": 1e3 / track9,
        "track9_over_detector": track9 / detector,
        "register_over_detector": register / detector,
        "speedup_over_register_each_frame": register / track,
        "stages_ms": {name: median(values) for name, values in stages.items()},
    }


def _by_engine(model: str, engine: str) -> dict[str, float]:
    """Detect and register some frames with one engine and one thread."""
    single = PredictorConfig(threads=1, engine=engine, decoding=PROFILES["live"].decoding)
    predictor = Predictor(model, single)
    estimator, bare = PoseEstimator(predictor), np.zeros((1, 3, 320, 416), dtype=np.float32)
    detector, register = [], []
    first, *frames = _frames(LiveConfig(), _ENGINE_FRAMES)
    estimator.register(first)
    for frame in frames:
        detector.append(_ms(lambda: predictor._engine.run(bare)))
        register.append(_ms(partial(estimator.register, frame)))
    figures = {"detector_ms": median(detector), "register_ms": median(register)}
    return figures | {"register_over_detector": figures["register_ms"] / figures["detector_ms"]}


def _scaling(model: str) -> dict[str, Any]:
    """Tracking against the number of objects, the size of the image and the number of classes."""
    estimator = PoseEstimator(model, tracker_config=TrackerConfig())
    objects = estimator.card.objects
    views = [ViewModel.of(item) for item in objects]
    by_count, by_size, by_classes = {}, {}, {}
    frame = _frames(LiveConfig(), 1)[0]
    poses = _as_tracks(estimator.register(frame).results.poses, max(_COUNTS))
    known = KnownObjects(objects, views)
    for count in _COUNTS:
        by_count[str(count)] = median_ms(partial(known.align, frame, poses[:count]))
    for width, height in _SIZES:
        config = LiveConfig(width=width, height=height, focal_px=610.0 * width / 640)
        large = _frames(config, 1)[0]
        found = _as_tracks(estimator.register(large).results.poses, _OBJECTS)
        by_size[f"{width}x{height}"] = median_ms(partial(known.align, large, found))
    for count in (len(objects), _CLASSES):
        names = [dataclasses.replace(objects[i % len(objects)], name=f"part_{i}") for i in range(count)]
        more = KnownObjects(names, [views[i % len(objects)] for i in range(count)])
        by_classes[str(count)] = median_ms(partial(more.align, frame, poses[:_OBJECTS]))
    return {
        "align_ms_by_objects": by_count,
        "align_ms_by_image_9_objects": by_size,
        "align_ms_by_classes_9_objects": by_classes,
        "cost_of_tripled_objects": by_count["30"] / by_count["10"],
    }


def _surroundings(model: str) -> dict[str, Any]:
    """The machine's matrix product, its load, engines, memory, and the time from process start to the first pose."""
    timings = measure_engines(find_model(model), EngineConfig())
    matrix = np.random.default_rng(0).random((_MATRIX, _MATRIX), dtype=np.float32)
    product_ms = median_ms(lambda: matrix @ matrix)
    return {
        "matrix_gflops": 2e-6 * _MATRIX**3 / product_ms,
        "load": os.getloadavg()[0],
        "cores": len(os.sched_getaffinity(0)),
        "engines_ms": {item.engine: item.inference_ms for item in timings},
        "first_pose_s": _first_pose_s(),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _first_pose_s() -> float:
    """From the start of a process to its first pose, with warm caches."""
    frame = _frames(LiveConfig(), 1)[0]
    assert frame.depth_m is not None
    with tempfile.TemporaryDirectory() as folder:
        write_image(f"{folder}/color.png", frame.rgb)
        write_depth(f"{folder}/depth.png", frame.depth_m)
        write_camera(f"{folder}/camera.yaml", frame.camera)
        times = []
        for _ in range(_STARTS):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", _FIRST_POSE, folder], check=True)
            times.append(time.perf_counter() - start)
    return min(times)


def _open3d(model: str) -> float:
    """Milliseconds of Open3D's FPFH, RANSAC and ICP for one object."""
    from benchmarks.baselines import Open3dMethod
    from object_pose.simulation.parts.objects import load_objects

    frame = _frames(LiveConfig(), 1)[0]
    detections = Predictor(model).predict(frame.rgb, depth=frame.aligned_depth)
    method = Open3dMethod(load_objects("parts"))
    return _ms(lambda: method(detections, frame)) / max(len(detections), 1)


def _frames(config: LiveConfig, count: int) -> list[Frame]:
    scene = LiveScene(0, config)
    times = [index / _RATE_HZ for index in range(count)]
    return [scene.frame(time_s, round(time_s * 1e9)).frame for time_s in times]


def _as_tracks(poses: Sequence[ObjectPose], count: int) -> list[ObjectPose]:
    """Return so many poses with ids; where there are fewer they are repeated, each a little aside."""
    found = list(itertools.islice(itertools.cycle(poses), count))
    tracks = []
    for number, pose in enumerate(found):
        place = pose.T_camera_object.copy()
        place[0, 3] += 1e-4 * (number // len(poses))
        tracks.append(dataclasses.replace(pose, T_camera_object=place, track_id=number))
    return tracks


def _ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


BENCHMARK = Benchmark(
    "bench_speed",
    "What tracking, registering and detecting cost, and how that grows",
    add_options,
    run,
    Path("out/speed"),
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
