"""Checks against bars as the command line ends them: a table, a file, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from object_pose.io.writers import write_json

SIGNS = {"below": "<", "at_most": "<=", "at_least": ">="}


def finish(summary: Mapping[str, Mapping[str, Any]], path: Path, as_json: bool) -> int:
    """Write what ``evaluation.bars`` judged of each task to ``path``, print it; return 0 where every bar is met."""
    write_json(path, summary)
    if as_json:
        print(json.dumps(summary))
    else:
        _print_table(summary)
        print(f"wrote {path}")
    return 0 if all(checked["met"] for checked in summary.values()) else 1


def _print_table(summary: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table("task", "figure", "value", "bar", "")
    for task, checked in summary.items():
        for figure, bar in checked["bars"].items():
            value = checked.get(figure)
            shown = "-" if value is None else f"{value:,.0f}" if value > 1e3 else f"{value:.4f}"
            bound = f"{SIGNS[bar['kind']]} {bar['bound']:,g}"
            table.add_row(task, figure, shown, bound, "met" if bar["met"] else "MISSED")
        table.add_section()
    console = Console()
    console.print(table)
    for task, checked in summary.items():
        if "problem" in checked:
            console.print(f"{task}: {checked['problem']}", markup=False)
