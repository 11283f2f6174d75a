"""``object-pose demo``: the pipeline over real ROS 2 topics, watched by a planner in another process."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from object_pose.cli.options import add_model_option
from object_pose.cli.processes import Process, child_processes, end_processes
from object_pose.core.errors import ObjectPoseError
from object_pose.core.vision.drawing import draw_poses
from object_pose.io.bags import read_bag
from object_pose.io.camera_info import info_from_message
from object_pose.io.images import write_image
from object_pose.io.messages import image_from_message, stamp_ns
from object_pose.io.writers import write_json
from object_pose.ros.messages.conversions import detections_3d_from_message
from object_pose.ros.transport import topics

EXAMPLES = """examples:
  object-pose demo
  object-pose demo --seconds 60 --seed 3
  object-pose demo --model models/parts.onnx --rate 30 --no-bag
"""

_PICTURES = 6
_IMAGES_IN_BAG_HZ = 2.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``demo``."""
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the planner watches (default: 20)")
    add_model_option(parser, default="parts.onnx")
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second of the camera (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="scene of the simulated camera")
    parser.add_argument(
        "--processes",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="one process a node, which on two cores is steadier than one for all (default: yes)",
    )
    parser.add_argument("--output", type=Path, default=Path("out/demo"), help="folder for summary, pictures and bag")
    parser.add_argument("--bag", action=argparse.BooleanOptionalAction, default=True, help="record inputs and outputs")


def run(options: argparse.Namespace) -> int:
    """Run camera, detection, pose and planner for a while; write what they did."""
    console = Console()
    options.output.mkdir(parents=True, exist_ok=True)
    bag = options.output / "bag"
    with child_processes() as start:
        pipeline = start("object_pose.cli.main", "run", *_run_options(options))
        running = {"pipeline": pipeline}
        if options.bag:
            record = ("bag", "record", bag, "--image-rate", _IMAGES_IN_BAG_HZ)
            running["recorder"] = start("object_pose.cli.main", *record)
        watched = ("--seconds", options.seconds, "--model", options.model)
        probe = start("object_pose.ros.demo.planner_probe", *watched, pipe=True)
        console.print(f"camera, detection and pose node start in process {running['pipeline'].pid}")
        summary = _watch(probe, running["pipeline"], console)
        end_processes(running)
    write_json(options.output / "summary.json", summary)
    pictures = _write_pictures(bag, options.output / "pictures", _PICTURES) if options.bag else 0
    console.print(_summary_table(summary))
    console.print(f"{options.output}: summary.json" + (f", {pictures} pictures, bag" if options.bag else ""))
    return 0


def _run_options(options: argparse.Namespace) -> list[str]:
    processes = ["--processes"] if options.processes else []
    return [
        "--model",
        str(options.model),
        "--rate",
        str(options.rate),
        "--seed",
        str(options.seed),
        "--fixed-frame",
        "world",
        *processes,
    ]


def _watch(probe: Process, pipeline: Process, console: Console) -> dict[str, Any]:
    """Show what the planner sees until it is done; return its summary."""
    assert probe.stdout is not None
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for line in probe.stdout:
            values: dict[str, Any] = json.loads(line)
            if "summary" in values:
                summary: dict[str, Any] = values["summary"]
                return summary
            if pipeline.poll() is not None:
                raise ObjectPoseError("the pipeline has ended", "what it said is above")
            live.update(values["waiting"] if "waiting" in values else _live_table(values))
    raise ObjectPoseError("the planner saw no detections", "what it said is above")


def _live_table(values: dict[str, Any]) -> Table:
    title = f"{values['elapsed_s']:4.1f} s   {values['rate_hz']:.1f} Hz   latency {values['latency_ms']:.1f} ms"
    table = Table("id", "object", "score", "x / mm", "y / mm", "z / mm", "sigma / mm", title=title)
    for item in values["objects"]:
        position = [f"{1e3 * value:.1f}" for value in item["position_m"]]
        table.add_row(item["id"], item["class"], f"{item['score']:.2f}", *position, f"{item['sigma_mm']:.1f}")
    return table


def _summary_table(summary: dict[str, Any]) -> Table:
    table = Table("measure", "value", title="what the planner got")
    for name, value in summary.items():
        if isinstance(value, dict):
            text = "  ".join(f"{key} {_text(item)}" for key, item in value.items())
        else:
            text = _text(value)
        table.add_row(name, text)
    return table


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _write_pictures(bag: Path, folder: Path, count: int) -> int:
    """Draw up to ``count`` frames of a bag with the poses that were published for them; return how many."""
    detections, cameras, stamps = {}, {}, []
    results, infos, images = map(topics.recorded, (topics.DETECTIONS_3D, topics.CAMERA_INFO, topics.COLOR))
    for topic, _, message in read_bag(bag, [results, infos, images]):
        stamp = stamp_ns(message)
        if topic == results:
            detections[stamp] = message
        elif topic == infos:
            cameras[stamp] = info_from_message(message).camera()
        else:
            stamps.append(stamp)
    class_names = sorted({_class_name(item) for message in detections.values() for item in message.detections})
    complete = [stamp for stamp in stamps if stamp in detections] if cameras else []
    chosen = complete[:: max(1, len(complete) // count)][:count]
    for _, _, message in read_bag(bag, [images]):
        stamp = stamp_ns(message)
        if stamp in chosen:
            poses = detections_3d_from_message(detections[stamp], class_names)
            folder.mkdir(parents=True, exist_ok=True)
            # The camera stays the same; its message of one frame may be lost.
            camera = cameras.get(stamp, next(iter(cameras.values())))
            picture = draw_poses(image_from_message(message), poses, camera)
            write_image(folder / f"{chosen.index(stamp):02d}.png", picture)
    return len(chosen)


def _class_name(detection: Any) -> str:
    return str(detection.results[0].hypothesis.class_id)
