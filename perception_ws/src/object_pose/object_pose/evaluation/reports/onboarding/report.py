"""The report on an onboarded model: its parts, how well they are found on renders, and how it was made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import DataError
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.metrics.pose import MIN_VISIBILITY
from object_pose.evaluation.bop_scorer import BopBin, BopScore
from object_pose.evaluation.plots import bop_figure, loss_figure
from object_pose.evaluation.pose_confusion import PoseConfusion, WrongPoses
from object_pose.evaluation.pose_runner import MIN_SCORE, PoseEvaluation
from object_pose.evaluation.reports.evaluation.report import FrameKeeper, bop_rows, pose_cards
from object_pose.evaluation.reports.onboarding.symmetries import PartSymmetry, symmetry_rows
from object_pose.evaluation.reports.page import figure_url, picture_url, write_page
from object_pose.simulation.parts.cad import CadPart
from object_pose.simulation.parts.objects import mesh_diameter
from object_pose.simulation.parts.symmetry import EXACT_TOLERANCE, describe_symmetry, turn_residual_m
from object_pose.simulation.render.object_views import part_picture

_LOW_RECALL = 0.9
_MOST_KINDS = 4  # of wrong poses that are shown of a part
_FEWEST_TARGETS = 10  # that a recall is named of
_VISIBILITIES = (("at least 90%", 0.9, 1.0), ("50 to 90%", 0.5, 0.9), ("10 to 50%", 0.1, 0.5))
_FEWEST_MISTAKES = 3
_OFTEN = 0.05  # of a part's poses, or views, from which a mistake is named among the advice


@dataclass(frozen=True)
class Onboarding:
    """What the report is made from: parts and their symmetries, the test, the training runs.

    ``notes`` say what was chosen for these parts; ``commands`` repeat the stages by hand.
    """

    model: Path
    parts: Sequence[PartSymmetry]
    centred: bool
    evaluation: PoseEvaluation
    confusion: PoseConfusion
    frames: FrameKeeper
    runs: Sequence[Path]
    notes: Sequence[str]
    commands: Sequence[str]


def write_report(onboarding: Onboarding, path: Path) -> None:
    """Write the report as one HTML file."""
    evaluation, frames = onboarding.evaluation, onboarding.frames
    rows = bop_rows(evaluation)
    write_page(
        path,
        "onboarding/page.html",
        kind="onboarding report",
        title=onboarding.model.stem,
        cards=_cards(onboarding),
        parts=[_part_row(item.part, item.symmetry) for item in onboarding.parts],
        symmetries=symmetry_rows(onboarding.parts),
        tolerance=EXACT_TOLERANCE,
        centred=onboarding.centred,
        frames=evaluation.frames,
        rows=rows,
        recall=figure_url(bop_figure(evaluation.bop)) if rows and evaluation.bop else "",
        expected=_expected(evaluation.bop) if evaluation.bop else [],
        min_score=MIN_SCORE,
        min_visibility=MIN_VISIBILITY,
        confusion=_confusion_rows(onboarding.confusion),
        unreported=onboarding.confusion.unreported,
        wrong_poses=[(group, picture_url(group.example.picture())) for group in _shown(onboarding.confusion)],
        pictures=frames.gallery([*frames.worst, *frames.best]),
        losses=list(_losses(onboarding.runs)),
        advice=_advice(onboarding),
        notes=onboarding.notes,
        commands=onboarding.commands,
    )


def _losses(runs: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for run in runs:
        try:
            yield figure_url(loss_figure(run)), f"training run {run.name}"
        except DataError:  # it was interrupted before its first record
            continue


def _cards(onboarding: Onboarding) -> list[tuple[str, str]]:
    size_mb = onboarding.model.stat().st_size / 1e6
    return [
        ("parts", str(len(onboarding.parts))),
        *pose_cards(onboarding.evaluation),
        ("model file", f"{size_mb:.1f} MB"),
    ]


def _expected(bop: BopScore) -> list[str]:
    """Say what share of the parts to expect, by what is visible of them and how far they are away."""
    seen = [
        f"{share:.0%} of those that are {words} visible"
        for words, low, high in _VISIBILITIES
        if (share := _recall(item for item in bop.by_visibility if low <= item.low < high)) is not None
    ]
    far = [
        f"{item.group.recall_add_01d:.0%} from {item.low:g} to {item.high:g} m"
        for item in bop.by_distance_m
        if item.group.targets >= _FEWEST_TARGETS and math.isfinite(item.high)
    ]
    sentences = [f"Of the parts in view, expect right poses for {', '.join(seen)}."] if seen else []
    return sentences + ([f"By distance: {', '.join(far)}."] if far else [])


def _recall(bins: Iterable[BopBin]) -> float | None:
    """Return the recall of the targets in ``bins``, None where there are too few."""
    groups = [item.group for item in bins]
    targets = sum(group.targets for group in groups)
    if targets < _FEWEST_TARGETS:
        return None
    return sum(group.recall_add_01d * group.targets for group in groups) / targets


def _confusion_rows(confusion: PoseConfusion) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return what stands there with how often each part, and at last nothing, was reported there."""
    table = confusion.confusion()
    off = dict.fromkeys(table.names, 0)
    for group in confusion.wrong_poses():
        off[group.part] += group.count * group.is_matched
    # A mistake is a share of its row; poses of what is none of the parts are one of those that its column reports.
    totals = np.maximum(1, np.tile(table.counts.sum(axis=1)[:, None], len(table.names)))
    totals[-1] = np.maximum(1, table.counts.sum(axis=0))
    rows = []
    for row, (name, counts) in enumerate(zip(table.names, table.counts)):
        cells = [
            {
                "count": int(count),
                "share": float(count / totals[row, column]),
                "is_right": column == row,
                "off": off[name] if column == row else 0,
            }
            for column, count in enumerate(counts)
        ]
        rows.append((name, cells))
    return rows


