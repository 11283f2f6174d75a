"""The page that comes with an onboarded model: its parts, how well they are found, and how it was made."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
from matplotlib.figure import Figure

from object_pose.core.arrays import Image
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.metrics.pose import FrameMatches
from object_pose.core.vision.drawing import draw_poses
from object_pose.evaluation.plots import loss_figure
from object_pose.evaluation.pose_runner import LabelledFrame, PoseEvaluation
from object_pose.evaluation.reports.pose_figures import bop_figure
from object_pose.io.files import replacing
from object_pose.runtime.pose_estimator import FrameEstimate
from object_pose.simulation.parts.cad import CadPart
from object_pose.simulation.parts.objects import mesh_diameter
from object_pose.simulation.parts.symmetry_notation import describe_symmetry
from object_pose.simulation.render.part_picture import part_picture

_KEPT_PICTURES = 4
_LOW_RECALL = 0.9


@dataclass(frozen=True)
class Judged:
    """A frame, what was found in it, and how many of its targets and poses went wrong."""

    item: LabelledFrame
    result: FrameEstimate
    errors: int
    targets: int


class FrameKeeper:
    """Keeps the frames that went worst and best; an ``OnFrame`` of ``evaluate_pose``."""

    def __init__(self, kept: int = _KEPT_PICTURES) -> None:
        self._kept = kept
        self.worst: list[Judged] = []
        self.best: list[Judged] = []

    def __call__(self, item: LabelledFrame, result: FrameEstimate, matches: FrameMatches) -> None:
        """Look at one frame."""
        wrong = sum(not match.is_correct for match in matches.matches)
        errors = len(matches.missed) + len(matches.false_poses) + wrong
        judged = Judged(item, result, errors, len(matches.matches) + len(matches.missed))
        self.worst = sorted([*self.worst, judged], key=lambda one: -one.errors)[: self._kept]
        self.best = sorted([*self.best, judged], key=lambda one: (one.errors, -one.targets))[: self._kept]


@dataclass(frozen=True)
class Onboarding:
    """Everything that is known at the end: parts with the symmetries used, the test, the training runs, commands."""

    model: Path
    parts: Sequence[CadPart]
    symmetries: Sequence[Symmetry]
    centred: bool
    evaluation: PoseEvaluation
    frames: FrameKeeper
    runs: Sequence[Path]
    commands: Sequence[str]


def write_page(onboarding: Onboarding, path: Path) -> None:
    """Write one HTML file that needs nothing else."""
    loader = jinja2.PackageLoader("object_pose.evaluation.reports.onboarding", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    bop = onboarding.evaluation.bop
    assert bop is not None
    page = environment.get_template("page.html").render(
        title=onboarding.model.stem,
        cards=_cards(onboarding),
        parts=[_part_row(part, symmetry) for part, symmetry in zip(onboarding.parts, onboarding.symmetries)],
        centred=onboarding.centred,
        frames=onboarding.evaluation.frames,
        rows=[*bop.per_object.items(), ("all", bop.total)] if bop.total.targets else [],
        recall=_figure(bop_figure(bop)) if bop.total.targets else "",
        pictures=_pictures(onboarding.frames),
        losses=[(_figure(loss_figure(run)), f"training run {run.name}") for run in onboarding.runs],
        advice=_advice(onboarding),
        commands=onboarding.commands,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _cards(onboarding: Onboarding) -> list[tuple[str, str]]:
    score = onboarding.evaluation.score
    return [
        ("parts", str(len(onboarding.parts))),
        ("recall, ADD(-S) < 0.1 d", f"{score.recall_add_01d:.3f}"),
        ("precision", f"{score.precision:.3f}"),
        ("median error of place", f"{score.translation_error_mm_p50:.2f} mm"),
        ("median error of rotation", f"{score.rotation_error_deg_p50:.2f}°"),
        ("a frame on this machine", f"{onboarding.evaluation.timings_ms['total']:.0f} ms"),
        ("model file", f"{onboarding.model.stat().st_size / 1e6:.1f} MB"),
    ]


def _part_row(part: CadPart, symmetry: Symmetry) -> dict[str, Any]:
    return {
        "name": part.name,
        "picture": _png(part_picture(part.scene_object(symmetry).mesh)),
        "size": " x ".join(f"{length * 1e3:.1f}" for length in part.size_m),
        "diameter_mm": mesh_diameter(part.mesh.vertices) * 1e3,
        "triangles": len(part.mesh.faces),
        "surface": "closed" if part.is_closed else "open",
        "symmetry": describe_symmetry(symmetry),
    }


def _pictures(frames: FrameKeeper) -> list[tuple[str, str]]:
    shown = []
    for judged in [*frames.worst, *frames.best]:
        item, results = judged.item, judged.result.results
        picture = draw_poses(item.frame.rgb, results.poses, item.frame.camera, results.rejections)
        caption = f"frame {item.image_id}: {judged.errors} wrong, {judged.targets} targets"
        shown.append((_png(picture, "jpg"), caption))
    return shown


def _advice(onboarding: Onboarding) -> list[str]:
    """Say what the figures mean for the user, the weakest part first."""
    bop = onboarding.evaluation.bop
    assert bop is not None
    advice = [
        "All figures are on renders. Take a few dozen real frames of the parts, label some, and run "
        "'object-pose evaluate pose --data' on them before a robot trusts the model."
    ]
    weak = sorted((group.recall_add_01d, name) for name, group in bop.per_object.items())
    advice += [
        f"'{name}' is found {recall:.0%} of the times that it is seen; train longer (--steps, --roi-head-steps)."
        for recall, name in weak
        if recall < _LOW_RECALL
    ]
    opened = [part.name for part in onboarding.parts if not part.is_closed]
    if opened:
        advice.append(f"The surface of {', '.join(opened)} has holes; depth there may be compared with what is inside.")
    if all(part.colors is None for part in onboarding.parts):
        advice.append(
            "The files have no colours, so training drew materials at random; real ones need not be among them."
        )
    return advice


def _figure(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return _data_url(buffer.getvalue(), "png")


def _png(picture: Image, kind: str = "png") -> str:
    return _data_url(cv2.imencode(f".{kind}", picture[..., ::-1])[1].tobytes(), "jpeg" if kind == "jpg" else kind)


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
