"""The page of a data set's report: one HTML file that needs nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import jinja2

from object_pose.core.arrays import Array
from object_pose.evaluation.reports.dataset.images import EXTREMES, across_splits
from object_pose.evaluation.reports.dataset.pictures import mask_thumbnail, plot_png, thumbnail
from object_pose.evaluation.reports.dataset.plots import report_plots
from object_pose.evaluation.reports.dataset.report import DatasetReport
from object_pose.evaluation.reports.dataset.suspicious import Finding
from object_pose.io.datasets.samples import BoxDataset, MaskDataset
from object_pose.io.files import replacing
from object_pose.io.writers import write_json

_PICTURES_OF_A_KIND = 12
_FAULTS_SHOWN = 100
_NAME_LENGTH = 40


def write_report(report: DatasetReport, folder: str | Path) -> None:
    """Write ``report.html`` and ``report.json`` into a folder, the same figures in both."""
    target = Path(folder)
    write_json(target / "report.json", report.figures)
    with replacing(target / "report.html") as temporary:
        temporary.write_text(report_page(report), encoding="utf-8")


def report_page(report: DatasetReport) -> str:
    """Return the report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("object_pose.evaluation.reports.dataset", "."), autoescape=True, trim_blocks=True
    )
    figures = report.figures
    return environment.get_template("page.html").render(
        title=report.title,
        figures=figures,
        cards=_cards(report),
        plots={title: plot_png(plot) for title, plot in report_plots(report).items()},
        classes=_class_table(report),
        errors=[fault for fault in figures["faults"] if fault["severity"] == "error"],
        warnings=[fault for fault in figures["faults"] if fault["severity"] == "warning"],
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


def _extremes(report: DatasetReport) -> list[tuple[str, list[tuple[str, str]]]]:
    rows = []
    for name, lowest, highest in (
        ("brightness", "Darkest", "Brightest"),
        ("sharpness", "Most blurred", "Sharpest"),
        ("contrast", "Least contrast", ""),
    ):
        order = sorted(report.images, key=lambda image, name=name: getattr(image, name))  # type: ignore[misc]
        for title, chosen in ((lowest, order[:EXTREMES]), (highest, order[: -EXTREMES - 1 : -1])):
            if title:
                shown = [(thumbnail(item.path), f"{getattr(item, name):.0f} · {_short(item.path)}") for item in chosen]
                rows.append((f"{title} ({name})", shown))
    return rows


def _duplicate_pictures(report: DatasetReport) -> list[tuple[str, list[tuple[str, str, str]]]]:
    across = across_splits(report.images, report.duplicates)
    within = [pair for pair in report.duplicates.pairs if pair not in across]
    sections = []
    for title, pairs in (("Across splits", across), ("Within a split", within)):
        shown = [
            (
                thumbnail(report.images[pair.first].path),
                thumbnail(report.images[pair.second].path),
                f"{pair.correlation:.2f} · {_short(report.images[pair.first].path)} · "
                f"{_short(report.images[pair.second].path)}",
            )
            for pair in pairs[:_PICTURES_OF_A_KIND]
        ]
        if shown:
            sections.append((f"{title}: {len(pairs)} pairs", shown))
    return sections


def _suspicious_pictures(report: DatasetReport) -> list[tuple[str, list[tuple[list[str], str]]]]:
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
