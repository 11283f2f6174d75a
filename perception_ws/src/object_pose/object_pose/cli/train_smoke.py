"""``object-pose train-smoke``: every task is trained for a minute, from the command line, and exported."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from object_pose.cli.calls import call
from object_pose.core.errors import ConfigError
from object_pose.simulation.generators.datasets import RENDERED_DATASETS
from object_pose.training.tasks.registry import TASKS

EXAMPLES = """examples:
  object-pose train-smoke
  object-pose train-smoke segment oriented --minutes 0.2
"""
_BOXED_FRAMES = 24
_SEED = 1
# A minute is for learning, so little is rendered for validation.
_WORDS: dict[str, tuple[str, ...]] = {
    "pose": ("--validation-frames", "8"),
    "crops": ("--validation-frames", "8"),
    "classify": ("--validation-images", "16"),
    "segment": ("--validation-tiles", "8"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train-smoke``."""
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long each task learns")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the network")
    parser.add_argument("--output", type=Path, default=Path("out/smoke"), help="folder for models and runs, made anew")


def run(options: argparse.Namespace) -> int:
    """Train and export one task after another; the first that cannot ends with its message."""
    unknown = [task for task in options.tasks if task not in TASKS]
    if unknown:
        raise ConfigError(f"unknown task {', '.join(unknown)}", f"known: {', '.join(TASKS)}")
    for task in options.tasks or TASKS:
        run_dir = options.output / "runs" / task
        shutil.rmtree(run_dir, ignore_errors=True)
        words = [*_WORDS.get(task, ()), *(_boxes(options.output) if task == "detect" else ())]
        limits = ("--max-minutes", options.minutes, "--threads", options.threads, "--workers", 1)
        call("train", task, "--output", run_dir, *limits, *words)
        call("export", "--run", run_dir, "--output", options.output / f"{task}.onnx")
    return 0


def _boxes(output: Path) -> tuple[str, ...]:
    """Render what the detector learns from; every other task renders its own."""
    folder = output / "boxes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    RENDERED_DATASETS["detect"](folder, _BOXED_FRAMES, _SEED, iter)
    return ("--data", str(folder))
