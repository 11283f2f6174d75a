"""Data sets of labelme: a JSON file beside each image, with the shapes that were drawn and their labels."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from object_pose.io.datasets.boxes import BoxChecker, check_names, empty_class_faults, visible_files
from object_pose.io.datasets.image_files import duplicate_faults, headers, image_files
from object_pose.io.datasets.samples import BoxDataset, Fault
from object_pose.io.files import read_text

_MARKS = {"shapes", "imagePath"}
_OUTLINES = ("polygon", "rectangle", "circle")  # lines and points have no box


def is_labelme(root: Path) -> bool:
    """Whether a folder holds files of labelme, by the first one."""
    files = visible_files(root, ".json")
    return bool(files) and _document(files[0]) is not None


def labelme_names(root: Path) -> list[str]:
    """Return the labels of the shapes in a folder's files, sorted."""
    shapes = [shape for file in visible_files(root, ".json") for shape in _shapes(file) or ()]
    return sorted({str(shape.get("label", "")).strip() for shape in shapes} - {""})


def read_labelme(folder: Path, labels: Sequence[str] | None = None, thorough: bool = False) -> BoxDataset:
    """Read and check a folder; the box of a polygon or circle is the one around it.

    Classes are the ``labels``, or the labels in all files, sorted. ``thorough`` decodes every image. Raises
    ``DataError`` where there is nothing to read; what is wrong with files stands in ``faults``.
    """
    faults: list[Fault] = []
    files = visible_files(folder, ".json")
    names = check_names(labels or labelme_names(folder), f"the files of labelme in {folder}")
    beside = image_files(folder)
    images = {file: _image_of(file, beside, faults) for file in files}
    sizes = headers([image for image in images.values() if image is not None], thorough, faults)
    samples = []
    for file, image in images.items():
        if image is None or image not in sizes:
            continue
        checker = BoxChecker(file, sizes[image].wh, len(names), faults)
        for number, shape in enumerate(_shapes(file) or (), start=1):
            _add_shape(shape, f"shape {number}", names, checker, faults)
        samples.append(checker.sample(image))
    unlabelled = set(beside) - set(images.values())
    faults += [Fault(image, None, "image without label", "warning") for image in sorted(unlabelled)]
    faults += duplicate_faults([sample.path for sample in samples])
    faults += empty_class_faults(folder, names, samples)
    return BoxDataset(names, tuple(samples), tuple(faults))


def _image_of(file: Path, beside: Sequence[Path], faults: list[Fault]) -> Path | None:
    """Return the image of a file: the one that it names, or one of its own name beside it."""
    document = _document(file)
    if document is None:
        faults.append(Fault(file, None, "is no file of labelme"))
        return None
    name = str(document["imagePath"]).replace("\\", "/").rpartition("/")[2]
    image = next((path for path in beside if path.name == name), None)
    image = image or next((path for path in beside if path.stem == file.stem), None)
    if image is None:
        faults.append(Fault(file, None, f"label without image: {name} does not exist"))
    return image


def _add_shape(shape: Any, name: str, names: Sequence[str], checker: BoxChecker, faults: list[Fault]) -> None:
    label, kind = str(shape.get("label", "")).strip(), str(shape.get("shape_type") or "polygon")
    if label not in names:
        faults.append(Fault(checker.path, None, f"{name} has the unknown label '{label}'"))
        return
    if kind not in _OUTLINES:
        faults.append(Fault(checker.path, None, f"{name} is a {kind}, which has no box; it is left out", "warning"))
        return
    try:
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if kind == "circle":  # its centre, and a point on it
            (x, y), edge = points
            radius = math.dist((x, y), edge)
            points = [(x - radius, y - radius), (x + radius, y + radius)]
        columns = list(zip(*points, strict=True))
        left, top, right, bottom = (pick(columns[axis]) for pick in (min, max) for axis in (0, 1))
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        faults.append(Fault(checker.path, None, f"{name} has no points (x, y)"))
        return
    checker.add(names.index(label), (left, top, right, bottom), None, name)


def _shapes(file: Path) -> list[dict[str, Any]] | None:
    document = _document(file)
    return None if document is None else [shape for shape in document["shapes"] if isinstance(shape, dict)]


def _document(file: Path) -> dict[str, Any] | None:
    """Return what a file of labelme holds, None where it is none."""
    try:
        values = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError):
        return None
    is_one = isinstance(values, dict) and values.keys() >= _MARKS and isinstance(values["shapes"], list)
    return values if is_one else None
