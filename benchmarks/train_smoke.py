"""Every task learns for a minute and is exported."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, choose, report
from object_pose.cli.progress_bar import ProgressBar
from object_pose.simulation.generators.datasets import RENDERED_DATASETS
from object_pose.training.tasks.registry import TASKS
from object_pose.workflows.export import export_run
from object_pose.workflows.train import make_job, train

_BOXED_FRAMES = 24
_SEED = 1
# A minute is for learning, so little is rendered for validation.
_OPTIONS: dict[str, Mapping[str, Any]] = {
    "pose": {"validation_frames": 8},
    "roi_head": {"validation_frames": 8},
    "classify": {"validation_images": 16},
    "segment": {"validation_tiles": 8},
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long each task learns")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the network")


def run(options: argparse.Namespace) -> int:
    """Train and export one task after another; the first that fails ends the run with its message."""
    limits = {"max_minutes": options.minutes, "threads": options.threads, "workers": 1}
    models = {}
    for task in choose(options.tasks, TASKS):
        run_dir = options.output / "runs" / task
        shutil.rmtree(run_dir, ignore_errors=True)
        data = {"data": str(_boxes(options.output))} if task == "detect" else {}
        with ProgressBar() as bar:
            result = train(make_job(task, run_dir, {**limits, **_OPTIONS.get(task, {}), **data}), progress=bar)
        model = export_run(run_dir, options.output / f"{task}.onnx")
        models[task] = {"steps": result.steps_done, "model": str(model.path), "bytes": model.size_bytes}
    report(options, models, options.output / "summary.json")
    return 0


def _boxes(output: Path) -> Path:
    """Render what the detector learns from; every other task renders its own."""
    folder = output / "boxes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    RENDERED_DATASETS["detect"](folder, _BOXED_FRAMES, _SEED, iter)
    return folder


BENCHMARK = Benchmark(
    "train_smoke", "every task learns for a minute and is exported", add_options, run, Path("out/smoke")
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
