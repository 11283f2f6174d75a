"""The PDF report on a part-inspection model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from object_pose.evaluation.criteria import INSPECTION_CRITERIA, Criterion
from object_pose.workflows.progress import Progress, ProgressCallback, ignore_progress


@dataclass(frozen=True)
class InspectionReportConfig:
    """A training run of 'train classify', the model exported from it, and the PDF to write.

    ``compare`` are run folders of other experiments; ``images`` is the number of test images, other splits have fewer.
    """

    run_dir: Path
    model: Path
    output: Path
    compare: tuple[Path, ...] = ()
    images: int = 1000
    criteria: tuple[Criterion, ...] = INSPECTION_CRITERIA


def report_on_inspection(config: InspectionReportConfig, progress: ProgressCallback = ignore_progress) -> Path:
    """Measure the model, write the PDF and return its path; raises ``DataError`` or ``ModelError`` for other inputs."""
    # Only here: reportlab, matplotlib and Jinja2 are needed for nothing else.
    from object_pose.evaluation.reports.inspection.report import write_inspection_report

    def counter(total: int) -> Callable[[], None]:
        done = itertools.count(1)
        return lambda: progress(Progress("measure", next(done), total, "image"))

    write_inspection_report(
        config.run_dir, config.compare, config.model, config.criteria, config.images, config.output, counter
    )
    return config.output
