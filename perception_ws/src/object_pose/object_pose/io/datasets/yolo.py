"""YOLO data sets: ``images/`` with one text file an image in ``labels/``, lines ``class x y width height`` in 0..1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.io.datasets.boxes import (
    TEXT_NAMES,
    BoxChecker,
    check_names,
    empty_class_faults,
    find_names_file,
    read_names,
)
from object_pose.io.datasets.image_files import duplicate_faults, headers, image_files, images_by_stem
from object_pose.io.datasets.samples import BoxDataset, Fault, LabelledBoxes

_BOX_FIELDS = 5


def read_yolo(folder: str | Path, labels: Sequence[str] | None = None, thorough: bool = False) -> BoxDataset:
    """Read and check a YOLO folder: ``images/`` and ``labels/`` in it, or both kinds of file side by side.

    A folder ``images/train`` belongs to ``labels/train``. Class names stand in a ``data.yaml`` or ``classes.txt`` here
    or above; where there is none they are ``labels``, else numbers. Polygons become the boxes around them.
    ``thorough`` decodes every image. Raises ``DataError`` only where there is nothing to read; what is wrong with files
    and lines stands in ``faults``.
    """
    root = Path(folder)
    image_folder, label_folder = yolo_folders(root)
    faults: list[Fault] = []
    names = _names(root) or (check_names(labels, "the list of labels") if labels is not None else None)
    images = images_by_stem(image_folder, faults)
    if not images:
        raise DataError(f"{image_folder} holds no images")
    texts = {path.stem: path for path in sorted(label_folder.glob("*.txt")) if path.name not in TEXT_NAMES}
    faults += [Fault(path, None, "label without image") for stem, path in texts.items() if stem not in images]
    samples = []
    for image, header in headers(images.values(), thorough, faults).items():
        text = texts.get(image.stem)
        if text is None:
            faults.append(Fault(image, None, "image without label; it counts as background", "warning"))
        samples.append(_read_labels(text, image, header.wh, len(names) if names else None, faults))
    faults += duplicate_faults(list(images.values()))
    if names is None:
        faults.append(Fault(root, None, "no data.yaml or classes.txt names the classes", "warning"))
        names = _numbered_names(samples)
    else:
        faults += empty_class_faults(root, names, samples)
    return BoxDataset(names, tuple(samples), tuple(faults))


def yolo_folders(root: Path) -> tuple[Path, Path]:
    """Return the folders of images and of labels of a YOLO folder; raises ``DataError`` where it is none."""
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist")
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return root / "images", root / "labels"
    if image_files(root):
        beside = _beside(root)
        if beside is not None and beside.is_dir():
            return root, beside
        if {path.stem for path in image_files(root)} & {path.stem for path in root.glob("*.txt")}:
            return root, root
    raise DataError(f"{root} is no YOLO data set", "expected the folders images/ and labels/ in it")


def _beside(images: Path) -> Path | None:
    """Return ``.../labels/train`` for ``.../images/train``, or None where no folder above is called ``images``."""
    parts = images.absolute().parts
    if "images" not in parts:
        return None
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


def _names(root: Path) -> tuple[str, ...] | None:
    file = find_names_file(root)
    return read_names(file) if file else None


def _numbered_names(samples: Sequence[LabelledBoxes]) -> tuple[str, ...]:
    highest = max((int(sample.class_ids.max()) for sample in samples if len(sample.class_ids)), default=-1)
    return tuple(f"class {class_id}" for class_id in range(highest + 1))


def _read_labels(
    file: Path | None, image: Path, image_wh: tuple[int, int], class_count: int | None, faults: list[Fault]
) -> LabelledBoxes:
    checker = BoxChecker(file or image, image_wh, class_count, faults)
    for line, text in enumerate(_lines(file, faults) if file else [], start=1):
        fields = text.split()
        if not fields:
            continue
        try:
            class_id, box = _parse(fields)
        except ValueError as error:
            faults.append(Fault(checker.path, line, str(error)))
            continue
        width, height = image_wh
        checker.add(class_id, (box[0] * width, box[1] * height, box[2] * width, box[3] * height), line)
    return checker.sample(image, image_wh)


def _lines(file: Path, faults: list[Fault]) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError as error:
        faults.append(Fault(file, None, f"the file cannot be opened: {error.strerror}"))
    except UnicodeDecodeError:
        faults.append(Fault(file, None, "the file is no text"))
    return []


def _parse(fields: Sequence[str]) -> tuple[int, tuple[float, float, float, float]]:
    """Return class id and x0, y0, x1, y1 in 0..1 of a line; raises ``ValueError`` saying what is wrong with it."""
    is_polygon = len(fields) >= 7 and len(fields) % 2 == 1
    if len(fields) != _BOX_FIELDS and not is_polygon:
        raise ValueError(f"expected 'class x y width height', got {len(fields)} fields")
    try:
        class_id = int(fields[0])
    except ValueError as error:
        raise ValueError(f"class id '{fields[0]}' is not a whole number") from error
    values = []
    for field in fields[1:]:
        try:
            values.append(float(field))
        except ValueError as error:
            raise ValueError(f"'{field}' is not a number") from error
    if is_polygon:
        if not all(math.isfinite(value) for value in values):
            return class_id, (math.nan,) * 4
        return class_id, (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    x, y, width, height = values
    if width < 0 or height < 0:
        raise ValueError(f"width and height must not be negative, got {width:g} and {height:g}")
    return class_id, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
