"""``object-pose tune TASK``: training options searched for, and the best of them as a recipe."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from object_pose.cli.options import add_config_options, given_values
from object_pose.cli.progress_bar import ProgressBar
from object_pose.cli.runner_options import add_runner_options, chosen_runner
from object_pose.training.config import TrainConfig
from object_pose.training.tasks.registry import TASKS

EXAMPLES = """examples:
  object-pose tune detect --data workplace/train --trials 20 --steps 600 --output runs/tuned
  object-pose tune oriented --vary learning_rate=1e-4..1e-2:log --vary batch_size=16,32,64 --output runs/tuned
  object-pose tune segment --trials 50 --ray auto --output /shared/tuned

'object-pose train --recipe runs/tuned/best.yaml' trains with the best. The same command goes on with an interrupted
search. Options that are given are fixed, all others are the task's own.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for task in TASKS.values():
        sub = tasks.add_parser(task.name.replace("_", "-"), help=task.summary, description=task.summary)
        sub.add_argument(
            "--output", type=Path, required=True, help="folder for the study, its runs and the best recipe"
        )
        sub.add_argument("--trials", type=int, default=20, help="trials in all (default: %(default)s)")
        sub.add_argument(
            "--vary",
            action="append",
            default=[],
            metavar="NAME=VALUES",
            help="option to search: LOW..HIGH, LOW..HIGH:log or A,B,C (default: rate, decay and batch size)",
        )
        sub.add_argument("--metric", default="", help="figure of the validation that counts (default: the task's)")
        sub.add_argument("--minimise", action="store_true", help="the smaller that figure the better")
        sub.add_argument("--search-seed", type=int, default=0, help="seed of the search (default: %(default)s)")
        sub.add_argument("--json", action="store_true", help="print JSON")
        add_runner_options(sub, "trials", flag="--at-once")
        add_config_options(sub, TrainConfig, "training")
        for config_class in task.configs:
            add_config_options(sub, config_class, config_class.__name__)


def run(options: argparse.Namespace) -> int:
    """Search, and say what was best."""
    from object_pose.mlops.tuning import TuneConfig, default_space, parse_space, tune  # only here: Optuna is an extra

    task = TASKS[options.task.replace("-", "_")]
    fixed = {
        name: value for kind in (TrainConfig, *task.configs) for name, value in given_values(options, kind).items()
    }
    space = dict(parse_space(task.name, text) for text in options.vary) or default_space(task.name)
    space = {name: values for name, values in space.items() if name not in fixed}
    config = TuneConfig(
        task.name, options.output, options.trials, space, fixed, options.metric, options.minimise, options.search_seed
    )
    with ProgressBar() as bar, chosen_runner(options) as runner:
        result = tune(config, bar, runner)
    if options.json:
        print(json.dumps({**asdict(result), "recipe": str(result.recipe)}))
        return 0
    print(
        f"{result.complete} trials to the end, {result.pruned} pruned, {result.failed} failed; best {result.value:.4f}:"
    )
    for name, value in result.options.items():
        print(f"  {name}: {value:.3g}" if isinstance(value, float) else f"  {name}: {value}")
    print(f"{result.recipe}: train with 'object-pose train --recipe {result.recipe}'")
    return 0
