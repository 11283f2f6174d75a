"""The page of a data set's report: plots, suspicious labels, near-duplicates and extreme images."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.evaluation.reports.dataset.findings import Finding
from object_pose.evaluation.reports.dataset.measurements import EXTREMES, across_splits
from object_pose.evaluation.reports.dataset.plots import report_plots
from object_pose.evaluation.reports.dataset.report import DatasetReport
from object_pose.evaluation.reports.page import figure_url, picture_url, resized, write_page
from object_pose.io.datasets.mask_pairs import read_mask
from object_pose.io.datasets.samples import BoxDataset, MaskDataset
from object_pose.io.images import read_image
from object_pose.io.writers import write_json

_PICTURES_OF_A_KIND = 12
_FAULTS_SHOWN = 100
_NAME_LENGTH = 40
_SIDE = 220
_MARK = (255, 64, 96)

# Rows of pictures under a heading: one or two pictures and a line of text each.
Shots = list[tuple[str, list[tuple[list[str], str]]]]


def write_report(report: DatasetReport, folder: str | Path) -> None:
    """Write ``report.html`` and ``report.json`` into a folder, the same figures in both."""
    target, figures = Path(folder), report.figures
    write_json(target / "report.json", figures)
    write_page(
        target / "report.html",
        "dataset/page.html",
        kind="data set report",
        title=report.title,
        figures=figures,
        cards=_cards(report),
        plots={title: figure_url(plot) for title, plot in report_plots(report).items()},
        classes=_class_table(report),
        faults=sorted(figures["faults"], key=lambda fault: fault["severity"] != "error"),
        faults_shown=_FAULTS_SHOWN,
        extremes=_extremes(report),
        duplicates=_duplicate_pictures(report),
        suspicious=_suspicious_pictures(report),
    )


def _cards(report: DatasetReport) -> list[tuple[str, str]]:
    figures = report.figures
    errors = sum(fault["severity"] == "error" for fault in figures["faults"])
    cards = [("images", " + ".join(f"{count} {name}".strip() for name, count in figures["splits"].items()))]
    if "boxes" in figures:
        labelled = [row for row in figures["boxes"]["classes"] if sum(row["boxes"].values())]
        cards.append(("boxes", str(figures["boxes"]["boxes"])))
        cards.append(("classes with boxes", f"{len(labelled)} of {len(figures['boxes']['classes'])}"))
    if "classes" in figures:
        cards.append(("classes", str(len(figures["classes"]))))
    if "masks" in figures:
        cards.append(("median cover", f"{figures['masks']['cover']['p50']:.0%}"))
    near = figures["near_duplicates"]
    cards.append(("different scenes", str(near["distinct_images"])))
    if len(figures["splits"]) > 1:
        cards.append(("pairs across splits", str(len(near["across_splits"]))))
    cards.append(("suspicious labels", str(len(figures["suspicious"]))))
    cards.append(("errors / warnings", f"{errors} / {len(figures['faults']) - errors}"))
    return cards


def _class_table(report: DatasetReport) -> list[dict[str, Any]]:
    if "boxes" not in report.figures:
        return []
    rows = report.figures["boxes"]["classes"]
    return sorted(rows, key=lambda row: -sum(row["boxes"].values()))


def _extremes(report: DatasetReport) -> Shots:
    rows = []
    for name, lowest, highest in (
        ("brightness", "Darkest", "Brightest"),
        ("sharpness", "Most blurred", "Sharpest"),
        ("contrast", "Least contrast", ""),
    ):
        order = sorted(report.images, key=lambda image, name=name: getattr(image, name))  # type: ignore[misc]
        for title, chosen in ((lowest, order[:EXTREMES]), (highest, order[: -EXTREMES - 1 : -1])):
            if title:
                shown = [
                    ([thumbnail(item.path)], f"{getattr(item, name):.0f} · {_short(item.path)}") for item in chosen
                ]
                rows.append((f"{title} ({name})", shown))
    return rows


def _duplicate_pictures(report: DatasetReport) -> Shots:
    across = across_splits(report.images, report.duplicates)
    within = [pair for pair in report.duplicates.pairs if pair not in across]
    sections = []
    for title, pairs in (("Across splits", across), ("Within a split", within)):
        shown = [
            (
                [thumbnail(report.images[place].path) for place in (pair.first, pair.second)],
                f"{pair.correlation:.2f} · {_short(report.images[pair.first].path)} · "
                f"{_short(report.images[pair.second].path)}",
            )
            for pair in pairs[:_PICTURES_OF_A_KIND]
        ]
        if shown:
            sections.append((f"{title}: {len(pairs)} pairs", shown))
    return sections


def _suspicious_pictures(report: DatasetReport) -> Shots:
    sections = []
    for kind, count in Counter(finding.kind for finding in report.findings).most_common():
        chosen = [finding for finding in report.findings if finding.kind == kind][:_PICTURES_OF_A_KIND]
        shown = [(_pictures(report, item), f"{item.detail} · {_short(item.path)}") for item in chosen]
        sections.append((f"{kind}: {count}", shown))
    return sections


def _pictures(report: DatasetReport, finding: Finding) -> list[str]:
    boxes: dict[Path, Array] = {}
    masks: dict[Path, Path] = {}
    for dataset in report.splits.values():
        if isinstance(dataset, BoxDataset):
            boxes |= {sample.path: sample.boxes_xyxy for sample in dataset.samples}
        elif isinstance(dataset, MaskDataset):
            masks |= {pair.image_path: pair.mask_path for pair in dataset.samples}
    shown = []
    for path in (finding.path, finding.other):
        if path is None:
            continue
        if path in masks:
            shown.append(mask_thumbnail(path, masks[path]))
        else:
            shown.append(thumbnail(path, finding.boxes_xyxy if path == finding.path else boxes.get(path)))
    return shown


def _short(path: Path) -> str:
    """Return a file's name without the hash that exports append; the whole path stands in report.json."""
    stem = path.stem.split("_jpg.rf.")[0].split("_png.rf.")[0]
    return stem if len(stem) <= _NAME_LENGTH else f"{stem[: _NAME_LENGTH - 1]}…"


def thumbnail(path: Path, boxes_xyxy: Array | None = None) -> str:
    """Return an image, made small, with boxes (N, 4) drawn, as a data URL."""
    rgb = _read(path)
    small, scale = resized(rgb, _SIDE)
    for box in np.zeros((0, 4)) if boxes_xyxy is None else boxes_xyxy:
        x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
        cv2.rectangle(small, (x0, y0), (x1, y1), (255, 255, 255), 3)
        cv2.rectangle(small, (x0, y0), (x1, y1), _MARK, 1)
    return picture_url(small)


def mask_thumbnail(path: Path, mask_path: Path) -> str:
    """Return an image, made small, with its mask tinted, as a data URL."""
    rgb, mask = _read(path).copy(), read_mask(mask_path)
    rgb[mask] = (0.55 * rgb[mask] + 0.45 * np.array(_MARK)).astype(np.uint8)
    return picture_url(rgb, _SIDE)


@lru_cache(maxsize=64)
def _read(path: Path) -> Image:
    return read_image(path)
