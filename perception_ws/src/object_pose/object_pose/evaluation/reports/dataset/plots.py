"""The plots of a data set's report, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.evaluation.reports.dataset.measurements import class_counts, coverage, mask_covers, relative_boxes
from object_pose.evaluation.reports.dataset.report import DatasetReport
from object_pose.io.datasets.mask_pairs import read_mask
from object_pose.io.datasets.samples import BoxDataset, ClassDataset, MaskDataset

COLORS = ("#2f6fde", "#f08a24", "#1f9e6e", "#a04bd6", "#777777")
_INK, _FAINT = "#26323f", "#d9dfe6"
_GRID = 32
_BINS = 40


def report_plots(report: DatasetReport) -> dict[str, Figure]:
    """Return the report's plots by title, in the order in which they are read."""
    first = next(iter(report.splits.values()))
    if isinstance(first, BoxDataset):
        boxes = cast(Mapping[str, BoxDataset], report.splits)
        plots = {
            "Boxes of each class": _class_balance(first.labels, class_counts(boxes), "boxes (log scale)"),
            "Sizes of boxes": _box_sizes(boxes),
            "Where boxes are": _heat_map(
                coverage([sample for dataset in boxes.values() for sample in dataset.samples]),
                "share of all boxes that cover a place",
            ),
            "Objects in an image": _objects_per_image(boxes),
        }
    elif isinstance(first, ClassDataset):
        classes = cast(Mapping[str, ClassDataset], report.splits)
        plots = {"Images of each class": _class_balance(first.labels, _images_of_classes(classes), "images")}
    else:
        masks = cast(Mapping[str, MaskDataset], report.splits)
        plots = {
            "How much masks cover": _histogram(mask_covers(masks), "share of the image", 0.0, 1.0),
            "Where masks are": _heat_map(_mean_mask(masks), "share of all masks that cover a place"),
        }
    return plots | _image_plots(report)


def _image_plots(report: DatasetReport) -> dict[str, Figure]:
    def by_split(name: str, of: Callable[[float], float] = float) -> dict[str, Array]:
        return {
            split: np.array([of(getattr(image, name)) for image in report.images if image.split == split])
            for split in report.splits
        }

    return {
        "Brightness": _histogram(by_split("brightness"), "mean grey value", 0.0, 255.0),
        "Contrast": _histogram(by_split("contrast"), "standard deviation of the grey value", 0.0, 128.0),
        "Sharpness": _histogram(
            by_split("sharpness", lambda value: float(np.log10(max(value, 1.0)))),
            "variance of the Laplacian, as a power of ten (low is blurred)",
            0.0,
            4.5,
        ),
        "Sizes of groups of near-duplicates": _group_sizes(report),
    }


def _axes(width: float = 6.0, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)
    axes.tick_params(colors=_INK, labelsize=9, length=3, color=_FAINT)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    return figure, axes


def _legend(axes: Axes, names: Sequence[str]) -> None:
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)


def _class_balance(labels: Sequence[str], counts: Mapping[str, Sequence[int] | NDArray[np.int64]], what: str) -> Figure:
    totals = np.sum([np.asarray(values) for values in counts.values()], axis=0)
    order = np.argsort(totals, kind="stable")
    figure, axes = _axes(height=max(2.0, 0.27 * len(labels) + 0.8))
    thickness = 0.8 / len(counts)
    is_log = "log" in what
    for index, (name, values) in enumerate(counts.items()):
        widths = np.asarray(values)[order]
        places = np.arange(len(order)) + 0.4 - thickness * (index + 0.5)
        axes.barh(places, widths, thickness, color=COLORS[index % len(COLORS)], label=name)
        for place, count in zip(places, widths):
            axes.text(max(count, 0.7 if is_log else 0.0), place, f" {count}", va="center", fontsize=7, color=_INK)
    axes.set_yticks(np.arange(len(order)), [labels[index] for index in order])
    axes.set_xlabel(what)
    if is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(0.6, max(totals.max(), 1) * 2.5)
    else:
        axes.set_xlim(0, max(totals.max(), 1) * 1.15)
    _legend(axes, list(counts))
    return figure


