"""``object-pose export``: a training run to an ONNX model with its card."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import tempfile
from pathlib import Path

from object_pose.core.errors import ConfigError
from object_pose.training.export import embed_crop_head, export_onnx
from object_pose.training.tasks import TASKS, load_settings

EXAMPLES = """examples:
  object-pose export --run runs/parts --crops runs/parts_crops --output models/parts.onnx
  object-pose export oriented --run runs/oriented --output models/oriented.onnx
  object-pose export --run runs/parts --output models/parts.onnx --metric "recall 0.95" --licence Apache-2.0
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``export``."""
    parser.add_argument("task", nargs="?", choices=TASKS, help="task that the run must be of")
    parser.add_argument("--run", type=Path, required=True, dest="run_dir", help="run folder of 'train'")
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--crops", type=Path, help="run folder of 'train crops' on the same objects, to go inside")
    parser.add_argument("--version", default="1", help="version on the card")
    parser.add_argument("--data", default="", help="what it was trained on, for the card")
    parser.add_argument("--metric", default="", help="what it reached, for the card")
    parser.add_argument("--licence", default="", help="licence of the weights, for the card")


def run(options: argparse.Namespace) -> int:
    """Export, check torch against ONNX Runtime, print the file's digest."""
    settings = load_settings(options.run_dir)
    if options.task and settings.task.name != options.task:
        raise ConfigError(f"{options.run_dir} is a run of the task {settings.task.name}, not of {options.task}")
    exportable = settings.task.exportable(options.run_dir, *settings.configs)
    card = dataclasses.replace(
        exportable.card,
        name=options.output.stem,
        version=options.version,
        data=options.data,
        metric=options.metric,
        licence=options.licence,
        command=settings.command,
        seed=settings.seed,
    )
    difference = export_onnx(dataclasses.replace(exportable, card=card), options.output)
    if options.crops:
        difference = max(difference, _embed(options.crops, options.output))
    digest = hashlib.sha256(options.output.read_bytes()).hexdigest()
    size_mb = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size_mb:.1f} MB, torch/ONNX difference {difference:.1e}, sha256 {digest}")
    return 0


def _embed(run_dir: Path, detector: Path) -> float:
    """Export a crop-level head and put it into the detector's file; return its parity difference."""
    settings = load_settings(run_dir)
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "crops.onnx"
        difference = export_onnx(settings.task.exportable(run_dir, *settings.configs), head)
        embed_crop_head(detector, head)
    return difference
