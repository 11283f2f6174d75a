"""Plots of evaluations and training runs, without a screen: curves, confusion, losses, average recalls of poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from object_pose.evaluation.bop_scorer import BopBin, BopGroup, BopScore
from object_pose.evaluation.views import Confusion, Curve
from object_pose.io.files import replacing
from object_pose.io.run_folder import RunFolder

_DPI = 110
_MOST_NAMES = 20
_MEASURES = {
    "recall_add_01d": ("ADD(-S) < 0.1 d", "#222222"),
    "ar_vsd": ("VSD", "#0072b2"),
    "ar_mssd": ("MSSD", "#d55e00"),
    "ar_mspd": ("MSPD", "#009e73"),
}


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
    records = RunFolder(run_dir).records()
    figure = Figure(figsize=(12.0, 4.0), layout="constrained")
    for axes, split, scale in zip(figure.subplots(1, 2), ("train", "validation"), ("log", "linear")):
        rows = [record for record in records if record["split"] == split]
        names = dict.fromkeys(name for row in rows for name in row if name not in ("time", "step", "split"))
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*points), label=name, linewidth=1.0)
        axes.set(title=split, xlabel="step", yscale=scale)
        axes.grid(alpha=0.3)
        if names:
            axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def bop_figure(score: BopScore) -> Figure:
    """Draw the three tables of a score: per object, over distance, over visibility."""
    figure = Figure(figsize=(13.0, 4.2), layout="constrained")
    objects, distance, visibility = figure.subplots(1, 3)
    groups = score.per_object | {"all": score.total}
    _bars(objects, list(groups), list(groups.values()))
    objects.set_title("per object")
    _curves(distance, score.by_distance_m, "distance from the camera, m")
    _curves(visibility, score.by_visibility, "visible share of the surface")
    figure.legend(*objects.get_legend_handles_labels(), loc="outside upper center", ncols=len(_MEASURES))
    for axes in (objects, distance, visibility):
        axes.set_ylim(0.0, 1.02)
        axes.grid(axis="y", alpha=0.3)
    objects.set_ylabel("recall, average recall")
    return figure


def _measured(groups: Sequence[BopGroup]) -> list[str]:
    """Return the measures that every group has."""
    return [name for name in _MEASURES if all(getattr(group, name) is not None for group in groups)]


def _bars(axes: Axes, names: Sequence[str], groups: Sequence[BopGroup]) -> None:
    measures = _measured(groups)
    places, width = np.arange(len(names)), 0.8 / len(measures)
    for index, measure in enumerate(measures):
        label, color = _MEASURES[measure]
        heights = [getattr(group, measure) for group in groups]
        axes.bar(places + (index - 0.5 * (len(measures) - 1)) * width, heights, width, label=label, color=color)
    axes.set_xticks(places, names, rotation=35, ha="right")


def _curves(axes: Axes, bins: Sequence[BopBin], title: str) -> None:
    groups = [item.group for item in bins]
    places = np.arange(len(bins))
    for measure in _measured(groups):
        label, color = _MEASURES[measure]
        axes.plot(places, [getattr(group, measure) for group in groups], "o-", label=label, color=color, markersize=4)
    axes.set_xticks(places, [_bin_label(item) for item in bins], rotation=35, ha="right", fontsize=8)
    axes.set_title(title)


def _bin_label(item: BopBin) -> str:
    limits = f"{item.low:g}-{item.high:g}" if np.isfinite(item.high) else f"{item.low:g}+"
    return f"{limits.replace('-1.01', '-1')}\nn={item.group.targets}"
