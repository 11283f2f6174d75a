"""``object-pose dataset ACTION``: data sets checked, reported on, converted, split, or rendered for a task."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from object_pose.cli.options import add_config_options, add_model_option, config_from_options
from object_pose.cli.progress_bar import ProgressBar
from object_pose.io.datasets.boxes import check_names, read_names
from object_pose.io.datasets.samples import Fault, of_severity
from object_pose.workflows.datasets import (
    DatasetConfig,
    RenderedConfig,
    SplitConfig,
    check_dataset,
    convert_dataset,
    render_dataset,
    report_on_dataset,
    split_into,
)

EXAMPLES = """examples:
  object-pose dataset check data/workplace/train
  object-pose dataset report data/workplace --labels names.txt --output out/report
  object-pose dataset convert data/coco --to yolo --output data/yolo
  object-pose dataset split data/mine --shares train=0.8,val=0.2 --output data/mine_split
  object-pose dataset classify --count 1000 --seed 7 --output data/trays

PATH is a YOLO folder (images/ and labels/), a COCO file or a folder with one, one folder a class, a folder with
images/ and masks/, or BOP scenes (check only); or a folder of such splits (train, val, test).
'check' ends with exit code 1 where the data set has errors.
"""
RENDERED_TASKS = {
    "detect": "render the six parts with their boxes, as YOLO",
    "pose": "render the six parts with depth and poses, as BOP ('object-pose generate' has more options)",
    "oriented": "draw spaceships with their oriented boxes, as images and JSON lines",
    "classify": "render trays of springs and gears, one folder a class",
    "segment": "render aerial tiles with masks of their buildings",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each action and each task."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=summary, description=summary)

    check = add("check", "find every fault of a data set, with file and line")
    check.add_argument("--thorough", action="store_true", help="decode every image, not only its header")
    check.add_argument("--json", action="store_true", help="print JSON")
    report = add("report", "measure images and labels: a page with plots, and JSON")
    report.add_argument("--output", type=Path, help="folder of report.html and report.json (default: out/dataset/NAME)")
    add_model_option(report, meaning="a detector to compare the labels with")
    report.add_argument("--json", action="store_true", help="print the figures as JSON")
    convert = add("convert", "write boxes in another format, images copied")
    convert.add_argument("--to", choices=("coco", "yolo"), required=True, help="format to write")
    split = add("split", "share out a data set by recording, near-duplicates together")
    split.add_argument("--config", type=Path, help="YAML file of options; the command line wins")
    add_config_options(split, SplitConfig, "split")
    for action in (check, report, convert, split):
        action.add_argument("path", type=Path, metavar="PATH", help="the data set")
        action.add_argument(
            "--labels", help="class names where the data have none: a file, or names with commas between"
        )
        action.add_argument("--images", type=Path, help="folder of a COCO file's images")
    for name, summary in RENDERED_TASKS.items():
        task = add(name, summary)
        task.add_argument("--config", type=Path, help="YAML file of options; the command line wins")
        add_config_options(task, RenderedConfig, "data set")
    for name, action in actions.choices.items():
        if name not in ("check", "report"):
            action.add_argument("--output", type=Path, required=True, help="new folder; it appears whole or not at all")


def run(options: argparse.Namespace) -> int:
    """Do the action."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "check": _check,
        "report": _report,
        "convert": _convert,
        "split": _split,
    }
    return actions.get(options.action, _render)(options)


def _check(options: argparse.Namespace) -> int:
    found = check_dataset(_dataset(options), options.thorough)
    errors, warnings = of_severity(found.faults, "error"), of_severity(found.faults, "warning")
    if options.json:
        rows = [
            {"path": str(f.path), "line": f.line, "problem": f.problem, "severity": f.severity} for f in found.faults
        ]
        summary = {"path": str(options.path), "holds": found.holds, "errors": len(errors), "faults": rows}
        print(json.dumps(summary, indent=2))
        return 1 if errors else 0
    for fault in warnings:
        print(f"{fault} [warning]")
    for fault in errors:
        print(fault)
    print(f"{options.path}: {found.holds}: {_number(errors, 'error')}, {_number(warnings, 'warning')}")
    return 1 if errors else 0


def _report(options: argparse.Namespace) -> int:
    output = options.output or Path("out") / "dataset" / options.path.resolve().name
    with ProgressBar(terminal_only=True) as bar:
        report = report_on_dataset(_dataset(options), output, options.model, bar)
    if options.json:
        print(json.dumps(report.figures))
        return 0
    for sentence in report.figures["observations"]:
        print(f"- {sentence}")
    print(f"{output / 'report.html'} and report.json")
    return 0


def _convert(options: argparse.Namespace) -> int:
    holds = convert_dataset(_dataset(options), options.to, options.output, options.command)
    print(f"{options.output}: {holds}, written as {options.to}")
    return 0


def _split(options: argparse.Namespace) -> int:
    config = config_from_options(options, SplitConfig)
    with ProgressBar(terminal_only=True) as bar:
        result = split_into(_dataset(options), config, options.output, options.command, bar)
    whole = sum(result.counts.values())
    for name, count in result.counts.items():
        print(f"{options.output / name}: {count} images, {count / whole:.0%}")
    print(f"{result.groups} groups of recordings and near-duplicates, none on two sides")
    return 0


def _render(options: argparse.Namespace) -> int:
    config = config_from_options(options, RenderedConfig)
    with ProgressBar(terminal_only=True) as bar:
        render_dataset(options.action, config, options.output, options.command, bar)
    print(f"{options.output}: {config.count} images for the task {options.action}, seed {config.seed}")
    return 0


def _dataset(options: argparse.Namespace) -> DatasetConfig:
    labels = None
    if options.labels:
        names = [name.strip() for name in options.labels.split(",")]
        is_file = Path(options.labels).is_file() or (len(names) == 1 and Path(options.labels).suffix != "")
        labels = read_names(options.labels) if is_file else check_names(names, "--labels")
    return DatasetConfig(options.path, labels, options.images)


def _number(faults: tuple[Fault, ...], noun: str) -> str:
    return f"{len(faults)} {noun}" if len(faults) == 1 else f"{len(faults)} {noun}s"
