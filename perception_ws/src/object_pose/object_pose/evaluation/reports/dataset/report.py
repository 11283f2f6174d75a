"""The report on a data set: measured once, told as JSON and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.evaluation.reports.dataset.boxes import box_summary
from object_pose.evaluation.reports.dataset.images import (
    Duplicates,
    ImageFigures,
    Progress,
    duplicate_summary,
    find_duplicates,
    image_summary,
    measure_images,
    percentiles,
)
from object_pose.evaluation.reports.dataset.observations import observe
from object_pose.evaluation.reports.dataset.suspicious import (
    Finding,
    suspicious_boxes,
    suspicious_classes,
    suspicious_masks,
)
from object_pose.io.datasets.mask_pairs import read_mask
from object_pose.io.datasets.samples import BoxDataset, ClassDataset, Dataset, MaskDataset


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

    ``extra`` findings, of a model's check, are told with the others. Raises ``DataError`` where there is nothing to
    measure.
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


def mask_covers(splits: Mapping[str, MaskDataset]) -> dict[str, Array]:
    """Return the (N,) shares of their image that masks cover, for each split."""
    return {
        name: np.array([read_mask(pair.mask_path).mean() for pair in dataset.samples])
        for name, dataset in splits.items()
    }


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
