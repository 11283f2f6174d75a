"""``object-pose bag``: what a recording holds, its frames through the pipeline again, its poses against its truth.

Reads the bags of our recorder and of ``ros2 bag``, mcap or sqlite3, without a ROS installation.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from object_pose.cli.frame_results import pose_results, show_results
from object_pose.cli.model_options import add_estimator_options, estimator_from_options, estimator_settings
from object_pose.cli.options import add_config_options, config_from_options, model_file
from object_pose.cli.progress_bar import ProgressBar
from object_pose.cli.runner_options import add_runner_options, chosen_runner
from object_pose.core.errors import ConfigError
from object_pose.core.frame import NS_PER_S
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.bags import BagInfo, describe_bag
from object_pose.io.cameras.recorded import bag_frames
from object_pose.ros.transport import topics

EXAMPLES = """examples:
  object-pose bag info out/demo/bag
  object-pose bag replay out/demo/bag --model models/parts.onnx --output out/replay
  object-pose bag replay other.mcap --color-topic /cam/rgb --depth-topic /cam/depth --camera-info-topic /cam/info
  object-pose bag evaluate out/demo/bag                            (the recorded poses)
  object-pose bag evaluate out/demo/bag --model models/mine.onnx   (those of another model on the same frames)
  object-pose bag evaluate shift1/ shift2/ --track --output out/shifts --workers 2     (a report each)
  object-pose bag record out/run --seconds 30      (what the running pipeline reads and says)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_info(_add_action(actions, "info", "topics, types and rates"))
    _add_replay(_add_action(actions, "replay", "the bag's frames through the pipeline, the same every time"))
    evaluate = "recorded poses, or those of a model, against the recorded truth; with --output as a report"
    _add_evaluate(_add_action(actions, "evaluate", evaluate, nargs="+"))
    _add_record(actions.add_parser("record", help="record a running pipeline", description="record a running pipeline"))


def run(options: argparse.Namespace) -> int:
    """Do what the sub-command says."""
    return int(options.act(options) or 0)


def _add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, nargs: str | None = None
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("bag", type=Path, nargs=nargs, help="bag folder, or .mcap, .db3 or ROS 1 .bag file")
    return parser


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=_info)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, help="folder for annotated pictures and results.jsonl")
    parser.add_argument("--json", action="store_true", help="print one JSON object a frame")
    add_config_options(parser, RecordingConfig, "frames")
    add_estimator_options(parser)
    parser.set_defaults(act=_replay)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--truth-topic", default=topics.recorded(topics.GROUND_TRUTH), help="ObjectTruthArray (default: %(default)s)"
    )
    parser.add_argument(
        "--poses-topic", default=topics.recorded(topics.OBJECT_POSES), help="ObjectPoseArray (default: %(default)s)"
    )
    parser.add_argument(
        "--geometry",
        type=model_file,
        help="model file with the recorded objects' geometry (default: the one that the bag names)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="run the model on every frame, with truth or without; write report, results and annotated bag here",
    )
    parser.add_argument(
        "--fixed-frame", default="", help="frame of the bag's /tf in which objects are tracked with --output"
    )
    add_runner_options(parser, "bags with --output")
    add_config_options(parser, RecordingConfig, "frames")
    add_estimator_options(parser)
    parser.set_defaults(act=_evaluate)


def _info(options: argparse.Namespace) -> None:
    info = describe_bag(options.bag)
    if options.json:
        print(json.dumps(dataclasses.asdict(info)))
    else:
        _print_info(options.bag, info)


def _print_info(bag: Path, info: BagInfo) -> None:
    seconds = info.duration_ns / NS_PER_S
    start = datetime.fromtimestamp(info.start_ns / NS_PER_S, timezone.utc)
    table = Table(title=f"{bag}: {seconds:.1f} s from {start:%Y-%m-%d %H:%M:%S} UTC")
    for column in ("topic", "type", "messages", "Hz"):
        table.add_column(column, overflow="fold")
    for topic in info.topics:
        rate = f"{(topic.count - 1) / seconds:.1f}" if seconds > 0 and topic.count > 1 else ""
        table.add_row(topic.name, topic.message_type, str(topic.count), rate)
    Console().print(table)


def _replay(options: argparse.Namespace) -> None:
    estimator = estimator_from_options(options)
    frames = bag_frames(options.bag, config_from_options(options, RecordingConfig))
    show_results(frames, pose_results(estimator, with_timings=False), options.output, options.json)


def _evaluate(options: argparse.Namespace) -> None:
    # Only here: 'bag info' and 'bag replay' work without what evaluates.
    from object_pose.cli.evaluate import print_pose_evaluation
    from object_pose.workflows.evaluate_bag import (
        BagEvaluationConfig,
        evaluate_estimator_on_bag,
        evaluate_recorded_bag,
    )

    if options.output:
        _report(options)
        return
    if len(options.bag) > 1:
        raise ConfigError("several bags are evaluated as reports", "name a folder with --output")
    config = BagEvaluationConfig(
        options.bag[0],
        options.truth_topic,
        options.poses_topic,
        topics.recorded(topics.KEYPOINTS),
        config_from_options(options, RecordingConfig),
        options.geometry,
    )
    if options.model:
        with ProgressBar(terminal_only=True) as bar:
            evaluation = evaluate_estimator_on_bag(estimator_from_options(options), config, bar)
    else:
        evaluation = evaluate_recorded_bag(config)
    if options.json:
        print(json.dumps(evaluation.to_json()))
    else:
        print_pose_evaluation(evaluation)


def _report(options: argparse.Namespace) -> None:
    from object_pose.workflows.evaluate_bag import BagReportConfig, report_on_bags

    config = BagReportConfig(
        tuple(options.bag),
        options.output,
        estimator_settings(options),
        config_from_options(options, RecordingConfig),
        options.truth_topic,
        options.fixed_frame,
    )
    with ProgressBar(terminal_only=True) as bar, chosen_runner(options) as runner:
        summaries = report_on_bags(config, bar, runner)
    if options.json:
        print(json.dumps(summaries))
        return
    table = Table("bag", "frames", "poses", "recall ADD(-S) 0.1d", "precision", "speed over real time")
    for name, summary in summaries.items():
        accepted = (summary["evaluation"] or {}).get("accepted", {})
        figures = [accepted.get(key) for key in ("recall_add_01d", "precision")] + [summary["speed_over_realtime"]]
        shown = ["" if value is None else f"{value:.3f}" for value in figures]
        table.add_row(name, str(summary["frames"]), str(summary["poses"]), *shown)
    Console().print(table)
    print(f"{options.output}: summary.json, and for each bag report.html, results.jsonl, results.csv, annotated/")


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, help="bag folder to write")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long; 0 until Ctrl-C (default: %(default)s)")
    parser.add_argument(
        "--image-rate",
        type=float,
        default=0.0,
        help="camera frames a second that are kept; 0 all (default: %(default)s)",
    )
    parser.add_argument("--topic", action="append", default=[], help="also record this topic, whatever its type")
    parser.add_argument("--compression", choices=("none", "zstd"), default="none", help="default: %(default)s")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="remaps and namespace of ROS 2")
    parser.set_defaults(act=_record)


def _record(options: argparse.Namespace) -> None:
    from object_pose.ros.recorder import RecordingOptions, record

    config = RecordingOptions(options.image_rate, options.seconds, tuple(options.topic), options.compression == "zstd")
    counts = record(options.output, config, ["--ros-args", *options.ros_args])
    for topic, count in sorted(counts.items()):
        print(f"{count:7d} {topic}")
    print(f"wrote {options.output}")
