"""Requests to train a model anew: a folder with the frames that gave the reason, labelled by what was sure in them.

Frames with poses are a BOP scene, images with boxes a YOLO folder, so that every command reads them; ``request.json``
has the model, the reasons and what became of the request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from object_pose.core.arrays import Image
from object_pose.core.errors import DataError
from object_pose.core.results.detections import Detections
from object_pose.io.bop_writing import LabelledFrame, write_labelled_scene
from object_pose.io.datasets.samples import LabelledBoxes
from object_pose.io.datasets.writing import write_yolo_names, yolo_lines
from object_pose.io.files import new_folder
from object_pose.io.images import write_image
from object_pose.io.writers import write_json

_SCENE, _IMAGES, _UNLABELLED = "scene/000000", "boxes", "unlabelled"
_DESCRIPTION = "request.json"
OPEN, DONE = "open", "done"


@dataclass(frozen=True)
class RequestImage:
    """One image and the boxes found in it; where some are doubtful they are no labels: what lacks one is background."""

    rgb: Image
    boxes: Detections
    is_sure: bool


@dataclass(frozen=True)
class RetrainingRequest:
    """A request on disk: task and file of the model in use, the reasons in words, its state and the result, if any."""

    path: Path
    task: str
    model: str
    reasons: tuple[str, ...]
    state: str
    frames: int
    result: Mapping[str, Any]

    @property
    def data(self) -> Path:
        """The BOP scene of the frames of a model of poses, the YOLO folder of the images of a detector."""
        return self.path / (_SCENE if self.task == "pose" else _IMAGES)

    def closed(self, result: Mapping[str, Any]) -> RetrainingRequest:
        """Note what became of the request, and return it."""
        document = json.loads((self.path / _DESCRIPTION).read_text())
        write_json(self.path / _DESCRIPTION, document | {"state": DONE, "result": dict(result)})
        return read_request(self.path)


def write_request(
    folder: Path,
    model: str,
    labels: Sequence[str],
    reasons: Sequence[str],
    frames: Sequence[LabelledFrame | RequestImage],
    statistics: Mapping[str, float],
) -> RetrainingRequest:
    """Write a request below ``folder``, whole or not at all; its name is the time.

    ``labels`` are the model's classes, in its order.
    """
    path = folder / time.strftime("%Y%m%d-%H%M%S")
    posed = [frame for frame in frames if isinstance(frame, LabelledFrame)]
    boxed = [frame for frame in frames if isinstance(frame, RequestImage)]
    with new_folder(path) as temporary:
        if boxed:
            _write_labelled_images(temporary, labels, boxed)
        else:
            write_labelled_scene(temporary / _SCENE, labels, posed)
        document: dict[str, Any] = {"task": "detect" if boxed else "pose", "model": model, "reasons": list(reasons)}
        document |= {"statistics": dict(statistics), "frames": len(frames)}
        write_json(temporary / _DESCRIPTION, document | {"state": OPEN, "created_s": int(time.time()), "result": {}})
    return read_request(path)


def _write_labelled_images(folder: Path, labels: Sequence[str], images: Sequence[RequestImage]) -> None:
    """Write a YOLO folder of the images whose boxes are sure, and the others beside it."""
    data = folder / _IMAGES
    for name in (data / "images", data / "labels", folder / _UNLABELLED):
        name.mkdir(parents=True)
    for number, item in enumerate(images):
        path = (data / "images" if item.is_sure else folder / _UNLABELLED) / f"{number:06d}.png"
        write_image(path, item.rgb)
        if item.is_sure:
            height, width = item.rgb.shape[:2]
            boxes = LabelledBoxes(path, (width, height), item.boxes.boxes_xyxy, item.boxes.class_ids)
            (data / "labels" / f"{number:06d}.txt").write_text(yolo_lines(boxes))
    write_yolo_names(data, labels)


def read_request(path: Path) -> RetrainingRequest:
    """Read a request; raises ``DataError`` where the folder holds none."""
    try:
        document = json.loads((path / _DESCRIPTION).read_text())
        return RetrainingRequest(
            path,
            str(document.get("task", "pose")),
            str(document["model"]),
            tuple(map(str, document["reasons"])),
            str(document["state"]),
            int(document["frames"]),
            dict(document["result"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no retraining request: {error}", "name a folder that the monitor wrote") from error


def open_requests(folder: Path) -> list[RetrainingRequest]:
    """Return a request, or those of a folder that are still open, the oldest first."""
    if (folder / _DESCRIPTION).exists():
        return [read_request(folder)]
    found = [read_request(item.parent) for item in sorted(folder.glob(f"*/{_DESCRIPTION}"))]
    return [item for item in found if item.state == OPEN]
