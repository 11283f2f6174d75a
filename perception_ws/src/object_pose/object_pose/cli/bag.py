"""``object-pose bag``: what a recording holds, its frames through the pipeline again, its poses against its truth.

Reads the bags of our recorder and of ``ros2 bag``, mcap or sqlite3, without a ROS installation.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from object_pose.cli.frame_results import predict_poses, show_results
from object_pose.cli.model_options import add_pipeline_options, pipeline_from_options
from object_pose.cli.options import add_config_options, config_from_options, model_file
from object_pose.core.errors import DataError, ModelError
from object_pose.core.object_model import ObjectModel
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.bags import BagInfo, describe_bag, read_bag
from object_pose.io.cameras.recorded import bag_frames
from object_pose.ros.transport import topics
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model

# ``bag info`` and ``bag replay`` work without what ``bag evaluate`` needs.
if TYPE_CHECKING:
    from object_pose.evaluation.pose_runner import PoseEvaluation

EXAMPLES = """examples:
  object-pose bag info out/demo/bag
  object-pose bag replay out/demo/bag --model models/parts.onnx --output out/replay
  object-pose bag replay other.mcap --color-topic /cam/rgb --depth-topic /cam/depth --camera-info-topic /cam/info
  object-pose bag evaluate out/demo/bag                            (the recorded poses)
  object-pose bag evaluate out/demo/bag --model models/mine.onnx   (those of another model on the same frames)
"""
_NS_PER_S = 1e9


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_info(_add_action(actions, "info", "topics, types and rates"))
    _add_replay(_add_action(actions, "replay", "the bag's frames through the pipeline, the same every time"))
    _add_evaluate(_add_action(actions, "evaluate", "recorded poses, or those of a model, against the recorded truth"))


def run(options: argparse.Namespace) -> int:
    """Do what the sub-command says."""
    options.act(options)
    return 0


def _add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("bag", type=Path, help="bag folder, or .mcap, .db3 or ROS 1 .bag file")
    return parser


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=_info)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, help="folder for annotated pictures and results.jsonl")
    parser.add_argument("--json", action="store_true", help="print one JSON object a frame")
    add_config_options(parser, RecordingConfig, "frames")
    add_pipeline_options(parser)
    parser.set_defaults(act=_replay)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--truth-topic", default=topics.GROUND_TRUTH, help="ObjectTruthArray (default: %(default)s)")
    parser.add_argument("--poses-topic", default=topics.OBJECT_POSES, help="ObjectPoseArray (default: %(default)s)")
    parser.add_argument(
        "--geometry",
        type=model_file,
        help="model file with the recorded objects' geometry (default: the one that the bag names)",
    )
    add_config_options(parser, RecordingConfig, "frames")
    add_pipeline_options(parser)
    parser.set_defaults(act=_evaluate)


def _info(options: argparse.Namespace) -> None:
    info = describe_bag(options.bag)
    if options.json:
        print(json.dumps(dataclasses.asdict(info)))
    else:
        _print_info(options.bag, info)


def _print_info(bag: Path, info: BagInfo) -> None:
    seconds = info.duration_ns / _NS_PER_S
    start = datetime.fromtimestamp(info.start_ns / _NS_PER_S, timezone.utc)
    table = Table(title=f"{bag}: {seconds:.1f} s from {start:%Y-%m-%d %H:%M:%S} UTC")
    for column in ("topic", "type", "messages", "Hz"):
        table.add_column(column, overflow="fold")
    for topic in info.topics:
        rate = f"{(topic.count - 1) / seconds:.1f}" if seconds > 0 and topic.count > 1 else ""
        table.add_row(topic.name, topic.message_type, str(topic.count), rate)
    Console().print(table)


def _replay(options: argparse.Namespace) -> None:
    pipeline = pipeline_from_options(options)
    frames = bag_frames(options.bag, config_from_options(options, RecordingConfig))
    show_results(frames, predict_poses(pipeline, with_timings=False), options.output, options.json)


def _evaluate(options: argparse.Namespace) -> None:
    from object_pose.cli.evaluate import print_pose_evaluation

    evaluation = _evaluate_model(options) if options.model else _evaluate_recording(options)
    if options.json:
        print(json.dumps(evaluation.to_json()))
    else:
        print_pose_evaluation(evaluation)


def _evaluate_model(options: argparse.Namespace) -> PoseEvaluation:
    from object_pose.evaluation.bags import labelled_bag_frames
    from object_pose.evaluation.pose_runner import evaluate_pose

    pipeline = pipeline_from_options(options)
    labels = pipeline.detector.card.labels
    frames = labelled_bag_frames(
        options.bag, labels, options.truth_topic, config_from_options(options, RecordingConfig)
    )
    return evaluate_pose(pipeline, tqdm(frames, unit="frame", disable=None))


def _evaluate_recording(options: argparse.Namespace) -> PoseEvaluation:
    from object_pose.evaluation.bags import evaluate_recorded_poses

    objects = _recorded_objects(options.bag, options.geometry)
    return evaluate_recorded_poses(options.bag, objects, options.truth_topic, options.poses_topic)


def _recorded_objects(bag: Path, geometry: Path | None) -> tuple[ObjectModel, ...]:
    """Return the geometry of what was looked for: that of the given model file, or of the one that the bag names."""
    try:
        model = find_model(geometry or _recorded_model(bag))
    except ModelError as error:
        raise ModelError(error.message, "name a model file of the same objects with --geometry") from error
    objects = load_card(model).objects
    if not objects:
        raise ModelError(f"model file {model} carries no object geometry", "name another one with --geometry")
    return objects


def _recorded_model(bag: Path) -> str:
    """Return the model file that the bag names, or its name alone where the file is not here."""
    if not any(topic.name == topics.KEYPOINTS and topic.count for topic in describe_bag(bag).topics):
        raise DataError(
            f"bag {bag} has no {topics.KEYPOINTS}, so it does not name its model",
            "name a model file of the same objects with --geometry",
        )
    _, _, message = next(read_bag(bag, [topics.KEYPOINTS]))
    recorded = Path(message.model)
    return str(recorded) if recorded.is_file() else recorded.name
