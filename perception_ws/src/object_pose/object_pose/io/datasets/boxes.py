"""A data set of boxes, in whichever format it is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.io.datasets.coco import read_coco
from object_pose.io.datasets.layouts import coco_file, find_layout
from object_pose.io.datasets.samples import BoxDataset
from object_pose.io.datasets.yolo import read_yolo


def read_boxes(
    path: str | Path,
    labels: Sequence[str] | None = None,
    images: str | Path | None = None,
    thorough: bool = False,
) -> BoxDataset:
    """Read and check a YOLO folder, a COCO file, or a folder with one COCO file.

    ``labels`` names the classes where a YOLO folder does not; ``images`` is the folder of a COCO file's images.
    Raises ``DataError`` where there is no such data set, or several splits of one.
    """
    layout = find_layout(path)
    if layout.kind not in ("yolo", "coco"):
        raise DataError(f"{path} is a data set of {layout.kind}, not of boxes", "expected YOLO or COCO")
    if len(layout.splits) > 1:
        names = ", ".join(layout.splits)
        raise DataError(f"{path} holds the splits {names}", f"name one, such as {next(iter(layout.splits.values()))}")
    place = next(iter(layout.splits.values()))
    if layout.kind == "yolo":
        return read_yolo(place, labels, thorough)
    file = coco_file(place)
    if file is None:
        raise DataError(f"{place} holds no COCO file")
    return read_coco(file, images, thorough)
