"""``object-pose doctor``: what this machine, camera and robot lack for the pipeline, with the cure of each."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from importlib import util

from rich.console import Console
from rich.markup import escape

from object_pose.cli.options import add_config_options, add_model_option, config_from_options
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model, shipped_models
from object_pose.workflows.doctor import Finding, Level, check_machine, time_engines

EXAMPLES = """examples:
  object-pose doctor                                   (this machine)
  object-pose doctor --bench                           (and how fast each engine runs the models)
  object-pose doctor --topics                          (and the camera that runs now)
  object-pose doctor --topics --fixed-frame base_link --ros-args -r __ns:=/cell
"""
_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``doctor``."""
    add_model_option(parser, meaning="ONNX model that the camera is for (default: parts.onnx)")
    parser.add_argument("--bench", action="store_true", help="time every installed engine on the models")
    parser.add_argument("--topics", action="store_true", help="listen to the camera's topics, /tf and /diagnostics")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to listen (default: %(default)s)")
    parser.add_argument("--fixed-frame", default="", help="frame in which the robot wants poses, such as base_link")
    parser.add_argument("--json", action="store_true", help="print JSON")
    if util.find_spec("rclpy"):  # a machine without ROS is examined, too
        from object_pose.ros.transport.frame_inputs import FrameInputsConfig

        add_config_options(parser, FrameInputsConfig, "topics")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="remaps and namespace of ROS 2")


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 where anything will not work."""
    findings = list(check_machine())
    if options.bench:
        findings += time_engines([options.model] if options.model else shipped_models())
    if options.topics:
        findings += _examine_topics(options)
    if options.json:
        print(json.dumps([dataclasses.asdict(item) for item in findings], indent=2))
    else:
        _print(findings)
    return 1 if any(item.level is Level.ERROR for item in findings) else 0


def _examine_topics(options: argparse.Namespace) -> Sequence[Finding]:
    import rclpy

    from object_pose.ros.doctor import TopicExaminer
    from object_pose.ros.nodes.spinning import prepare_process
    from object_pose.ros.transport.frame_inputs import FrameInputsConfig

    card = load_card(options.model or find_model("parts.onnx"))
    prepare_process()
    rclpy.init(args=["--ros-args", *options.ros_args])
    examiner = TopicExaminer(config_from_options(options, FrameInputsConfig))
    try:
        print(f"listening for {options.seconds:g} s", file=sys.stderr)
        examiner.listen(options.seconds)
        return list(examiner.findings(card, options.fixed_frame))
    finally:
        examiner.destroy_node()
        rclpy.try_shutdown()


def _print(findings: Sequence[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for item in findings:
        level = f"[{_COLOURS[item.level]}]{item.level.value:<8}[/]"
        console.print(f"{level}{escape(item.subject)}: {escape(item.text)}")
        if item.cure:
            console.print(f"{'':8}-> {escape(item.cure)}")
    counts = {level: sum(item.level is level for item in findings) for level in Level}
    print(", ".join(f"{count} {level.value}" for level, count in counts.items()))