def _shown(confusion: PoseConfusion) -> list[WrongPoses]:
    """Return the most frequent kinds of wrong poses of each part."""
    by_part = itertools.groupby(confusion.wrong_poses(), key=lambda group: group.part)
    return [group for _, groups in by_part for group in itertools.islice(groups, _MOST_KINDS)]


def _part_row(part: CadPart, symmetry: Symmetry) -> dict[str, Any]:
    return {
        "name": part.name,
        "picture": picture_url(part_picture(part.scene_object(symmetry).mesh)),
        "size": " x ".join(f"{length * 1e3:.1f}" for length in part.size_m),
        "diameter_mm": mesh_diameter(part.mesh.vertices) * 1e3,
        "triangles": len(part.mesh.faces),
        "surface": "closed" if part.is_closed else "open",
        "symmetry": describe_symmetry(symmetry),
    }


def _advice(onboarding: Onboarding) -> list[str]:
    """Return what the figures mean for the user, the weakest part first."""
    advice = [
        "All figures are on renders. Take a few dozen real frames of the parts, label some, and run "
        "'object-pose evaluate pose --data' on them before a robot trusts the model."
    ]
    recalls = onboarding.evaluation.accepted.recall_per_class
    advice += [
        f"{recall:.0%} of the views of '{name}' of which at least {MIN_VISIBILITY:.0%} is visible have a right pose: "
        "train longer (--minutes)."
        for name, recall in sorted(recalls.items(), key=lambda item: item[1])
        if recall < _LOW_RECALL
    ]
    advice += _advice_on_mistakes(onboarding)
    parts = [item.part for item in onboarding.parts]
    opened = [part.name for part in parts if not part.is_closed]
    if opened:
        advice.append(f"The surface of {', '.join(opened)} has holes; depth there may be compared with what is inside.")
    if all(part.colors is None for part in parts):
        advice.append(
            "The files have no colours, so training drew materials at random; real ones need not be among them."
        )
    return advice


def _advice_on_mistakes(onboarding: Onboarding) -> Iterator[str]:
    """Say which parts are often taken for others, and which turns for one another, with what can be done."""
    confusion = onboarding.confusion
    table = confusion.confusion()
    for (row, column), count in np.ndenumerate(table.counts[:-1, :-1]):
        share = count / max(1, int(table.counts[row].sum()))
        if row != column and share >= _OFTEN:
            yield (
                f"'{table.names[row]}' is reported as '{table.names[column]}' in {share:.0%} of its views: where they "
                "differ has to be seen, so move the camera nearer, or train longer (--minutes)."
            )
    meshes = {item.part.name: item.part for item in onboarding.parts}
    for group in confusion.wrong_poses():
        turn = group.example.turn
        if turn is None or group.share < _OFTEN or group.count < _FEWEST_MISTAKES:
            continue
        part = meshes[group.part]
        moved_mm = 1e3 * turn_residual_m(part.mesh, *turn)
        yield (
            f"{group.share:.0%} of the poses of '{group.part}' are off by a {group.kind}, which moves its surface by "
            f"{moved_mm:.1f} mm at most. Where that makes no difference, state it as a symmetry; where it does, let "
            "the camera see that side, or train longer (--minutes)."
        )
