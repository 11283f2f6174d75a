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
from object_pose.runtime.card import ModelCard
from object_pose.runtime.predictor import load_card
from object_pose.simulation.parts.catalog import load_objects
from object_pose.training.onnx.export import average_models, embed_roi_head, export_onnx, replace_card
from object_pose.training.tasks.registry import TASKS, load_settings

EXAMPLES = """examples:
  object-pose export --run runs/parts --crops runs/parts_crops --output models/parts.onnx
  object-pose export oriented --run runs/oriented --output models/oriented.onnx
  object-pose export --run runs/parts --output models/parts.onnx --metric "recall 0.95" --licence Apache-2.0
  object-pose export --detector models/parts.onnx --crops runs/parts_crops --output models/parts.onnx
  object-pose export --average first.onnx second.onnx --output models/inspection.onnx
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``export``."""
    parser.add_argument("task", nargs="?", choices=TASKS, help="task that the run must be of")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, dest="run_dir", help="run folder of 'train'")
    source.add_argument("--detector", type=Path, help="exported detector that gets the head of --crops, and its card")
    source.add_argument(
        "--average", type=Path, nargs="+", metavar="MODEL", help="exported models, one trained on from another"
    )
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--crops", type=Path, help="run folder of 'train crops' on the same objects, to go inside")
    parser.add_argument("--version", default="1", help="version on the card")
    parser.add_argument("--data", default="", help="what it was trained on, for the card")
    parser.add_argument("--metric", default="", help="what it reached, for the card")
    parser.add_argument("--licence", default="", help="licence of the weights, for the card")


def run(options: argparse.Namespace) -> int:
    """Export, check torch against ONNX Runtime, print the file's digest."""
    if options.average:
        _export_average(options)
        check = f"mean of {len(options.average)} models"
    else:
        difference = _export_with_head(options) if options.detector else _export_run(options)
        check = f"torch/ONNX difference {difference:.1e}"
    digest = hashlib.sha256(options.output.read_bytes()).hexdigest()
    size_mb = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size_mb:.1f} MB, {check}, sha256 {digest}")
    return 0


def _export_average(options: argparse.Namespace) -> None:
    cards = [load_card(path) for path in options.average]  # says of a file that it is no model of ours
    with replacing(options.output) as temporary:
        average_models(options.average, temporary)
        replace_card(temporary, _described(cards[0], options))


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
    with replacing(options.output) as temporary:
        shutil.copyfile(options.detector, temporary)
        difference = _embed(options.crops, temporary)
        replace_card(temporary, _described(dataclasses.replace(card, objects=objects), options))
    return difference


def _described(card: ModelCard, options: argparse.Namespace) -> ModelCard:
    """Return a card that says what the options say of it; the rest of it stays."""
    return dataclasses.replace(
        card,
        version=options.version,
        data=options.data or card.data,
        metric=options.metric or card.metric,
        licence=options.licence or card.licence,
    )


def _embed(run_dir: Path, detector: Path) -> float:
    """Export a crop-level head and put it into the detector's file; return its parity difference."""
    settings = load_settings(run_dir)
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "crops.onnx"
        difference = export_onnx(settings.task.exportable(run_dir, *settings.configs), head)
        embed_roi_head(detector, head)
    return difference
