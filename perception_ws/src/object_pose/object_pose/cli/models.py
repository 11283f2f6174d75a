"""``object-pose models``: what models are at hand and what their cards say."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from object_pose.cli.options import model_file
from object_pose.core.errors import ModelError
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import shipped_models

EXAMPLES = """examples:
  object-pose models
  object-pose models models/parts.onnx --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``models``."""
    parser.add_argument("models", type=model_file, nargs="*", help="ONNX files (default: all that are shipped)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print one row a model."""
    paths = options.models or shipped_models()
    if not paths:
        raise ModelError("no models are at hand", "train and export one, or name its file")
    cards = [_describe(path) for path in paths]
    if options.json:
        print(json.dumps(cards, indent=2))
    else:
        _print_table(cards)
    return 0


def _describe(path: Path) -> dict[str, Any]:
    card = load_card(path)
    return {
        "file": str(path),
        "task": card.task,
        "labels": list(card.labels),
        "input_wh": list(card.input_wh),
        "metric": card.metric,
        "data": card.data,
        "licence": card.licence,
        "command": card.command,
        "seed": card.seed,
        "parameters": card.parameters,
        "size_mb": round(path.stat().st_size / 1e6, 2),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _print_table(cards: list[dict[str, Any]]) -> None:
    table = Table("model", "task", "labels", "input", "metric", "MB", "licence")
    for card in cards:
        size = "x".join(map(str, card["input_wh"]))
        labels = ", ".join(card["labels"])
        table.add_row(
            Path(card["file"]).name, card["task"], labels, size, card["metric"], str(card["size_mb"]), card["licence"]
        )
    Console().print(table)
