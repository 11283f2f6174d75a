"""Figures of the inspection report, drawn without a screen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from object_pose.core.arrays import Image
from object_pose.evaluation.reports.inspection import study as measured
from object_pose.evaluation.reports.inspection.history import RunHistory
from object_pose.evaluation.reports.inspection.study import Degradation, Outcome, Picture, Proportion
from object_pose.simulation.generators.inspection import Inspection

NAVY, TEAL, AMBER, RED, GREY, PALE = "#14213d", "#0f766e", "#d97706", "#b91c1c", "#64748b", "#e2e8f0"
_DPI = 170
_SEEN, _FALSE = (255, 160, 0), (220, 38, 38)


def png_of(figure: Figure) -> bytes:
    """Return the figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def png_of_image(image: Image) -> bytes:
    """Return an image (H, W, 3) as PNG."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1])


def with_attention(picture: Picture) -> Image:
    """Return the image with its attention map overlaid and contoured."""
    image, attention = picture.drawn.image, picture.result.attention
    weight = (0.55 * np.clip(attention, 0.0, 1.0))[..., None]
    shown = (image * (1.0 - weight) + weight * np.array(_SEEN)).astype(np.uint8)
    contours, _ = cv2.findContours((attention > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.ascontiguousarray(shown), contours, -1, _SEEN, 1), dtype=np.uint8)


def with_truth(drawn: Inspection) -> Image:
    """Return the image with the true damage outlined."""
    contours, _ = cv2.findContours(drawn.damage.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(drawn.image.copy(), contours, -1, _FALSE, 1), dtype=np.uint8)


def learning_curves(history: RunHistory) -> Figure:
    """Draw training and validation loss, and validation figures, over steps."""
    figure, (left, right) = _panels(2, (7.2, 2.6))
    for name, color in (("image", TEAL), ("places", AMBER)):
        steps, values = history.series("train", name)
        if len(steps):
            left.plot(steps, _smooth(values), color=color, label=f"training, {name}")
    steps, values = history.series("validation", "image")
    left.plot(steps, values, "o-", color=RED, markersize=3, label="validation, image")
    left.set(xlabel="step", ylabel="cross-entropy", yscale="log")
    left.legend(fontsize=7, frameon=False)
    for name, color in (("accuracy", NAVY), ("recall_damaged", TEAL), ("precision_damaged", AMBER)):
        steps, values = history.series("validation", name)
        right.plot(steps, values, "o-", color=color, markersize=3, label=name.replace("_", " of "))
    right.set(xlabel="step", ylabel="validation")
    right.legend(fontsize=7, frameon=False)
    return figure


def _smooth(values: NDArray[np.float64], window: int = 9) -> NDArray[np.float64]:
    padded = np.pad(values, (window // 2, window // 2), mode="edge")
    return np.convolve(padded, np.ones(window) / window, mode="valid")


def roc_and_tradeoff(outcomes: Sequence[Outcome]) -> Figure:
    """Draw the ROC curve, and missed damage and rejected good batches over the threshold."""
    figure, (left, right) = _panels(2, (7.2, 2.6))
    predicted, damaged = measured.probabilities(outcomes), measured.truths(outcomes)
    thresholds = np.concatenate([[1.01], np.sort(np.unique(predicted))[::-1]])
    found = np.array([(predicted[damaged] >= t).mean() for t in thresholds])
    stopped = np.array([(predicted[~damaged] >= t).mean() for t in thresholds])
    left.plot(stopped, found, color=TEAL, drawstyle="steps-post")
    left.set(xlabel="good batches rejected", ylabel="recall of damaged batches", xlim=(-0.005, 0.3), ylim=(0.7, 1.005))
    right.plot(thresholds, 1.0 - found, color=RED, label="damaged, missed")
    right.plot(thresholds, stopped, color=AMBER, label="good, rejected")
    right.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    right.set(xlabel="threshold on the probability of damage", ylabel="share", xlim=(0.0, 1.0), ylim=(0.0, 0.3))
    right.legend(fontsize=7, frameon=False)
    return figure


def proportions_chart(shares: Mapping[str, Proportion], title: str, bound: float | None = None) -> Figure:
    """Draw a bar for each share with its 95 % interval, and a line at ``bound``."""
    figure, (axes,) = _panels(1, (3.5, 0.9 + 0.28 * len(shares)))
    places = np.arange(len(shares))
    values = np.array([share.value for share in shares.values()])
    intervals = np.array([share.interval for share in shares.values()])
    errors = np.abs(intervals.T - values)
    axes.barh(places, values, color=TEAL, height=0.62, xerr=errors, error_kw={"ecolor": NAVY, "lw": 0.9, "capsize": 2})
    axes.set_yticks(places, [f"{name} ({share.whole})" for name, share in shares.items()])
    axes.set_title(title, fontsize=8)
    axes.set(xlim=(max(0.0, float(intervals.min()) - 0.05), 1.0))
    if bound is not None:
        axes.axvline(bound, color=RED, linewidth=1.0, linestyle="--")
    axes.invert_yaxis()
    return figure


def calibration_chart(outcomes: Sequence[Outcome]) -> Figure:
    """Draw the true share over the predicted probability, and the histogram of predictions."""
    figure, (left, right) = _panels(2, (7.2, 2.5))
    bins = measured.calibration_bins(outcomes)
    intervals = np.array([share.interval for _, share in bins])
    values = np.array([share.value for _, share in bins])
    left.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    left.errorbar(
        [mean for mean, _ in bins], values, np.abs(intervals.T - values), fmt="o", color=TEAL, ms=4, capsize=2
    )
    left.set(xlabel="probability of damage, as predicted", ylabel="share that is damaged")
    predicted, damaged = measured.probabilities(outcomes), measured.truths(outcomes)
    edges = np.linspace(0.0, 1.0, 21).tolist()
    right.hist([predicted[~damaged], predicted[damaged]], edges, stacked=True, color=[PALE, TEAL], ec=NAVY, lw=0.3,
               label=["undamaged", "damaged"])  # fmt: skip
    right.set(xlabel="probability of damage", ylabel="images", yscale="symlog")
    right.legend(fontsize=7, frameon=False)
    return figure


def degradation_chart(degradations: Sequence[Degradation]) -> Figure:
    """Draw the accuracy under each degradation."""
    return proportions_chart({item.name: item.accuracy for item in degradations}, "accuracy on the same test images")


def recall_over_size(outcomes: Sequence[Outcome]) -> Figure:
    """Draw recall over the number of pixels that the damage changes."""
    figure, (axes,) = _panels(1, (3.5, 2.6))
    groups = measured.recall_by_size(outcomes)
    values = np.array([share.value for _, _, share in groups])
    errors = np.abs(np.array([share.interval for _, _, share in groups]).T - values)
    axes.errorbar(range(len(groups)), values, errors, fmt="o-", color=TEAL, capsize=3, markersize=4)
    axes.set_xticks(range(len(groups)), [f"{low:.0f} to\n{high:.0f}" for low, high, _ in groups])
    axes.set(xlabel="pixels that the damage changes")
    axes.set_title("recall by size of damage", fontsize=8)
    axes.set_ylim(top=1.005)
    return figure


def _panels(count: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, layout="constrained")
    panels: list[Any] = list(np.atleast_1d(figure.subplots(1, count)))
    for axes in panels:
        axes.tick_params(labelsize=7, colors=NAVY, length=2)
        axes.xaxis.label.set_size(8)
        axes.yaxis.label.set_size(8)
        axes.grid(color=PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, panels
