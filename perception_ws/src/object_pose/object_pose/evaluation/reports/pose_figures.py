"""Figures of a pose evaluation: average recall per object, and how it falls with distance and occlusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from object_pose.evaluation.scorers.bop import BopBin, BopGroup, BopScore

_MEASURES = {
    "recall_add_01d": ("ADD(-S) < 0.1 d", "#222222"),
    "ar_vsd": ("VSD", "#0072b2"),
    "ar_mssd": ("MSSD", "#d55e00"),
    "ar_mspd": ("MSPD", "#009e73"),
}


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
