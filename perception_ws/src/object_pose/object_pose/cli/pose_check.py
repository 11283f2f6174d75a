"""``object-pose pose-check``: whether poses can be trusted, each figure beside its bar."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from object_pose.cli.judgements import SIGNS
from object_pose.core.errors import DataError
from object_pose.evaluation.lmo import find_lmo
from object_pose.evaluation.pose_check import check_lmo, check_rendered, check_tracking, judge
from object_pose.io.writers import write_json
from object_pose.runtime.resources import DATA_VARIABLE, find_model

EXAMPLES = """examples:
  object-pose pose-check
  object-pose pose-check --frames 20 --sequence-seconds 0 --output out/quick
  object-pose pose-check --data /data/lmo --lmo-model models/lmo.onnx
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``pose-check``."""
    parser.add_argument("--model", default="parts.onnx", help="model of the procedural parts, or a shipped one's name")
    parser.add_argument("--lmo-model", default="lmo.onnx", help="model of LM-O's objects, or a shipped one's name")
    parser.add_argument("--data", type=Path, help=f"LM-O folder (default: ${DATA_VARIABLE}/lmo, ../shared/data/lmo)")
    parser.add_argument("--frames", type=int, default=200, help="rendered frames (default: 200)")
    parser.add_argument("--sequence-seconds", type=float, default=60.0, help="length of the tracked sequence, 0: none")
    parser.add_argument("--output", type=Path, default=Path("out/pose"), help="folder of summary.json")


def run(options: argparse.Namespace) -> int:
    """Measure, print the bars, write summary.json; 1 where a bar is missed."""
    model = find_model(options.model)
    data = options.data or _lmo_if_there()
    real = check_lmo(find_model(options.lmo_model), data) if data is not None else {}
    summary = check_rendered(model, options.frames)
    if options.sequence_seconds > 0.0:
        summary |= check_tracking(model, options.sequence_seconds)
    summary |= real
    summary = plain(summary | {"bars": judge(summary)})
    write_json(options.output / "summary.json", summary)
    _print(summary["bars"])
    return 0 if all(verdict["met"] is not False for verdict in summary["bars"].values()) else 1


def _lmo_if_there() -> Path | None:
    """Return where LM-O lies, or say that its figures are left out."""
    try:
        return find_lmo()
    except DataError as error:
        print(f"object-pose pose-check: without real frames: {error}", file=sys.stderr)
        return None


def plain(value: Any) -> Any:
    """Round what is measured to what is meant; figures that do not exist become null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _print(bars: dict[str, dict[str, Any]]) -> None:
    table = Table("figure", "measured", "bar", "")
    for figure, verdict in bars.items():
        limit = f"{SIGNS[verdict['kind']]} {verdict['bound']:g}"
        measured = "-" if verdict["value"] is None else f"{verdict['value']:g}"
        table.add_row(figure, measured, limit, {True: "met", False: "missed", None: "not measured"}[verdict["met"]])
    Console().print(table)
