"""Small inputs as users really bring them: each gives its expected value, or a refusal in one line with exit code 2.

The inputs lie in ``shared/cases`` beside the checkout, one folder a kind; expected values are those of their READMEs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.harness import Benchmark, progress, report
from object_pose.cli.main import main as object_pose
from object_pose.core.arrays import Array, Image
from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera
from object_pose.io.bag_frames import write_frame
from object_pose.io.bags import make_typestore, write_bag
from object_pose.io.camera_info import CameraInfo, message_fields, read_camera, read_camera_info
from object_pose.io.cameras.recorded import open_frames
from object_pose.io.images import read_depth, read_image
from object_pose.runtime.resources import find_data
from object_pose.simulation.parts.cad import read_parts
from object_pose.simulation.parts.procedural import PART_NAMES

RIGHT, REFUSED, WRONG = "right", "refused_as_expected", "wrong"
_STAMP_NS = 1_700_000_000_000_000_000
_INFO_TOPIC = "/case/camera_info"


class _WrongError(Exception):
    """An input did not give what was expected of it."""


@dataclass(frozen=True)
class _Outcome:
    """What a command line gave."""

    code: int
    out: str
    error: str

    @property
    def lines(self) -> list[Any]:
        """The JSON values that it printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


# Gets the folder of its kind and one to write into; returns RIGHT or REFUSED, raises ``_WrongError``.
Case = Callable[[Path, Path], str]


