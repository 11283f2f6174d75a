"""``object-pose train TASK``: data or renders in, a checkpointed run out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.cli.progress_bar import ProgressBar
from object_pose.training.config import TrainConfig
from object_pose.training.networks.summary import PartSummary, summarise
from object_pose.training.tasks.registry import TASKS
from object_pose.workflows.train import TrainingJob, train

EXAMPLES = """examples:
  object-pose train pose --output runs/parts
  object-pose train pose --objects bop/models --output runs/mine --steps 20000
  object-pose train oriented --output runs/oriented --resume
  object-pose train detect --data workplace/train --output runs/workplace --config my.yaml --device cuda --seed 1
  object-pose train oriented --output runs/oriented --summary
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for task in TASKS.values():
        sub = tasks.add_parser(task.name.replace("_", "-"), help=task.summary, description=task.summary)
        sub.add_argument("--output", type=Path, required=True, help="run folder")
        sub.add_argument("--summary", action="store_true", help="print the network's parts and end")
        sub.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
        sub.add_argument("--config", type=Path, help="YAML file of options; the command line wins")
        add_config_options(sub, TrainConfig, "training")
        for config_class in task.configs:
            add_config_options(sub, config_class, config_class.__name__)


def run(options: argparse.Namespace) -> int:
    """Train to the end, or to Ctrl-C with the checkpoint kept."""
    task = TASKS[options.task.replace("-", "_")]
    training = config_from_options(options, TrainConfig, task.defaults)
    configs: tuple[Any, ...] = tuple(config_from_options(options, config_class) for config_class in task.configs)
    if options.summary:
        _print_summary(summarise(task.recipe(*configs).network()))
        return 0
    # Whoever repeats the run starts it anew.
    command = options.command.replace(" --resume", "")
    with ProgressBar() as bar:
        result = train(
            TrainingJob(task, options.output, training, configs, command), resume=options.resume, progress=bar
        )
    if not result.is_complete:
        print(f"{result.steps_done} of {result.steps} steps are done; go on with --resume")
    print(f"trained; export with: object-pose export --run {options.output} --output models/NAME.onnx")
    return 0


def _print_summary(parts: Sequence[PartSummary]) -> None:
    table = Table("part", "kind", "learned", "frozen")
    for part in parts:
        table.add_row(part.name, part.kind, f"{part.learned:,}", f"{part.frozen:,}", end_section=part is parts[-2])
    Console().print(table)
