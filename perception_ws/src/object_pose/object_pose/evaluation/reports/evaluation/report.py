"""An evaluation as a folder: summary.json, report.html, pictures of the worst and best cases, curves, losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from object_pose.core.arrays import Image
from object_pose.core.metrics.pose import FrameMatches
from object_pose.core.vision.drawing import draw_poses
from object_pose.evaluation.plots import bop_figure, confusion_figure, loss_figure, precision_recall_figure, save_figure
from object_pose.evaluation.pose_runner import MIN_SCORE, LabelledFrame, PoseEvaluation
from object_pose.evaluation.reports.page import figure_url, picture_url, write_page
from object_pose.evaluation.runner import TaskEvaluation
from object_pose.evaluation.views import VIEWS
from object_pose.io.images import write_image
from object_pose.io.writers import write_json
from object_pose.runtime.pose_estimator import FrameEstimate

_TEMPLATE, _KIND = "evaluation/page.html", "evaluation report"
_KEPT_FRAMES = 4
_PLOT_TITLES = {"precision_recall": "Precision over recall", "confusion": "Confusion", "losses": "Training"}


@dataclass(frozen=True)
class FrameCase:
    """A frame with the poses found, the number of its wrong, missing and false poses, and that of its targets."""

    item: LabelledFrame
    estimate: FrameEstimate
    errors: int
    targets: int

    def picture(self) -> Image:
        """Return the frame with its poses drawn."""
        frame, results = self.item.frame, self.estimate.results
        return draw_poses(frame.rgb, results.poses, frame.camera, results.rejections)


class FrameKeeper:
    """Keeps the frames with most and with fewest errors; an ``OnFrame`` of ``evaluate_pose``."""

    def __init__(self, worst: int = _KEPT_FRAMES, best: int = _KEPT_FRAMES) -> None:
        self._kept = worst, best
        self.worst: list[FrameCase] = []
        self.best: list[FrameCase] = []

    def __call__(self, item: LabelledFrame, estimate: FrameEstimate, matches: FrameMatches) -> None:
        """Take in one frame; as for a live camera, only accepted poses count."""
        matches = matches.above(MIN_SCORE)
        wrong = sum(not match.is_correct for match in matches.matches)
        errors = len(matches.missed) + len(matches.false_poses) + wrong
        case = FrameCase(item, estimate, errors, len(matches.matches) + len(matches.missed))
        worst, best = self._kept
        self.worst = sorted([*self.worst, case], key=lambda one: -one.errors)[:worst]
        self.best = sorted([*self.best, case], key=lambda one: (one.errors, -one.targets))[:best]

    def gallery(self, cases: list[FrameCase]) -> list[tuple[str, str]]:
        """Return frames as pictures for a page, each with its caption."""
        return [
            (picture_url(case.picture()), f"frame {case.item.name}: {case.errors} wrong, {case.targets} targets")
            for case in cases
        ]


def write_report(evaluation: TaskEvaluation, output: Path, run_dir: Path | None = None) -> None:
    """Write the report on a task into ``output``; ``run_dir`` adds the loss curves of a training run."""
    view, labels = VIEWS[evaluation.task], evaluation.labels
    summary = evaluation.to_json()
    shown = evaluation.results, evaluation.truths, labels
    plots = {
        "precision_recall": precision_recall_figure(view.curves(*shown)),
        "confusion": confusion_figure(view.confusion(*shown)),
    }
    urls = _write_plots(plots, output, run_dir)
    galleries: dict[str, list[tuple[str, str]]] = {}
    write_json(output / "summary.json", summary)
    for kind, cases in (("worst", evaluation.worst), ("best", evaluation.best)):
        gallery = galleries[f"{kind.capitalize()} cases"] = []
        for place, case in enumerate(cases, start=1):
            picture = view.draw(case.sample.image, case.result, case.sample.truth, labels)
            write_image(output / f"{kind}_{place}_{case.sample.name}.png", picture)
            gallery.append((picture_url(picture), f"{case.sample.name}: quality {case.quality:.3f}"))
    write_page(
        output / "report.html",
        _TEMPLATE,
        kind=_KIND,
        title=f"Evaluation: {evaluation.task}",
        subtitle=f"{len(evaluation.truths)} samples, classes {', '.join(labels)}.",
        cards=[("samples", len(evaluation.truths)), ("an image", f"{evaluation.image_ms:.1f} ms")],
        figures={name: summary[name] for name in evaluation.figures},
        plots=urls,
        galleries=galleries,
    )


def write_pose_report(
    evaluation: PoseEvaluation, keeper: FrameKeeper, output: Path, run_dir: Path | None = None
) -> None:
    """Write the report on poses into ``output``; ``run_dir`` adds the loss curves of a training run."""
    score, bop = evaluation.score, evaluation.bop
    urls = _write_plots({}, output, run_dir)
    write_json(output / "summary.json", evaluation.to_json())
    for case in keeper.worst:
        name = f"worst_{case.errors:02d}_errors_{case.item.name}.png"
        write_image(output / name, case.picture())
    recall = bop_figure(bop) if bop and bop.total.targets else None
    if recall:
        save_figure(recall, output / "recall.png")
    write_page(
        output / "report.html",
        _TEMPLATE,
        kind=_KIND,
        title="Evaluation: poses",
        subtitle=f"{evaluation.frames} frames, {score.targets} targets.",
        cards=pose_cards(evaluation),
        figures={},
        bop=bop_rows(evaluation),
        wide=figure_url(recall) if recall else "",
        plots=urls,
        galleries={"Frames with most errors": keeper.gallery(keeper.worst)},
    )


def pose_cards(evaluation: PoseEvaluation) -> list[tuple[str, str]]:
    """Return the main figures of poses, each with what it is."""
    score, accepted = evaluation.score, evaluation.accepted
    cards = [
        ("recall, ADD(-S) < 0.1 d", f"{accepted.recall_add_01d:.3f}"),
        (f"precision, score from {MIN_SCORE:g}", f"{accepted.precision:.3f}"),
        ("median translation error", f"{score.translation_error_mm_p50:.2f} mm"),
        ("median rotation error", f"{score.rotation_error_deg_p50:.2f}°"),
    ]
    if evaluation.timings_ms:
        cards.append(("a frame on this machine", f"{evaluation.timings_ms['total']:.0f} ms"))
    return cards


def bop_rows(evaluation: PoseEvaluation) -> list[tuple[str, object]]:
    """Return BOP's recalls per object and over all, as rows of a table."""
    bop = evaluation.bop
    return [*bop.per_object.items(), ("all", bop.total)] if bop and bop.total.targets else []


def _write_plots(plots: Mapping[str, Figure], output: Path, run_dir: Path | None) -> dict[str, str]:
    """Write plots as PNG files and return them by title, as data URLs."""
    drawn = {**plots, "losses": loss_figure(run_dir)} if run_dir else dict(plots)
    for name, figure in drawn.items():
        save_figure(figure, output / f"{name}.png")
    return {_PLOT_TITLES[name]: figure_url(figure) for name, figure in drawn.items()}
