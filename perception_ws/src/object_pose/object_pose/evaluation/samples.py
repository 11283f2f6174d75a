"""Labelled images on disk for every task, one by one, their classes numbered as a model's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import ConfigError, DataError
from object_pose.core.frame import AlignedDepth
from object_pose.core.results.detections import Detections
from object_pose.core.results.oriented import OrientedBox, OrientedBoxes
from object_pose.evaluation.pose_runner import bop_frames
from object_pose.io.datasets.class_folders import read_class_folders
from object_pose.io.datasets.mask_pairs import read_mask, read_mask_pairs
from object_pose.io.datasets.opening import find_layout, read_boxes
from object_pose.io.datasets.samples import ClassDataset, LabelledBoxes, MaskDataset, require_usable
from object_pose.io.images import decode_array, read_image
from object_pose.runtime.card import ModelCard
from object_pose.simulation.seeds import TEST
from object_pose.tasks.pose import PoseTruth

# The simulated test splits, which ``evaluation.rendered`` draws.
TEST_SEED = TEST.first
TEST_COUNTS = {"pose": 200, "oriented": 3000, "classify": 1000, "segment": 300}
_LARGEST_ARRAY = 1 << 30  # bytes


@dataclass(frozen=True)
class Sample:
    """An image, what to call it, its truth, of the type that its task's ``score`` takes, and its depth if any."""

    name: str
    image: NDArray[np.generic]
    truth: Any
    depth: AlignedDepth | None = None


Samples = Iterator[Sample]


def read_samples(task: str, data: Path, card: ModelCard) -> Samples:
    """Yield the samples of a data set on disk, their classes numbered as the model's.

    Raises ``ConfigError`` for a task whose data are never on disk, ``DataError`` for faulty data or unknown classes.
    """
    if task not in _READERS:
        raise ConfigError(f"the task {task} has no data sets on disk", "use --rendered N")
    return _READERS[task](data, card)


def _read_boxes(data: Path, card: ModelCard) -> Samples:
    # A COCO file numbers its classes itself; a YOLO folder need not even name them, and then has the model's.
    labels = None if find_layout(data).kind == "coco" else card.labels
    dataset = require_usable(read_boxes(data, labels))
    class_ids = class_ids_of(dataset.labels, card, {int(i) for item in dataset.samples for i in item.class_ids})
    for item in dataset.samples:
        yield Sample(item.path.stem, read_image(item.path), _true_boxes(item, class_ids))


def _true_boxes(item: LabelledBoxes, class_ids: NDArray[np.int64]) -> Detections:
    count = len(item.class_ids)
    return Detections(
        item.boxes_xyxy, np.ones(count), class_ids[item.class_ids], np.zeros((count, 0, 2)), np.zeros((count, 0))
    )


def _read_classes(data: Path, card: ModelCard) -> Samples:
    return class_samples(require_usable(read_class_folders(data)), card)


def class_samples(dataset: ClassDataset, card: ModelCard) -> Samples:
    """Yield the images of a data set with their classes numbered as the model's."""
    class_ids = class_ids_of(dataset.labels, card, {item.class_id for item in dataset.samples})
    for item in dataset.samples:
        yield Sample(item.path.stem, read_image(item.path), int(class_ids[item.class_id]))


def _read_masks(data: Path, card: ModelCard) -> Samples:
    return mask_samples(require_usable(read_mask_pairs(data)))


def mask_samples(dataset: MaskDataset) -> Samples:
    """Yield the images of a data set with their masks (H, W) bool."""
    for pair in dataset.samples:
        yield Sample(pair.image_path.stem, read_image(pair.image_path), read_mask(pair.mask_path))


def _read_poses(data: Path, card: ModelCard) -> Samples:
    for item in bop_frames(data, card.labels):
        truth = PoseTruth(item.truths, card.objects, item.frame.camera, item.frame.depth_m)
        yield Sample(item.name, item.frame.rgb, truth, item.frame.aligned_depth)


def _read_oriented(data: Path, card: ModelCard) -> Samples:
    """Read images beside labels.jsonl, or the published arrays: one .npz file, or a folder that holds one."""
    path = data / "labels.jsonl"
    if not path.exists():
        arrays = [data] if data.suffix == ".npz" else sorted(data.glob("*.npz"))
        if len(arrays) != 1:
            raise DataError(
                f"{data} has neither labels.jsonl nor one .npz file", "'object-pose dataset' renders such folders"
            )
        yield from _published_arrays(arrays[0])
        return
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            record = json.loads(line)
            image = data / record["image"]
            boxes = OrientedBoxes(tuple(OrientedBox(**box) for box in record["boxes"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"{path}:{number}: {error}", "expected boxes of x, y, yaw, width, height") from error
        yield Sample(image.stem, read_image(image), boxes)


def _published_arrays(path: Path) -> Samples:
    """Yield ``images`` (N, H, W) uint8 with ``labels`` (N, 5): x, y, yaw, width, height, or five NaN for nothing."""
    try:
        with ZipFile(path) as arrays:
            images, values = (_member(arrays, name) for name in ("images", "labels"))
        labels = np.asarray(values, dtype=np.float64)
    except Exception as error:  # damaged archives break the decoders in ways that they do not name
        raise DataError(f"{path} cannot be read: {error}", "expected the arrays 'images' and 'labels'") from error
    if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != (len(images), 5):
        found = f"images {images.shape} {images.dtype}, labels {labels.shape}"
        raise DataError(f"{path} has {found}", "expected images (N, H, W) uint8 and labels (N, 5)")
    for index, (image, label) in enumerate(zip(images, labels)):
        yield Sample(f"{path.stem}_{index:04d}", image, true_box(label))


def _member(arrays: ZipFile, name: str) -> NDArray[np.generic]:
    size = arrays.getinfo(f"{name}.npy").file_size
    if size > _LARGEST_ARRAY:
        raise DataError(f"'{name}' has {size} bytes, more than the {_LARGEST_ARRAY} that are read")
    return decode_array(arrays.read(f"{name}.npy"), f"'{name}'")


def true_box(label: NDArray[np.float64]) -> OrientedBoxes:
    """Return a published label (5,) as a result: x, y, yaw, width, height, or five NaN for nothing."""
    return OrientedBoxes(() if np.isnan(label[0]) else (OrientedBox(*label.tolist()),))


def class_ids_of(labels: tuple[str, ...], card: ModelCard, used: set[int]) -> NDArray[np.int64]:
    """Return the model's class id of each of the data's; -1 where no sample has it and the model lacks it."""
    unknown = [labels[class_id] for class_id in sorted(used) if labels[class_id] not in card.labels]
    if unknown:
        known = ", ".join(card.labels)
        raise DataError(f"the data have classes that the model lacks: {', '.join(unknown)}", f"it has {known}")
    return np.array([card.labels.index(name) if name in card.labels else -1 for name in labels], dtype=np.int64)


_READERS: dict[str, Callable[[Path, ModelCard], Samples]] = {
    "detect": _read_boxes,
    "pose": _read_poses,
    "oriented": _read_oriented,
    "classify": _read_classes,
    "segment": _read_masks,
}
