"""What the sections share: the material that they are written from, and how figures read in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reportlab.platypus import Flowable

from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.reports.inspection import document as paper
from object_pose.evaluation.reports.inspection import figures
from object_pose.evaluation.reports.inspection.history import RunHistory
from object_pose.evaluation.reports.inspection.study import Picture, Share, Study
from object_pose.runtime.card import ModelCard

SAFER_RECALL = 0.99


@dataclass(frozen=True)
class Material:
    """All that the report is written from."""

    study: Study
    history: RunHistory
    others: tuple[RunHistory, ...]
    card: ModelCard
    bars: tuple[Criterion, ...]


def percent(value: float) -> str:
    """Return a share as text."""
    return "-" if math.isnan(value) else f"{100.0 * value:.1f} %"


def with_interval(share: Share) -> str:
    """Return a share and its 95 % interval as text."""
    low, high = share.interval
    return f"{percent(share.value)} ({100 * low:.1f} to {100 * high:.1f})"


def named(kind: str) -> str:
    """Return a kind of damage as text."""
    return kind.replace("_", " ")


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def row(items: Sequence[Picture], words: str) -> Flowable:
    """Return pictures side by side, the places that the network sees marked."""
    return paper.pictures(
        [(figures.with_attention(item), f"{words}: {item.result.probabilities[0]:.2f}") for item in items]
    )
