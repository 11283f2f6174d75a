"""A data set of any kind with all its splits, opened by its path."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.io.datasets.class_folders import read_class_folders
from object_pose.io.datasets.coco import read_coco
from object_pose.io.datasets.layouts import coco_file, find_layout
from object_pose.io.datasets.mask_pairs import read_mask_pairs
from object_pose.io.datasets.samples import BoxDataset, ClassDataset, Dataset, Fault, MaskDataset
from object_pose.io.datasets.yolo import read_yolo


@dataclass(frozen=True)
class OpenedDataset:
    """A data set's kind (yolo, coco, masks or classes) and its splits by name; one without a name is ''."""

    kind: str
    splits: Mapping[str, Dataset]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of all splits."""
        return tuple(fault for dataset in self.splits.values() for fault in dataset.faults)


def open_dataset(
    path: str | Path,
    labels: Sequence[str] | None = None,
    images: str | Path | None = None,
    thorough: bool = False,
) -> OpenedDataset:
    """Read and check every split of a data set; see the readers of its kind for the arguments.

    Raises ``DataError`` where there is none, and for BOP, which is no set of single images.
    """
    layout = find_layout(path)
    if layout.kind == "bop":
        raise DataError(f"{path} is a BOP data set", "only 'object-pose dataset check' takes those")
    splits = {name: _read(layout.kind, place, labels, images, thorough) for name, place in layout.splits.items()}
    return OpenedDataset(layout.kind, _with_equal_numbers(splits) if layout.kind == "yolo" else splits)


def join_splits(splits: Sequence[Dataset]) -> Dataset:
    """Return all samples and faults as one data set; raises ``DataError`` for splits with different classes."""
    first = splits[0]
    faults = tuple(fault for dataset in splits for fault in dataset.faults)
    if isinstance(first, MaskDataset):
        pairs = tuple(pair for dataset in splits if isinstance(dataset, MaskDataset) for pair in dataset.samples)
        return MaskDataset(pairs, faults)
    if any(getattr(dataset, "labels", ()) != first.labels for dataset in splits):
        raise DataError("the splits have different classes")
    if isinstance(first, BoxDataset):
        boxes = tuple(sample for dataset in splits if isinstance(dataset, BoxDataset) for sample in dataset.samples)
        return BoxDataset(first.labels, boxes, faults)
    images = tuple(sample for dataset in splits if isinstance(dataset, ClassDataset) for sample in dataset.samples)
    return ClassDataset(first.labels, images, faults)


def _read(kind: str, place: Path, labels: Sequence[str] | None, images: str | Path | None, thorough: bool) -> Dataset:
    if kind == "yolo":
        return read_yolo(place, labels, thorough)
    if kind == "masks":
        return read_mask_pairs(place, thorough)
    if kind == "classes":
        return read_class_folders(place, thorough)
    file = coco_file(place)
    if file is None:
        raise DataError(f"{place} holds no COCO file")
    return read_coco(file, images, thorough)


def _with_equal_numbers(splits: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Where classes have numbers for names, give every split those of the split with most."""
    boxes = {name: dataset for name, dataset in splits.items() if isinstance(dataset, BoxDataset)}
    longest = max((dataset.labels for dataset in boxes.values()), key=len)
    return {
        name: dataclasses.replace(dataset, labels=longest)
        if dataset.labels == longest[: len(dataset.labels)]
        else dataset
        for name, dataset in boxes.items()
    }
