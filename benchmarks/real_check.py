"""The model trained on renders of LM-O's objects against real LM-O frames.

The frame with depth is replayed as a camera through the ROS nodes; the colour frames go through the same pipeline
offline.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rich.table import Table

from benchmarks.harness import Benchmark, progress, report
from benchmarks.lmo import RGBD_IMAGE, SCENE, find_lmo
from object_pose.cli.options import add_model_option
from object_pose.cli.processes import child_processes, end_processes
from object_pose.core.metrics.pose import FrameMatches, PoseMatch, match_frame
from object_pose.core.pose.config import SINGLE_IMAGE
from object_pose.core.results.pose import ObjectPose
from object_pose.core.vision.drawing import draw_poses
from object_pose.evaluation.pose_runner import LabelledFrame, bop_frames, evaluate_pose
from object_pose.io.images import write_image
from object_pose.ros.demo.planner_probe import PlannerProbe, observe
from object_pose.ros.messages.conversions import detections_3d_from_message
from object_pose.ros.nodes.spinning import prepare_process
from object_pose.runtime.pose_estimator import FrameEstimate, PoseEstimator
from object_pose.runtime.resources import DATA_VARIABLE

_RGBD_FRAME = f"{RGBD_IMAGE:06d}"
_WATCH_S = 4.0
_RATE_HZ = 2
_START_WITHIN_S = 60.0
# LM-O calls every object visible above a tenth a target.
_MIN_VISIBILITY = 0.1
_NAMES = {1: "ape", 5: "can", 6: "cat", 8: "drill", 9: "duck", 10: "eggbox", 11: "glue", 12: "holepuncher"}


@dataclass(frozen=True)
class RealFrame:
    """The one real RGB-D frame's files."""

    color: Path
    depth: Path
    intrinsics: Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--data", type=Path, help=f"LM-O folder (default: ${DATA_VARIABLE}/lmo, ../shared/data/lmo)")
    add_model_option(parser, "lmo.onnx")


def run(options: argparse.Namespace) -> int:
    """Run both checks, print their tables and write summary.json."""
    data = options.data or find_lmo()
    pipeline = PoseEstimator(options.model)
    labels = pipeline.card.labels
    frames = list(bop_frames(data / SCENE, labels, with_depth=False))
    target = next(frame for frame in frames if frame.image_id == RGBD_IMAGE)

    rgbd = _through_ros(options.model, _real_frame(data), pipeline, target, options.output)
    rgb = evaluate_pose(
        pipeline, progress(frames, "LM-O, RGB", len(frames)), _MIN_VISIBILITY, _overlay_writer(options.output)
    )
    summary = {
        "rgbd_correct": sum(item["correct"] for item in rgbd.values()),
        "rgbd_targets": len(rgbd),
        "rgb_recall_add_01d": round(rgb.score.recall_add_01d, 4),
        "rgb_precision": round(rgb.score.precision, 4),
        "rgb_frames": rgb.frames,
        "rgbd_per_object": rgbd,
        "rgb_per_object": {_readable(name): round(value, 4) for name, value in rgb.score.recall_per_class.items()},
    }
    report(options, summary, options.output / "summary.json", *_shown(summary))
    return 0


def _real_frame(data: Path) -> RealFrame:
    scene = data / SCENE
    return RealFrame(scene / "rgb" / f"{_RGBD_FRAME}.png", scene / "depth" / f"{_RGBD_FRAME}.png", data / "camera.json")


def _through_ros(
    model: Path, files: RealFrame, pipeline: PoseEstimator, target: LabelledFrame, output: Path
) -> dict[str, Any]:
    """Replay the RGB-D frame as a camera and check the last detections that a subscriber gets."""
    prepare_process()
    rclpy.init()
    source = ("--source", files.color, "--depth", files.depth, "--intrinsics", files.intrinsics, "--rate", _RATE_HZ)
    search = ("--ros-args", "-p", f"pose_node:solver.search.max_searches:={SINGLE_IMAGE.solver.search.max_searches}")
    with child_processes() as start:
        running = {"pipeline": start("object_pose.cli.main", "run", "--model", model, *source, *search)}
        seen = observe(PlannerProbe(), _WATCH_S, _START_WITHIN_S)
        end_processes(running)
    rclpy.try_shutdown()
    message = seen.detections[max(seen.detections)]
    card = pipeline.card
    poses = detections_3d_from_message(message, card.labels)
    write_image(output / f"rgbd_{_RGBD_FRAME}.png", draw_poses(target.frame.rgb, poses, target.frame.camera))
    return _per_object(poses, match_frame(poses, target.truths, card.objects, _MIN_VISIBILITY), target)


def _per_object(poses: tuple[ObjectPose, ...], matches: FrameMatches, target: LabelledFrame) -> dict[str, Any]:
    found = {match.truth.class_name: match for match in matches.matches}
    return {_readable(truth.class_name): _outcome(found.get(truth.class_name)) for truth in target.truths}


def _outcome(match: PoseMatch | None) -> dict[str, Any]:
    if match is None:
        return {"correct": False, "add_share": None, "translation_error_mm": None}
    return {
        "correct": match.is_correct,
        "add_share": round(match.add_share, 4),
        "translation_error_mm": round(match.translation_error_m * 1e3, 2),
    }


def _overlay_writer(output: Path) -> Any:
    def write(item: LabelledFrame, result: FrameEstimate, matches: FrameMatches) -> None:
        picture = draw_poses(item.frame.rgb, result.results.poses, item.frame.camera, result.results.rejections)
        write_image(output / f"rgb_{item.image_id:06d}.png", picture)

    return write


def _readable(name: str) -> str:
    number = name.rpartition("_")[2]
    return _NAMES.get(int(number), name) if number.isdigit() else name


def _shown(summary: dict[str, Any]) -> tuple[Table, str]:
    table = Table("object", "RGB-D frame", "ADD(-S) / d", f"RGB recall, {summary['rgb_frames']} frames")
    for name, recall in summary["rgb_per_object"].items():
        one = summary["rgbd_per_object"].get(name, _outcome(None))
        share = "-" if one["add_share"] is None else f"{one['add_share']:.3f}"
        table.add_row(name, "correct" if one["correct"] else "no", share, f"{recall:.3f}")
    return table, (
        f"RGB-D: {summary['rgbd_correct']} of {summary['rgbd_targets']} correct; "
        f"RGB: recall {summary['rgb_recall_add_01d']:.3f}, precision {summary['rgb_precision']:.3f}"
    )


BENCHMARK = Benchmark("real_check", "the LM-O model on real frames, through ROS", add_options, run, Path("out/real"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
