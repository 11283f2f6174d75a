"""``object-pose export``: a training run to an ONNX model with its card."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shutil
import tempfile
from pathlib import Path

from object_pose.core.errors import ConfigError
from object_pose.io.files import replacing
from object_pose.runtime.predictor import load_card
from object_pose.simulation.catalog import load_objects
from object_pose.training.export import embed_crop_head, export_onnx, replace_card
from object_pose.training.tasks import TASKS, load_settings

EXAMPLES = """examples:
  object-pose export --run runs/parts --crops runs/parts_crops --output models/parts.onnx
  object-pose export oriented --run runs/oriented --output models/oriented.onnx
  object-pose export --run runs/parts --output models/parts.onnx --metric "recall 0.95" --licence Apache-2.0
  object-pose export --detector models/parts.onnx --crops runs/parts_crops --output models/parts.onnx
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``export``."""
    parser.add_argument("task", nargs="?", choices=TASKS, help="task that the run must be of")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, dest="run_dir", help="run folder of 'train'")
    source.add_argument("--detector", type=Path, help="exported detector that gets the head of --crops, and its card")
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--crops", type=Path, help="run folder of 'train crops' on the same objects, to go inside")
    parser.add_argument("--version", default="1", help="version on the card")
    parser.add_argument("--data", default="", help="what it was trained on, for the card")
    parser.add_argument("--metric", default="", help="what it reached, for the card")
    parser.add_argument("--licence", default="", help="licence of the weights, for the card")


def run(options: argparse.Namespace) -> int:
    """Export, check torch against ONNX Runtime, print the file's digest."""
    difference = _export_with_head(options) if options.detector else _export_run(options)
    digest = hashlib.sha256(options.output.read_bytes()).hexdigest()
    size_mb = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size_mb:.1f} MB, torch/ONNX difference {difference:.1e}, sha256 {digest}")
    return 0


def _export_run(options: argparse.Namespace) -> float:
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
    return max(difference, _embed(options.crops, options.output)) if options.crops else difference


def _export_with_head(options: argparse.Namespace) -> float:
    """Put a new head into an exported detector; its card gets the objects anew, and what the options say."""
    if not options.crops:
        raise ConfigError(
            "--detector says which model gets a head, but no head", "name a run of 'train crops': --crops"
        )
    card = load_card(options.detector)
    (training, *_) = load_settings(options.crops).configs
    objects = tuple(item.model for item in load_objects(training.objects))
    said = {name: getattr(options, name) for name in ("data", "metric", "licence") if getattr(options, name)}
    with replacing(options.output) as temporary:
        shutil.copyfile(options.detector, temporary)
        difference = _embed(options.crops, temporary)
        replace_card(temporary, dataclasses.replace(card, version=options.version, objects=objects, **said))
    return difference


def _embed(run_dir: Path, detector: Path) -> float:
    """Export a crop-level head and put it into the detector's file; return its parity difference."""
    settings = load_settings(run_dir)
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "crops.onnx"
        difference = export_onnx(settings.task.exportable(run_dir, *settings.configs), head)
        embed_crop_head(detector, head)
    return difference
