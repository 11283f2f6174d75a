"""``object-pose report``: a PDF report on a part-inspection model."""

from __future__ import annotations

import argparse
from pathlib import Path

from object_pose.cli.options import add_model_option
from object_pose.cli.progress_bar import ProgressBar
from object_pose.workflows.inspection_report import InspectionReportConfig, report_on_inspection

EXAMPLES = """examples:
  object-pose report classify --run runs/inspection --model models/inspection.onnx --output out/inspection/report.pdf
  object-pose report classify --run runs/a --compare runs/b runs/c --model a.onnx --output report.pdf --images 300
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each kind of report."""
    kinds = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    summary = "inspection of springs and gears: data, experiments, generalisation, failures, monitoring, next steps"
    classify = kinds.add_parser("classify", help=summary, description=summary)
    classify.add_argument("--run", type=Path, required=True, dest="run_dir", help="run folder of 'train classify'")
    add_model_option(classify, meaning="the model exported from it", required=True)
    classify.add_argument("--output", type=Path, required=True, help="PDF to write")
    classify.add_argument("--compare", type=Path, nargs="*", default=[], help="run folders of other experiments")
    classify.add_argument(
        "--images", type=int, default=1000, help="test images; the other splits have fewer (default: 1000)"
    )


def run(options: argparse.Namespace) -> int:
    """Measure, write the PDF, say where it is."""
    config = InspectionReportConfig(
        options.run_dir, options.model, options.output, tuple(options.compare), options.images
    )
    with ProgressBar() as bar:
        path = report_on_inspection(config, bar)
    print(f"wrote {path}")
    return 0
