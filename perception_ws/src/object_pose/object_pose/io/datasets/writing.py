"""Data sets written to disk, a split at a time, in the layouts that the readers read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from object_pose.core.arrays import Array
from object_pose.io.datasets.samples import (
    BoxDataset,
    ClassDataset,
    Dataset,
    LabelledBoxes,
    MaskDataset,
    require_usable,
)
from object_pose.io.writers import write_json

COCO_FILE = "annotations.json"
YOLO_FILE = "data.yaml"


def write_yolo(folder: Path, dataset: BoxDataset) -> None:
    """Copy images to ``images/`` and write ``labels/``; the names of the classes go to ``write_yolo_names``."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for sample, name in zip(dataset.samples, unique_names([sample.path for sample in dataset.samples])):
        shutil.copyfile(sample.path, folder / "images" / name)
        (folder / "labels" / name).with_suffix(".txt").write_text(yolo_lines(sample))


def write_yolo_names(folder: Path, labels: Sequence[str], splits: Sequence[str] = ()) -> None:
    """Write ``data.yaml`` with the classes, and the image folders of the splits as other tools want them."""
    values: dict[str, Any] = {("val" if name == "valid" else name): f"{name}/images" for name in splits if name}
    values |= {"nc": len(labels), "names": list(labels)}
    (folder / YOLO_FILE).write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def yolo_lines(sample: LabelledBoxes) -> str:
    """Return the label file of an image: a line ``class x y width height`` in 0..1 a box."""
    corners = _from_outer_corner(sample.boxes_xyxy)
    size = np.array(sample.image_wh, dtype=np.float64)
    centers, sizes = (corners[:, :2] + corners[:, 2:]) / 2 / size, (corners[:, 2:] - corners[:, :2]) / size
    rows = zip(sample.class_ids, np.concatenate([centers, sizes], axis=1))
    return "".join(f"{class_id} {' '.join(f'{value:.9f}' for value in row)}\n" for class_id, row in rows)


def write_coco(folder: Path, dataset: BoxDataset) -> None:
    """Copy images to ``images/`` and write ``annotations.json``; category ids are class ids plus one."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names = unique_names([sample.path for sample in dataset.samples])
    for number, (sample, name) in enumerate(zip(dataset.samples, names), start=1):
        shutil.copyfile(sample.path, folder / "images" / name)
        width, height = sample.image_wh
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations += [
            {"id": len(annotations) + index, "image_id": number, **values}
            for index, values in enumerate(_coco_annotations(sample), start=1)
        ]
    categories = [{"id": number, "name": label} for number, label in enumerate(dataset.labels, start=1)]
    # One entry a line: a fault in the file can then be named by its line.
    sections = {"categories": categories, "images": images, "annotations": annotations}
    text = ",\n".join(f'"{name}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]" for name, rows in sections.items())
    (folder / COCO_FILE).write_text("{\n" + text + "\n}\n")


def write_class_folders(folder: Path, dataset: ClassDataset) -> None:
    """Copy images to one folder a class."""
    for class_id, label in enumerate(dataset.labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        paths = [sample.path for sample in dataset.samples if sample.class_id == class_id]
        for path, name in zip(paths, unique_names(paths)):
            shutil.copyfile(path, folder / label / name)


def write_mask_pairs(folder: Path, dataset: MaskDataset) -> None:
    """Copy images to ``images/`` and masks to ``masks/``."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for pair, name in zip(dataset.samples, unique_names([pair.image_path for pair in dataset.samples])):
        shutil.copyfile(pair.image_path, folder / "images" / name)
        shutil.copyfile(pair.mask_path, folder / "masks" / f"{Path(name).stem}{pair.mask_path.suffix}")


def write_dataset(folder: Path, kind: str, splits: Mapping[str, Dataset]) -> None:
    """Write every split of a data set into its folder, or one without a name into ``folder`` itself.

    ``kind`` says which of yolo and coco boxes are written as. Raises ``DataError`` for a split with errors or empty.
    """
    for name, dataset in splits.items():
        require_usable(dataset)
        if isinstance(dataset, BoxDataset):
            (write_yolo if kind == "yolo" else write_coco)(folder / name, dataset)
        elif isinstance(dataset, ClassDataset):
            write_class_folders(folder / name, dataset)
        else:
            write_mask_pairs(folder / name, dataset)
    labels = [dataset.labels for dataset in splits.values() if isinstance(dataset, BoxDataset)]
    if kind == "yolo" and labels:
        write_yolo_names(folder, labels[0], list(splits))


def write_provenance(folder: Path, values: Mapping[str, Any]) -> None:
    """Write ``dataset.json``: how the data set came to be."""
    write_json(folder / "dataset.json", dict(values))


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Return the files' names for one common folder; where a stem is taken, a number is appended."""
    taken: set[str] = set()
    names = []
    for path in paths:
        stem, number = path.stem, 1
        while stem in taken:
            number += 1
            stem = f"{path.stem}_{number}"
        taken.add(stem)
        names.append(f"{stem}{path.suffix}")
    return names


def _coco_annotations(sample: LabelledBoxes) -> list[dict[str, Any]]:
    corners = _from_outer_corner(sample.boxes_xyxy)
    rows = []
    for class_id, (x0, y0, x1, y1) in zip(sample.class_ids, corners):
        box = [round(float(value), 6) for value in (x0, y0, x1 - x0, y1 - y0)]
        rows.append({"category_id": int(class_id) + 1, "bbox": box, "area": round(box[2] * box[3], 6), "iscrowd": 0})
    return rows


def _from_outer_corner(boxes_xyxy: Array) -> Array:
    """Return boxes in pixels from the image's outer corner, which both formats count from."""
    return boxes_xyxy + 0.5
