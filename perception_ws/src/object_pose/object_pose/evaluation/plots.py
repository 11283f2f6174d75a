"""Curves, confusion and losses as figures; matplotlib without a screen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from object_pose.core.errors import DataError
from object_pose.evaluation.views import Confusion, Curve
from object_pose.io.files import replacing

_DPI = 110
_MOST_NAMES = 20


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the file appears whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)


def precision_recall_figure(curves: Mapping[str, Curve]) -> Figure:
    """Draw precision over recall, a line a class."""
    figure = Figure(figsize=(5.5, 5.0), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot(curve.recall, curve.precision, label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0.0, 1.02), ylim=(0.0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    return figure


def confusion_figure(confusion: Confusion) -> Figure:
    """Draw the shares of each row, with the counts written in; classes that never occur are left out."""
    occurs = (confusion.counts.sum(axis=0) + confusion.counts.sum(axis=1)) > 0
    counts = confusion.counts[np.ix_(occurs, occurs)]
    names = [name for name, here in zip(confusion.names, occurs) if here]
    size = 2.5 + 0.5 * min(len(names), _MOST_NAMES)
    figure = Figure(figsize=(size + 1.0, size), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="prediction", ylabel="truth")
    return figure


def loss_figure(run_dir: Path) -> Figure:
    """Draw what a training run recorded: parts of the loss, and figures of validation, over steps.

    Raises ``DataError`` where the folder has no records.
    """
    path = run_dir / "metrics.jsonl"
    if not path.exists():
        raise DataError(f"{path} is missing", "name the --output of 'train'")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    for axes, split, scale in zip(figure.subplots(1, 2), ("train", "validation"), ("log", "linear")):
        rows = [record for record in records if record["split"] == split]
        names = dict.fromkeys(name for row in rows for name in row if name not in ("time", "step", "split"))
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*points), label=name, linewidth=1.0)
        axes.set(title=split, xlabel="step", yscale=scale)
        axes.grid(alpha=0.3)
        if names:
            axes.legend(fontsize=8)
    return figure
