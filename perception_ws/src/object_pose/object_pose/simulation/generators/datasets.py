"""Rendered data sets of every task, in the layouts that ``io.datasets`` and ``io.bop`` read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.io.datasets.samples import LabelledBoxes
from object_pose.io.datasets.writing import write_yolo_names, yolo_lines
from object_pose.io.images import write_grey, write_image
from object_pose.io.writers import json_lines
from object_pose.simulation.generators import inspection
from object_pose.simulation.generators.aerial import tile as aerial
from object_pose.simulation.generators.bop import write_bop_dataset
from object_pose.simulation.generators.spaceship import spaceship_sample
from object_pose.simulation.parts.objects import PARTS, load_objects
from object_pose.simulation.scenes.scene import FrameStream
from object_pose.simulation.scenes.truth import SimulatedFrame

Progress = Callable[[Iterable[Any]], Iterable[Any]]
_FULL = 255


def write_detect(folder: Path, count: int, seed: int, progress: Progress = iter) -> None:
    """Write frames of the six procedural parts as a YOLO data set."""
    objects = load_objects(PARTS)
    _make(folder, "images", "labels")
    write_yolo_names(folder, [item.model.name for item in objects])
    frames = islice(FrameStream(objects, seed=seed), count)
    for index, simulated in enumerate(progress(frames)):
        rgb = simulated.frame.rgb
        path = folder / "images" / f"{index:06d}.png"
        boxes = np.array([truth.box_xyxy for truth in simulated.truths]).reshape(-1, 4)
        class_ids = np.array([truth.class_id for truth in simulated.truths], dtype=np.int64)
        write_image(path, rgb)
        lines = yolo_lines(LabelledBoxes(path, (rgb.shape[1], rgb.shape[0]), boxes, class_ids))
        (folder / "labels" / f"{index:06d}.txt").write_text(lines)


def write_pose(folder: Path, count: int, seed: int, progress: Progress = iter) -> None:
    """Write frames of the six procedural parts with depth as a BOP data set of one scene."""
    objects = load_objects(PARTS)

    def frames(scene_id: int) -> Iterator[SimulatedFrame]:
        yield from progress(islice(FrameStream(objects, depth=True, seed=(seed, scene_id)), count))

    for _ in write_bop_dataset(folder, objects, frames, 1, count):
        pass


def write_oriented(folder: Path, count: int, seed: int, progress: Progress = iter) -> None:
    """Write spaceships as ``images/`` and ``labels.jsonl``: a line an image, with its box (pixels, radians) or none."""
    _make(folder, "images")
    with json_lines(folder / "labels.jsonl") as labels:
        for index in progress(range(count)):
            image, label = spaceship_sample(seed + index)
            name = f"images/{index:06d}.png"
            write_grey(folder / name, np.rint(image * _FULL).astype(np.uint8))
            box = dict(zip(("x", "y", "yaw", "width", "height"), map(float, label)))
            labels.write({"image": name, "boxes": [] if np.isnan(label[0]) else [box]})


def write_classify(folder: Path, count: int, seed: int, progress: Progress = iter) -> None:
    """Write trays of springs and gears as one folder a class."""
    _make(folder, *inspection.LABELS)
    for index in progress(range(count)):
        image, class_id = inspection.inspection_sample(seed + index)
        write_image(folder / inspection.LABELS[class_id] / f"{index:06d}.png", image)


def write_segment(folder: Path, count: int, seed: int, progress: Progress = iter) -> None:
    """Write aerial tiles as ``images/`` and ``masks/`` of their buildings."""
    _make(folder, "images", "masks")
    for index in progress(range(count)):
        image, mask = aerial.sample(seed + index)
        write_image(folder / "images" / f"{index:06d}.png", image)
        write_grey(folder / "masks" / f"{index:06d}.png", mask)


RENDERED_DATASETS: dict[str, Callable[[Path, int, int, Progress], None]] = {
    "detect": write_detect,
    "pose": write_pose,
    "oriented": write_oriented,
    "classify": write_classify,
    "segment": write_segment,
}


def _make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