def _box_sizes(splits: Mapping[str, BoxDataset]) -> Figure:
    figure, axes = _axes()
    for index, (name, dataset) in enumerate(splits.items()):
        boxes = relative_boxes(dataset.samples)
        axes.scatter(
            100 * boxes[:, 2],
            100 * boxes[:, 3],
            s=8,
            alpha=0.35,
            linewidths=0,
            color=COLORS[index % len(COLORS)],
            label=name,
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xlabel("width, % of the image")
    axes.set_ylabel("height, % of the image")
    _legend(axes, list(splits))
    return figure


def _heat_map(values: Array, what: str) -> Figure:
    figure, axes = _axes()
    image = axes.imshow(100 * values, cmap="magma", vmin=0.0, extent=(0, 100, 100, 0), aspect="equal")
    axes.set_xlabel("% of the width")
    axes.set_ylabel("% of the height")
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.set_label(f"{what}, %", fontsize=8, color=_INK)
    bar.ax.tick_params(labelsize=8, colors=_INK)
    return figure


def _objects_per_image(splits: Mapping[str, BoxDataset]) -> Figure:
    counts = {name: np.array([len(sample.class_ids) for sample in dataset.samples]) for name, dataset in splits.items()}
    highest = max((int(values.max()) for values in counts.values() if len(values)), default=0)
    figure, axes = _axes()
    bars = [np.bincount(values, minlength=highest + 1) / max(len(values), 1) for values in counts.values()]
    width = 0.85 / len(bars)
    for index, (name, heights) in enumerate(zip(counts, bars)):
        places = np.arange(highest + 1) - 0.425 + width * (index + 0.5)
        axes.bar(places, 100 * heights, width, color=COLORS[index % len(COLORS)], label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("objects")
    axes.set_ylabel("% of the split's images")
    _legend(axes, list(counts))
    return figure


def _histogram(values: Mapping[str, Array], what: str, low: float, high: float) -> Figure:
    figure, axes = _axes()
    for index, (name, numbers) in enumerate(values.items()):
        shares = np.full(len(numbers), 100.0 / max(len(numbers), 1))
        axes.hist(
            np.clip(numbers, low, high),
            bins=list(np.linspace(low, high, _BINS + 1)),
            weights=shares,
            histtype="stepfilled",
            alpha=0.45,
            color=COLORS[index % len(COLORS)],
            edgecolor=COLORS[index % len(COLORS)],
            label=name,
        )
    axes.set_xlabel(what)
    axes.set_ylabel("% of the split" if len(values) > 1 else "% of the images")
    _legend(axes, list(values))
    return figure


def _group_sizes(report: DatasetReport) -> Figure:
    _, sizes = np.unique(report.duplicates.groups, return_counts=True)
    counts = np.bincount(sizes)[1:]
    figure, axes = _axes()
    places = np.arange(1, len(counts) + 1)
    axes.bar(places, counts, 0.7, color=COLORS[0])
    for place, count in zip(places.tolist(), counts.tolist()):
        if count:
            axes.text(place, count, f"{count}", ha="center", va="bottom", fontsize=8, color=_INK)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(0.6, max(counts.max(initial=1), 1) * 2.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("images that show the same scene")
    axes.set_ylabel("scenes (log scale)")
    return figure


def _images_of_classes(splits: Mapping[str, ClassDataset]) -> dict[str, Sequence[int]]:
    return {
        name: [
            sum(sample.class_id == class_id for sample in dataset.samples) for class_id in range(len(dataset.labels))
        ]
        for name, dataset in splits.items()
    }


def _mean_mask(splits: Mapping[str, MaskDataset]) -> Array:
    total, count = np.zeros((_GRID, _GRID)), 0
    for dataset in splits.values():
        for pair in dataset.samples:
            mask = read_mask(pair.mask_path)
            rows = np.arange(_GRID) * mask.shape[0] // _GRID
            columns = np.arange(_GRID) * mask.shape[1] // _GRID
            total += mask[np.ix_(rows, columns)]
            count += 1
    return np.asarray(total / max(count, 1))
