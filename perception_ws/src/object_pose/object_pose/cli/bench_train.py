"""``object-pose bench-train``: what a training step costs here, beside what the machine can do."""

from __future__ import annotations

import argparse
import dataclasses
import json

from rich.console import Console
from rich.table import Table

from object_pose.training.benchmark import training_speed

EXAMPLES = """examples:
  object-pose bench-train
  object-pose bench-train --threads 4 --size 416 --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``bench-train``."""
    parser.add_argument("--size", type=int, default=320, help="side of the images, pixels, a multiple of 32")
    parser.add_argument("--batch-size", type=int, default=16, help="images a step")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Measure in both precisions and print a row each."""
    speeds = [
        training_speed(options.size, options.batch_size, options.threads, precision) for precision in ("fp32", "bf16")
    ]
    if options.json:
        print(json.dumps([dataclasses.asdict(speed) for speed in speeds]))
        return 0
    title = f"nano detector, {options.size}x{options.size}, {options.threads} threads"
    table = Table("precision", "training, ms an image", "matrix product, GFLOP/s", title=title)
    for speed in speeds:
        table.add_row(speed.precision, f"{speed.image_ms:.1f}", f"{speed.matrix_gflops:.0f}")
    Console().print(table)
    return 0
