"""``object-pose dataset ACTION``: data sets checked, reported on, converted, split, or rendered for a task."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from object_pose import __version__
from object_pose.cli.options import add_config_options, add_model_option, config_from_options
from object_pose.core.errors import ConfigError
from object_pose.core.params import parameter
from object_pose.io.datasets.bop_checks import check_bop
from object_pose.io.datasets.boxes import (
    check_names,
    read_names,
)
from object_pose.io.datasets.opening import OpenedDataset, find_layout, join_splits, open_dataset
from object_pose.io.datasets.samples import BoxDataset, Fault, image_paths, of_severity, require_usable
from object_pose.io.datasets.splitting import group_images, parse_shares, split_dataset
from object_pose.io.datasets.writing import write_dataset, write_provenance
from object_pose.io.files import new_folder
from object_pose.runtime.predictor import load_card

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
_MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class SplitConfig:
    """How a data set is shared out."""

    shares: str = parameter("train=0.8,val=0.2", "splits and their shares")
    group: str = parameter(
        "recording",
        "what stays together besides near-duplicates: 'recording' (file names up to the last number), 'none', or a "
        "regular expression whose first group names it",
    )
    seed: int = parameter(0, "equal seeds give equal splits", minimum=0, maximum=_MAX_SEED)


@dataclass(frozen=True)
class RenderedConfig:
    """What is rendered."""

    count: int = parameter(100, "images", minimum=1, maximum=10_000_000)
    seed: int = parameter(0, "equal seeds give equal images", minimum=0, maximum=_MAX_SEED)


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
    add_model_option(report, meaning="a detector to hold the labels against")
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
    if find_layout(options.path).kind == "bop":
        summary = check_bop(options.path, options.thorough)
        holds = f"{summary.scenes} scenes, {summary.images} images, {summary.objects} objects (bop)"
        return _print_faults(options, holds, summary.faults)
    opened = _open(options, options.thorough)
    return _print_faults(options, _contents(opened), opened.faults)


def _print_faults(options: argparse.Namespace, holds: str, faults: tuple[Fault, ...]) -> int:
    errors, warnings = of_severity(faults, "error"), of_severity(faults, "warning")
    if options.json:
        rows = [{"path": str(f.path), "line": f.line, "problem": f.problem, "severity": f.severity} for f in faults]
        print(json.dumps({"path": str(options.path), "holds": holds, "errors": len(errors), "faults": rows}, indent=2))
        return 1 if errors else 0
    for fault in warnings:
        print(f"{fault} [warning]")
    for fault in errors:
        print(fault)
    print(f"{options.path}: {holds}: {_number(errors, 'error')}, {_number(warnings, 'warning')}")
    return 1 if errors else 0


def _report(options: argparse.Namespace) -> int:
    # Only here: matplotlib is part of what trains.
    from object_pose.evaluation.reports.dataset.findings import compare_with_model
    from object_pose.evaluation.reports.dataset.page import write_report
    from object_pose.evaluation.reports.dataset.report import report_dataset

    opened = _open(options)
    output = options.output or Path("out") / "dataset" / options.path.resolve().name
    findings = []
    if options.model:
        boxes = {name: dataset for name, dataset in opened.splits.items() if isinstance(dataset, BoxDataset)}
        if not boxes:
            raise ConfigError("--model is for data sets of boxes", f"{options.path} is one of {opened.kind}")
        findings = compare_with_model(boxes, options.model, _bar)
    report = report_dataset(options.path.resolve().name, opened.splits, findings, _bar)
    write_report(report, output)
    if options.json:
        print(json.dumps(report.figures))
        return 0
    for sentence in report.figures["observations"]:
        print(f"- {sentence}")
    print(f"{output / 'report.html'} and report.json")
    return 0


def _convert(options: argparse.Namespace) -> int:
    opened = _open(options)
    if opened.kind not in ("yolo", "coco"):
        raise ConfigError(f"{options.path} is a data set of {opened.kind}", "only boxes can be converted")
    with new_folder(options.output) as folder:
        write_dataset(folder, options.to, opened.splits)
        _note(folder, options)
    print(f"{options.output}: {_contents(opened)}, written as {options.to}")
    return 0


def _split(options: argparse.Namespace) -> int:
    config = config_from_options(options, SplitConfig)
    shares = parse_shares(config.shares)
    opened = _open(options)
    whole = require_usable(join_splits(list(opened.splits.values())))
    groups = group_images(image_paths(whole), config.group, _bar)
    splits = split_dataset(whole, groups, shares, config.seed)
    with new_folder(options.output) as folder:
        write_dataset(folder, opened.kind, splits)
        _note(folder, options)
    for name, dataset in splits.items():
        count = len(dataset.samples)
        print(f"{options.output / name}: {count} images, {count / len(whole.samples):.0%}")
    print(f"{len(np.unique(groups))} groups of recordings and near-duplicates, none on two sides")
    return 0


def _render(options: argparse.Namespace) -> int:
    # Only here: the simulation compiles its kernels when it is imported.
    from object_pose.simulation.generators.datasets import RENDERED_DATASETS

    config = config_from_options(options, RenderedConfig)
    if config.seed + config.count > _MAX_SEED:
        raise ConfigError(f"seed {config.seed} and count {config.count} are too large together")
    with new_folder(options.output) as folder:
        RENDERED_DATASETS[options.action](folder, config.count, config.seed, lambda items: _bar(items, config.count))
        _note(folder, options)
    print(f"{options.output}: {config.count} images for the task {options.action}, seed {config.seed}")
    return 0


def _open(options: argparse.Namespace, thorough: bool = False) -> OpenedDataset:
    model = getattr(options, "model", None)
    labels = load_card(model).labels if model else None
    if options.labels:
        names = [name.strip() for name in options.labels.split(",")]
        is_file = Path(options.labels).is_file() or (len(names) == 1 and Path(options.labels).suffix != "")
        labels = read_names(options.labels) if is_file else check_names(names, "--labels")
    return open_dataset(options.path, labels, options.images, thorough)


def _contents(opened: OpenedDataset) -> str:
    counts = Counter[str]()
    for dataset in opened.splits.values():
        counts["images"] += len(dataset.samples)
        if isinstance(dataset, BoxDataset):
            counts["boxes"] += sum(len(sample.class_ids) for sample in dataset.samples)
    labels = getattr(next(iter(opened.splits.values())), "labels", None)
    parts = [f"{count} {name}" for name, count in counts.items()] + ([f"{len(labels)} classes"] if labels else [])
    splits = f" in {', '.join(opened.splits)}" if len(opened.splits) > 1 else ""
    return f"{', '.join(parts)}{splits} ({opened.kind})"


def _note(folder: Path, options: argparse.Namespace) -> None:
    write_provenance(folder, {"command": options.command, "object_pose": __version__})


def _bar(items: Any, total: int | None = None) -> Iterable[Any]:
    bar: Iterable[Any] = tqdm(items, total=total, unit="image", disable=None)
    return bar


def _number(faults: tuple[Fault, ...], noun: str) -> str:
    return f"{len(faults)} {noun}" if len(faults) == 1 else f"{len(faults)} {noun}s"
