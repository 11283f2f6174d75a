"""An evaluation as a folder: summary.json, pictures of the worst and best cases, curves, confusion, losses."""

from __future__ import annotations

from pathlib import Path

from object_pose.evaluation.runner import TaskEvaluation
from object_pose.evaluation.views import VIEWS
from object_pose.io.images import write_image
from object_pose.io.writers import write_json


def write_report(evaluation: TaskEvaluation, output: Path, run_dir: Path | None = None) -> None:
    """Write everything there is to see into ``output``; ``run_dir`` adds the loss curves of a training run."""
    # Only here, so that figures alone do not need matplotlib.
    from object_pose.evaluation.plots import confusion_figure, loss_figure, precision_recall_figure, save_figure

    view = VIEWS[evaluation.task]
    write_json(output / "summary.json", evaluation.to_json())
    for kind, cases in (("worst", evaluation.worst), ("best", evaluation.best)):
        for place, case in enumerate(cases):
            picture = view.draw(case.sample.image, case.result, case.sample.truth, evaluation.labels)
            write_image(output / f"{kind}_{place + 1}_{case.sample.name}.png", picture)
    shown = evaluation.results, evaluation.truths, evaluation.labels
    save_figure(precision_recall_figure(view.curves(*shown)), output / "precision_recall.png")
    save_figure(confusion_figure(view.confusion(*shown)), output / "confusion.png")
    if run_dir:
        save_figure(loss_figure(run_dir), output / "losses.png")
