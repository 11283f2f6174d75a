"""``object-pose report``: what a model is worth, told to those who decide about it, as PDF."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from object_pose.cli.options import add_model_option
from object_pose.evaluation.criteria import INSPECTION_CRITERIA
from object_pose.evaluation.reports.inspection.report import write_inspection_report

EXAMPLES = """examples:
  object-pose report classify --run runs/inspection --model models/inspection.onnx --output out/inspection/report.pdf
  object-pose report classify --run runs/a --compare runs/b runs/c --model a.onnx --output report.pdf --images 300
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each kind of report."""
    kinds = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    summary = "inspection of springs and gears: data, experiments, generalisation, failures, advice"
    classify = kinds.add_parser("classify", help=summary, description=summary)
    classify.add_argument("--run", type=Path, required=True, dest="run_dir", help="run folder of 'train classify'")
    add_model_option(classify, meaning="the model exported from it", required=True)
    classify.add_argument("--output", type=Path, required=True, help="PDF to write")
    classify.add_argument("--compare", type=Path, nargs="*", default=[], help="run folders of other experiments")
    classify.add_argument("--images", type=int, default=1000, help="test pictures; fewer of the other splits")


def run(options: argparse.Namespace) -> int:
    """Measure, write the PDF, say where it is."""
    with ExitStack() as stack:

        def progress(total: int) -> Callable[[], None]:
            bar = stack.enter_context(tqdm(total=total, unit="image", desc="measuring"))
            return lambda: bar.update() and None

        write_inspection_report(
            options.run_dir,
            options.compare,
            options.model,
            INSPECTION_CRITERIA,
            options.images,
            options.output,
            progress,
        )
    print(f"wrote {options.output}")
    return 0