def _call(*arguments: object) -> _Outcome:
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = object_pose([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return _Outcome(code, out.getvalue(), error.getvalue())


def _expect(holds: bool, seen: object) -> None:
    if not holds:
        raise _WrongError(" ".join(str(seen).split())[:300])


def _succeed(*arguments: object) -> _Outcome:
    outcome = _call(*arguments)
    _expect(outcome.code == 0, outcome)
    return outcome


def _right_or_refused(outcome: _Outcome, is_right: Callable[[_Outcome], bool]) -> str:
    """Accept the right value, or one line and exit code 2."""
    if outcome.code == 2 and len(outcome.error.strip().splitlines()) == 1:
        return REFUSED
    _expect(outcome.code == 0 and is_right(outcome), outcome)
    return RIGHT


def _frames_of(bag: str, count: int, *options: str) -> Case:
    def case(folder: Path, work: Path) -> str:
        outcome = _call("bag", "replay", folder / bag, "--json", *options)
        return _right_or_refused(outcome, lambda seen: len(seen.lines) == count)

    return case


def _bag_topics(file: str) -> Case:
    def case(folder: Path, work: Path) -> str:
        _succeed("bag", "info", folder / file)
        return _right_or_refused(_call("bag", "replay", folder / file, "--json"), lambda seen: bool(seen.lines))

    return case


def _compressed(folder: Path, work: Path) -> str:
    topics = (
        "/camera/camera/color/image_raw/compressed",
        "/camera/camera/aligned_depth_to_color/image_raw/compressedDepth",
    )
    outcome = _succeed(
        "bag", "replay", folder / "bag", "--color-topic", topics[0], "--depth-topic", topics[1], "--json"
    )
    _expect(len(outcome.lines) > 0, outcome)
    return RIGHT


def _no_truth(folder: Path, work: Path) -> str:
    outcome = _succeed("predict", folder / "no_gt_info/train/000000", "--json")
    _expect(len(outcome.lines) == 1, outcome)
    return RIGHT


def _with_depth(*arguments: str) -> Case:
    """Depth is read where poses, or their rejections, are of an image with depth of 0.5 m."""

    def case(folder: Path, work: Path) -> str:
        source, *files = [folder / argument for argument in arguments]
        depth_path, camera_path = files or (None, None)
        _succeed("predict", source, *(("--depth", depth_path, "--camera", camera_path) if files else ()))
        info = read_camera_info(camera_path) if camera_path else None
        camera, scale = (info.camera(), info.depth_scale) if info else (None, None)
        (item, *_) = open_frames(source, depth_path, camera, depth_scale=scale)
        depth = item.frame.depth_m
        _expect(depth is not None, "no depth was read")
        assert depth is not None
        measured = float(np.median(depth[depth > 0.0]))
        _expect(abs(measured - 0.5) < 1e-3, f"depth was read as {measured} m")
        return RIGHT

    return case


def _colors(file: str, unit: str, expected: Sequence[float] | None) -> Case:
    def case(folder: Path, work: Path) -> str:
        colors = read_parts([folder / file], unit)[0].colors
        if expected is None:
            _expect(colors is None, colors)
        else:
            _expect(colors is not None and np.allclose(colors, expected, atol=0.01), colors)
        return RIGHT

    return case


def _volume(folder: Path, work: Path) -> str:
    for name in ("inverted.stl", "outward.stl"):
        volume = float(read_parts([folder / name])[0].mesh.volume)
        _expect(abs(volume - 5.8e-5) < 1e-8, f"{name}: volume {volume} m3")
    return RIGHT


def _camera_file(name: str) -> Case:
    def case(folder: Path, work: Path) -> str:
        camera = read_camera(folder / name)
        _expect(camera.wh == (640, 480) and camera.fx > 0.0, camera)
        image = work / "image.png"
        cv2.imwrite(str(image), np.full((480, 640, 3), 90, np.uint8))
        _succeed("predict", image, "--camera", folder / name)
        return RIGHT

    return case


@dataclass(frozen=True)
class _Scene:
    """One rendered frame and where its objects truly are, by class name."""

    rgb: Image
    depth_mm: NDArray[np.uint16]
    matrix: Array
    truth: dict[str, list[list[float]]]

    @staticmethod
    def render(work: Path) -> _Scene:
        """Render the frame that the cases' scripts render."""
        size = "--scenes", 1, "--frames", 3, "--min-objects", 3, "--max-objects", 5
        _succeed("generate", "--output", work / "bop", *size)
        scene = work / "bop/train/000000"
        matrix = np.array(json.loads((scene / "scene_camera.json").read_text())["0"]["cam_K"]).reshape(3, 3)
        truth: dict[str, list[list[float]]] = {}
        for item in json.loads((scene / "scene_gt.json").read_text())["0"]:
            place = [value / 1000.0 for value in item["cam_t_m2c"]]
            truth.setdefault(PART_NAMES[item["obj_id"] - 1], []).append(place)
        depth_m = read_depth(scene / "depth/000000.png")
        return _Scene(read_image(scene / "rgb/000000.png"), np.rint(depth_m * 1e3).astype(np.uint16), matrix, truth)

    def replay(self, bag: Path, info: CameraInfo, *options: str) -> _Outcome:
        """Play a bag of this one frame whose camera_info says ``info``."""
        camera = Camera(info.width, info.height, *self.matrix[[0, 1, 0, 1], [0, 1, 2, 2]])
        frame = Frame(self.rgb, camera, self.depth_mm.astype(np.float32) / np.float32(1000.0), _STAMP_NS)
        with write_bag(bag, make_typestore()) as writer:
            write_frame(writer, frame)
            types = writer.store.types
            header = types["std_msgs/msg/Header"](
                types["builtin_interfaces/msg/Time"](*divmod(_STAMP_NS, 10**9)), "camera"
            )
            fields = message_fields(info, types["sensor_msgs/msg/RegionOfInterest"])
            message = types["sensor_msgs/msg/CameraInfo"](header=header, **fields)
            writer.write(_INFO_TOPIC, "sensor_msgs/msg/CameraInfo", _STAMP_NS, message)
        return _succeed("bag", "replay", bag, "--json", "--camera-info-topic", _INFO_TOPIC, *options)

    def compare(self, outcome: _Outcome, limit_m: float = 3e-3) -> None:
        """Expect every pose within ``limit_m`` of an object of its class."""
        poses = outcome.lines[0]["poses"]
        _expect(len(poses) > 0, outcome)
        for pose in poses:
            errors = np.linalg.norm(np.subtract(pose["position"], self.truth[pose["class_name"]]), axis=1)
            _expect(errors.min() < limit_m, f"{pose['class_name']} is {errors.min() * 1e3:.1f} mm off: {pose['score']}")


def _equidistant(folder: Path, work: Path) -> str:
    scene, coefficients = _Scene.render(work), (0.05, -0.1, 0.08, 0.02)
    height, width = scene.depth_mm.shape
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 1, 2).astype(np.float64)
    # OpenCV's own inverse, so that the check does not rest on ours.
    ideal = cv2.fisheye.undistortPoints(pixels, scene.matrix, np.array(coefficients), P=scene.matrix)
    x, y = ideal.reshape(height, width, 2).astype(np.float32).transpose(2, 0, 1)
    rgb = cv2.remap(scene.rgb, x, y, cv2.INTER_LINEAR)
    depth = cv2.remap(scene.depth_mm, x, y, cv2.INTER_NEAREST)
    info = CameraInfo(width, height, tuple(scene.matrix.ravel()), "equidistant", coefficients)
    scene.compare(replace(scene, rgb=rgb, depth_mm=depth).replay(work / "bag", info))
    return RIGHT


def _rectified(folder: Path, work: Path) -> str:
    scene = _Scene.render(work)
    height, width = scene.depth_mm.shape
    raw = scene.matrix * [[1.12, 1.0, 1.0], [1.0, 1.12, 1.0], [1.0, 1.0, 1.0]]
    projection = tuple(np.hstack([scene.matrix, np.zeros((3, 1))]).ravel())
    info = CameraInfo(width, height, tuple(raw.ravel()), "plumb_bob", (-0.28, 0.09, 0.0, 0.0, 0.0), p=projection)
    scene.compare(scene.replay(work / "bag", info, "--rectified"))
    return RIGHT


def _misaligned(folder: Path, work: Path) -> str:
    """Depth moved by 15 pixels: no pose is both sure and more than three of its sigmas off."""
    scene = _Scene.render(work)
    height, width = scene.depth_mm.shape
    info = CameraInfo(width, height, tuple(scene.matrix.ravel()), "plumb_bob", (0.0,) * 5)
    moved = replace(scene, depth_mm=np.roll(scene.depth_mm, 15, axis=1))
    for pose in moved.replay(work / "bag", info).lines[0]["poses"]:
        offsets = np.subtract(pose["position"], scene.truth[pose["class_name"]])
        offset = offsets[np.argmin(np.linalg.norm(offsets, axis=1))]
        sigma = np.sqrt(np.linalg.eigvalsh(np.array(pose["covariance"])[:3, :3])[-1])
        is_sure = pose["score"] >= 0.5 and np.linalg.norm(offset) > 3.0 * sigma
        off_mm = np.linalg.norm(offset) * 1e3
        _expect(
            not is_sure, f"{pose['class_name']} is {off_mm:.1f} mm off: sigma {sigma * 1e3:.1f} mm, {pose['score']}"
        )
    return RIGHT


def _dataset(name: str) -> Case:
    def case(folder: Path, work: Path) -> str:
        _succeed("dataset", "check", folder / name)
        return RIGHT

    return case


def _keypoint_labels(name: str, expected: Sequence[float]) -> Case:
    def case(folder: Path, work: Path) -> str:
        _succeed("dataset", "check", folder / name)
        _succeed("dataset", "convert", folder / name, "--to", "yolo", "--output", work / "out")
        (label,) = (work / "out").rglob("x.txt")
        box = [float(value) for value in label.read_text().split()[1:5]]
        _expect(np.allclose(box, expected, atol=1e-3), box)
        return RIGHT

    return case


def _nms_export(folder: Path, work: Path) -> str:
    image = work / "image.png"
    cv2.imwrite(str(image), np.full((640, 640, 3), 90, np.uint8))
    boxes = []
    for name in ("yolo_nms.onnx", "same_without_end2end.onnx"):
        (record,) = _succeed("predict", image, "--model", folder / name, "--json").lines
        (found,) = record["detections"]
        boxes.append(found["box_xyxy"])
        _expect(found["class_name"] == "bolt" and abs(found["score"] - 0.9) < 0.01, found)
    _expect(np.allclose(boxes, [[270, 200, 370, 280]] * 2, atol=1.0), boxes)
    return RIGHT


def _dynamic_axes(folder: Path, work: Path) -> str:
    image = work / "image.png"
    cv2.imwrite(str(image), np.full((480, 640, 3), 90, np.uint8))
    return _right_or_refused(
        _call("predict", image, "--model", folder / "dynamic_axes.onnx", "--json"), lambda seen: True
    )


CASES: dict[str, dict[str, Case]] = {
    "bag_camera_info_once": {"first": _frames_of("first", 4), "latched": _frames_of("latched", 4)},
    "bag_compressed_image": {"bag": _compressed},
    "bag_ros1": {"ros1": _bag_topics("ros1.bag")},
    "bag_service_event": {"service_event": _bag_topics("service_event.mcap")},
    "bag_without_metadata": {"bag": _frames_of("bag", 1)},
    "bop_readers": {
        "no_gt_info": _no_truth,
        "depth_tif": _with_depth("depth_tif/train/000000"),
        "depth_scale": _with_depth("rgb.png", "depth_tenths_of_mm.png", "camera_depth_scale_0.1.json"),
    },
    "cad_colours_lost": {
        "material": _colors("nouv_kd.obj", "mm", [0.6, 0.004, 0.004]),
        "no_material": _colors("uv_nomtl.obj", "mm", None),
    },
    "cad_glb_traceback": {"red_box": _colors("red_box.glb", "m", [0.578, 0.013, 0.013])},
    "cad_inverted_normals": {"volume": _volume},
    "camera_info_equidistant": {"pose": _equidistant},
    "camera_info_rectified": {"pose": _rectified},
    "camera_yaml_forms": {
        name: _camera_file(name) for name in ("topic_echo.yaml", "topic_echo_nodash.yaml", "opencv.yml")
    },
    "coco_refused": {name: _dataset(name) for name in ("c_bom", "c_mixedids", "c_nowh", "c_roboflow_dup")},
    "depth_not_aligned_same_size": {"shift_15": _misaligned},
    "onnx_nms_export": {"boxes": _nms_export},
    "onnx_refused_layouts": {"dynamic_axes": _dynamic_axes},
    "yolo_label_refused": {name: _dataset(name) for name in ("bom", "floatclass")},
    "yolo_layouts_refused": {"coco128style": _dataset("coco128style")},
    "yolo_pose_labels_as_polygons": {
        "pose_k3d2": _keypoint_labels("pose_k3d2", [0.5, 0.5, 0.2, 0.2]),
        "pose_k4d3_v1": _keypoint_labels("pose_k4d3_v1", [0.5, 0.5, 0.2, 0.2]),
    },
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="folders of the cases (default: all)")
    parser.add_argument("--cases", type=Path, help="folder of the cases (default: shared/cases beside the checkout)")


def run(options: argparse.Namespace) -> int:
    """Try every case; return 1 where one is wrong."""
    folder = options.cases or find_data(".").parent / "cases"
    if not folder.is_dir():
        raise DataError(f"the cases were not found at {folder}", "name their folder with --cases")
    named = [(kind, name, case) for kind, cases in CASES.items() for name, case in cases.items()]
    chosen = [item for item in named if not options.kinds or item[0] in options.kinds]
    results = [
        {"kind": kind, "case": name, **_try(case, folder / kind)}
        for kind, name, case in progress(chosen, "cases", len(chosen), "case")
    ]
    outcomes = [item["outcome"] for item in results]
    summary = {"cases": len(outcomes), **{kind: outcomes.count(kind) for kind in (RIGHT, REFUSED, WRONG)}}
    table = Table("kind", "case", "outcome", "seen")
    for item in results:
        table.add_row(item["kind"], item["case"], item["outcome"], item["seen"])
    report(options, {**summary, "results": results}, options.output / "summary.json", table)
    return 1 if summary[WRONG] else 0


def _try(case: Case, folder: Path) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as work:
        try:
            return {"outcome": case(folder, Path(work)), "seen": ""}
        except Exception as error:  # a traceback is what these cases look for
            return {"outcome": WRONG, "seen": f"{type(error).__name__}: {error}"}


BENCHMARK = Benchmark(
    "cases_check",
    "Small inputs that failed once: each gives its expected value or its refusal in one line",
    add_options,
    run,
    Path("out/cases"),
)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
