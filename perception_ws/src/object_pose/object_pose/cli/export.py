"""``object-pose export``: training runs to an ONNX model with its card."""

from __future__ import annotations

import argparse
from pathlib import Path

from object_pose.cli.options import model_file
from object_pose.core.errors import ConfigError
from object_pose.training.tasks.registry import TASKS
from object_pose.workflows.export import (
    CardText,
    ExportedModel,
    export_average,
    export_ensemble,
    export_run,
    export_with_roi_head,
)

EXAMPLES = """examples:
  object-pose export --run runs/parts --roi-head runs/parts_head --output models/parts.onnx
  object-pose export oriented --run runs/oriented --output models/oriented.onnx
  object-pose export --run runs/parts --output models/parts.onnx --metric "recall 0.95" --licence Apache-2.0
  object-pose export --detector models/parts.onnx --roi-head runs/parts_head --output models/parts.onnx
  object-pose export --average first.onnx second.onnx --output models/inspection.onnx
  object-pose export --ensemble imagenet.onnx open_images.onnx --output models/buildings.onnx
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``export``."""
    parser.add_argument("task", nargs="?", choices=TASKS, help="task that the run must be of")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, dest="run_dir", help="run folder of 'train'")
    source.add_argument("--detector", type=model_file, help="exported detector that gets the RoI head; its card stays")
    source.add_argument(
        "--average", type=model_file, nargs="+", metavar="MODEL", help="exported models, one trained on from another"
    )
    source.add_argument(
        "--ensemble",
        type=model_file,
        nargs="+",
        metavar="MODEL",
        help="exported mask models that learned apart; all of them run, and their answers are averaged",
    )
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument(
        "--roi-head",
        type=Path,
        help="run folder of 'train roi-head' on the same objects, or a model that has a RoI head, to go into the file",
    )
    parser.add_argument("--version", default="1", help="version on the card")
    parser.add_argument("--data", default="", help="what it was trained on, for the card")
    parser.add_argument("--metric", default="", help="what it reached, for the card")
    parser.add_argument("--licence", default="", help="licence of the weights, for the card")


def run(options: argparse.Namespace) -> int:
    """Export, check torch against ONNX Runtime, print the file's digest."""
    model = _export(options)
    if options.average:
        check = f"mean of {len(options.average)} models"
    elif options.ensemble:
        check = f"{len(options.ensemble)} models together"
    else:
        check = f"torch/ONNX difference {model.difference:.1e}"
    print(f"{model.path}: {model.size_bytes / 1e6:.1f} MB, {check}, sha256 {model.sha256}")
    return 0


def _export(options: argparse.Namespace) -> ExportedModel:
    text = CardText(options.version, options.data, options.metric, options.licence)
    if options.average:
        return export_average(options.average, options.output, text=text)
    if options.ensemble:
        return export_ensemble(options.ensemble, options.output, text=text)
    if options.run_dir:
        return export_run(
            options.run_dir, options.output, roi_head=options.roi_head, task=options.task or "", text=text
        )
    if not options.roi_head:
        raise ConfigError(
            "--detector says which model gets a RoI head, but not which head", "name a run of 'train roi-head'"
        )
    return export_with_roi_head(options.detector, options.roi_head, options.output, text=text)
