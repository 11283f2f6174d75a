"""The report on a data set: every figure as plain JSON values, with what stands out in them as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from object_pose.core.errors import DataError
from object_pose.evaluation.reports.dataset.findings import (
    Finding,
    suspicious_boxes,
    suspicious_classes,
    suspicious_masks,
)
from object_pose.evaluation.reports.dataset.measurements import (
    Duplicates,
    ImageFigures,
    Progress,
    box_summary,
    duplicate_summary,
    find_duplicates,
    image_summary,
    mask_covers,
    measure_images,
    percentiles,
)
from object_pose.io.datasets.samples import BoxDataset, ClassDataset, Dataset, MaskDataset

_FEW_BOXES = 50
_MOST = 0.8
_DARK, _BRIGHT = 50.0, 205.0


@dataclass(frozen=True)
class DatasetReport:
    """The splits of a data set with all that was measured; ``figures`` are plain JSON values."""

    title: str
    splits: Mapping[str, Dataset]
    images: tuple[ImageFigures, ...]
    duplicates: Duplicates
    findings: tuple[Finding, ...]
    figures: Mapping[str, Any]


def report_dataset(
    title: str, splits: Mapping[str, Dataset], extra: Sequence[Finding] = (), progress: Progress = iter
) -> DatasetReport:
    """Measure every image and label of a data set's splits, which must be of one kind and of the same classes.

    ``extra`` are findings of a model's check. Raises ``DataError`` where there is nothing to measure.
    """
    if not any(dataset.samples for dataset in splits.values()):
        raise DataError(f"{title} holds no samples that can be read")
    images = measure_images(splits, progress)
    duplicates = find_duplicates(images)
    kind, summary, findings = _of_kind(splits, images, duplicates)
    findings = [*findings, *extra]
    figures: dict[str, Any] = {
        "title": title,
        "splits": {name: len(dataset.samples) for name, dataset in splits.items()},
        "faults": [
            {"path": str(fault.path), "line": fault.line, "problem": fault.problem, "severity": fault.severity}
            for dataset in splits.values()
            for fault in dataset.faults
        ],
        kind: summary,
        "images": image_summary(images),
        "near_duplicates": duplicate_summary(images, duplicates),
        "suspicious": [finding.to_json() for finding in findings],
    }
    figures["observations"] = observe(figures)
    return DatasetReport(title, splits, images, duplicates, tuple(findings), figures)


def _of_kind(
    splits: Mapping[str, Dataset], images: Sequence[ImageFigures], duplicates: Duplicates
) -> tuple[str, Any, list[Finding]]:
    """Return the name, the figures and the findings that only this kind of data set has."""
    first = next(iter(splits.values()))
    if any(type(dataset) is not type(first) for dataset in splits.values()):
        raise DataError("the splits are of different kinds")
    if isinstance(first, MaskDataset):
        masks = cast(Mapping[str, MaskDataset], splits)
        covers = np.concatenate(list(mask_covers(masks).values()))
        return "masks", {"cover": percentiles(covers)}, suspicious_masks(masks, duplicates)
    if any(getattr(dataset, "labels", ()) != first.labels for dataset in splits.values()):
        raise DataError("the splits have different classes")
    if isinstance(first, BoxDataset):
        boxes = cast(Mapping[str, BoxDataset], splits)
        return "boxes", box_summary(boxes), suspicious_boxes(boxes, duplicates)
    classes = cast(Mapping[str, ClassDataset], splits)
    return "classes", _class_rows(classes), suspicious_classes(classes, images, duplicates)


def _class_rows(splits: Mapping[str, ClassDataset]) -> list[dict[str, Any]]:
    labels = next(iter(splits.values())).labels
    return [
        {
            "label": label,
            "images": {
                name: sum(sample.class_id == class_id for sample in dataset.samples) for name, dataset in splits.items()
            },
        }
        for class_id, label in enumerate(labels)
    ]


def observe(figures: Mapping[str, Any]) -> list[str]:
    """Return sentences on a report's figures, the gravest first."""
    sentences = []
    errors = sum(fault["severity"] == "error" for fault in figures["faults"])
    if errors:
        noun = "fault" if errors == 1 else "faults"
        sentences.append(f"{errors} {noun} in the files must be corrected before training.")
    sentences += _leaks(figures)
    if "boxes" in figures:
        sentences += _balance(figures) + _shapes(figures["boxes"])
    if "classes" in figures:
        sentences += _class_shares(figures["classes"])
    if "masks" in figures:
        cover = figures["masks"]["cover"]
        sentences.append(
            f"Half of the masks cover more than {cover['p50']:.0%} of their image, 5% less than {cover['p5']:.0%}."
        )
    return sentences + _redundancy(figures) + _light(figures["images"]) + _suspicions(figures)


