"""``object-pose train``: a task's data or renders to a checkpointed run, or a recipe from nothing to its model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.cli.progress_bar import ProgressBar
from object_pose.cli.store_option import add_store_option, chosen_store
from object_pose.core.errors import ConfigError
from object_pose.core.params import parameters
from object_pose.training.callbacks import TrainingCallback
from object_pose.training.config import TrainConfig
from object_pose.training.networks.blocks import (
    PartSummary,
    summarise,
)
from object_pose.training.tasks.registry import TASKS
from object_pose.workflows.recipe import MACHINE_OPTIONS, read_recipe, run_recipe
from object_pose.workflows.train import TrainingJob, train

EXAMPLES = """examples:
  object-pose train pose --output runs/parts
  object-pose train pose --objects bop/models --output runs/mine --steps 20000
  object-pose train oriented --output runs/oriented --resume
  object-pose train detect --data workplace/train --output runs/workplace --config my.yaml --device cuda --seed 1
  object-pose train oriented --output runs/oriented --summary
  object-pose train classify --data parts/ --output runs/mine --store   (logged: 'object-pose models')
  object-pose train --recipe models/recipes/parts.yaml --output runs/parts
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a recipe and a sub-command for each task."""
    group = parser.add_argument_group("a model from its recipe, in place of a task")
    group.add_argument("--recipe", metavar="RECIPE", help="YAML file, or name of a shipped model")
    group.add_argument(
        "--output", type=Path, dest="recipe_output", metavar="FOLDER", help="folder for all stages (default: runs/NAME)"
    )
    for item in parameters(TrainConfig):
        if item.name in MACHINE_OPTIONS:
            flag, dest, metavar = f"--{item.name}", f"recipe_{item.name}", item.type.__name__.upper()
            group.add_argument(flag, type=item.type, dest=dest, metavar=metavar, help=f"{item.description}, everywhere")
    add_store_option(group, "recipe_store")
    tasks = parser.add_subparsers(dest="task", metavar="TASK")
    for task in TASKS.values():
        sub = tasks.add_parser(_verb(task.name), help=task.summary, description=task.summary)
        sub.add_argument("--output", type=Path, help="run folder (required)")
        sub.add_argument("--recipe", default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # refused below
        sub.add_argument("--summary", action="store_true", help="print the network's parts and end")
        sub.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
        sub.add_argument("--config", type=Path, help="YAML file of options; the command line wins")
        add_store_option(sub, "store")
        add_config_options(sub, TrainConfig, "training")
        for config_class in task.configs:
            add_config_options(sub, config_class, config_class.__name__)


def run(options: argparse.Namespace) -> int:
    """Train to the end, or to Ctrl-C with the checkpoint kept."""
    machine = {name: getattr(options, f"recipe_{name}") for name in MACHINE_OPTIONS}
    machine = {name: value for name, value in machine.items() if value is not None}
    if options.task is None and options.recipe is None:
        raise ConfigError("nothing to train is named", f"name a task ({', '.join(map(_verb, TASKS))}) or a --recipe")
    if options.task is not None and (options.recipe or options.recipe_output or machine):
        hint = "leave out the task: train --recipe NAME, or write the task's own options behind its name"
        raise ConfigError("a task and options of a recipe exclude each other", hint)
    if options.task is not None and options.output is None:
        raise ConfigError("the run folder is not named", "say --output FOLDER")
    return _run_recipe(options, machine) if options.recipe else _run_task(options)


def _run_recipe(options: argparse.Namespace, machine: Mapping[str, Any]) -> int:
    recipe = read_recipe(options.recipe)
    output = options.recipe_output or Path("runs", recipe.name)
    with ProgressBar() as bar:
        callbacks = _tracking(options.recipe_store)
        result = run_recipe(recipe, output, machine=machine, progress=bar, callbacks=callbacks)
    if result.model is None:
        print(f"time is up in stage '{result.unfinished}'; the same command goes on")
        return 0
    print(f"{result.model.path}: {result.model.size_bytes / 1e6:.1f} MB, sha256 {result.model.sha256}")
    return 0


def _run_task(options: argparse.Namespace) -> int:
    task = TASKS[options.task.replace("-", "_")]
    training = config_from_options(options, TrainConfig, task.defaults)
    configs: tuple[Any, ...] = tuple(config_from_options(options, config_class) for config_class in task.configs)
    if options.summary:
        _print_summary(summarise(task.recipe(*configs).network()))
        return 0
    # A repeated run starts anew.
    command = options.command.replace(" --resume", "")
    job = TrainingJob(task, options.output, training, configs, command)
    with ProgressBar() as bar:
        result = train(job, resume=options.resume, progress=bar, callbacks=_tracking(options.store))
    if not result.is_complete:
        print(f"{result.steps_done} of {result.steps} steps are done; go on with --resume")
    print(f"trained; export with: object-pose export --run {options.output} --output models/NAME.onnx")
    return 0


def _tracking(where: str | None) -> list[TrainingCallback]:
    """Return what copies a run to the store that the user or the environment names; nothing where neither does."""
    store = chosen_store(where)
    if store is None:
        return []
    from object_pose.mlops.tracking import TrackedTraining

    return [TrackedTraining(store)]


def _verb(task_name: str) -> str:
    return task_name.replace("_", "-")


def _print_summary(parts: Sequence[PartSummary]) -> None:
    table = Table("part", "kind", "learned", "frozen")
    for part in parts:
        table.add_row(part.name, part.kind, f"{part.learned:,}", f"{part.frozen:,}", end_section=part is parts[-2])
    Console().print(table)