def _leaks(figures: Mapping[str, Any]) -> list[str]:
    if len(figures["splits"]) < 2:
        return []
    across, recordings = figures["near_duplicates"]["across_splits"], figures["near_duplicates"]["recordings"]
    if not across:
        sentences = ["No image of one split has a near-duplicate in another."]
    else:
        leaked = figures["near_duplicates"]["leaked"]
        parts = ", ".join(f"{count} of {figures['splits'][name]} images in {name}" for name, count in leaked.items())
        sentences = [f"Some images have a near-duplicate in another split: {parts}."]
    shared = recordings["in_several_splits"]
    if shared:
        shown = ", ".join(f"'{name}'" for name in shared[:5])
        sentences.append(f"{len(shared)} recordings, by file name, are in several splits: {shown}.")
    return sentences


def _balance(figures: Mapping[str, Any]) -> list[str]:
    rows = figures["boxes"]["classes"]
    totals = {row["label"]: sum(row["boxes"].values()) for row in rows}
    ordered = sorted(totals, key=lambda label: -totals[label])
    everything = max(sum(totals.values()), 1)
    top: list[str] = []
    while sum(totals[label] for label in top) < _MOST * everything and len(top) < len(ordered):
        top.append(ordered[len(top)])
    share = sum(totals[label] for label in top) / everything
    verb = "holds" if len(top) == 1 else "hold"
    sentences = [f"{len(top)} of {len(rows)} classes ({', '.join(top)}) {verb} {share:.0%} of all boxes."]
    few = [f"{label} ({totals[label]})" for label in ordered if 0 < totals[label] < _FEW_BOXES]
    if few:
        sentences.append(
            f"{len(few)} classes have fewer than {_FEW_BOXES} boxes, too few to be learned or measured: "
            f"{', '.join(few)}."
        )
    absent = [label for label in ordered if totals[label] == 0]
    if absent:
        sentences.append(f"No box at all: {', '.join(absent)}.")
    everywhere = [row["label"] for row in rows if row["images"] == figures["splits"]]
    if everywhere:
        sentences.append(
            f"Every image shows the class {', '.join(everywhere)}: false positives of it can neither be "
            "learned nor measured here."
        )
    for split in figures["splits"]:
        missing = [row["label"] for row in rows if totals[row["label"]] and not row["boxes"][split]]
        if missing and len(figures["splits"]) > 1:
            sentences.append(f"Without a box in {split}, though elsewhere: {', '.join(missing)}.")
    return sentences


def _shapes(boxes: Mapping[str, Any]) -> list[str]:
    side, px = boxes["side_share"], boxes["side_px"]
    return [
        f"The median box is {side['p50']:.0%} of the image wide and high ({px['p50']:.0f} px); 5% are below "
        f"{side['p5']:.1%} ({px['p5']:.0f} px), 5% above {side['p95']:.0%}.",
        f"By COCO's limits {boxes['share_small']:.0%} of the boxes are small (under 32x32 px), "
        f"{boxes['share_medium']:.0%} medium, {boxes['share_large']:.0%} large (from 96x96 px).",
        f"{boxes['share_in_central_ninth']:.0%} of the boxes have their centre in the central ninth of the image "
        "(11% if they were spread evenly).",
    ]


def _class_shares(rows: list[Mapping[str, Any]]) -> list[str]:
    totals = {row["label"]: sum(row["images"].values()) for row in rows}
    everything = max(sum(totals.values()), 1)
    parts = ", ".join(f"{label} {count} ({count / everything:.0%})" for label, count in totals.items())
    return [f"Images of each class: {parts}."]


def _redundancy(figures: Mapping[str, Any]) -> list[str]:
    near, total = figures["near_duplicates"], sum(figures["splits"].values())
    sentences = []
    if near["pairs"]:
        largest = max(int(size) for size in near["group_sizes"])
        sentences.append(
            f"{total} images show {near['distinct_images']} different scenes: the others are near-duplicates, "
            f"up to {largest} of one scene."
        )
    recordings = near["recordings"]
    five = sum(list(recordings["largest"].values())[:5])
    if recordings["count"] < total and five > 0.1 * total:
        sentences.append(
            f"By file name the images come from {recordings['count']} recordings; "
            f"the five largest give {five / total:.0%}."
        )
    return sentences


def _light(images: Mapping[str, Any]) -> list[str]:
    brightness = images["brightness"]
    sentences = [
        f"Brightness runs from {brightness['p5']:.0f} to {brightness['p95']:.0f} of 255 (p5 to p95), "
        f"sharpness from {images['sharpness']['p5']:.0f} to {images['sharpness']['p95']:.0f}."
    ]
    if brightness["p5"] > _DARK and brightness["p95"] < _BRIGHT:
        sentences.append("There are hardly any dark or glaring images: what is learned here is not tested on them.")
    return sentences


def _suspicions(figures: Mapping[str, Any]) -> list[str]:
    kinds: dict[str, int] = {}
    for finding in figures["suspicious"]:
        kinds[finding["kind"]] = kinds.get(finding["kind"], 0) + 1
    if not kinds:
        return ["No suspicious label was found."]
    parts = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))
    return [f"{sum(kinds.values())} labels should be checked: {parts}."]
