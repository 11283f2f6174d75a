"""YOLO data sets: ``images/`` with one text file an image in ``labels/``, lines ``class x y width height`` in 0..1.

A line may go on with keypoints (the YAML file's ``kpt_shape``), or with a confidence and a track id, as trackers write;
other lines of an odd number of values are polygons. Where a file holds a polygon, a line of six values is a triangle.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from object_pose.core.errors import DataError
from object_pose.io.datasets.boxes import (
    TEXT_NAMES,
    YAML_SUFFIXES,
    BoxChecker,
    check_names,
    empty_class_faults,
    find_names_file,
    mapping_or_empty,
    read_names,
    read_yaml_mapping,
    visible_files,
)
from object_pose.io.datasets.image_files import duplicate_faults, files_by_stem, headers, image_files
from object_pose.io.datasets.samples import BoxDataset, Fault, LabelledBoxes
from object_pose.io.files import read_text

_BOX_FIELDS = 5
_LEVELS_TO_TELL_APART = 3
_USUAL_FOLDERS = ("images", "train", "val", "valid", "validation", "test", "..", "")


def read_yolo(
    folder: str | Path,
    labels: Sequence[str] | None = None,
    thorough: bool = False,
    names_file: Path | None = None,
) -> BoxDataset:
    """Read and check a YOLO folder: ``images/`` and ``labels/`` in it, or both kinds of file side by side.

    A folder ``images/train`` belongs to ``labels/train``, and folders in it to those of the same name. Class names
    stand in ``names_file`` or in a ``data.yaml`` or ``classes.txt`` here or above; where there is none they are
    ``labels``, else numbers.
    Polygons become the boxes around them; of keypoints the box counts that stands before them.
    ``thorough`` decodes every image. Raises ``DataError`` only where there is nothing to read; what is wrong with files
    and lines stands in ``faults``.
    """
    root = Path(folder)
    faults: list[Fault] = []
    images, texts = _listed_files(root, faults) if root.suffix == ".txt" else _folder_files(root, faults)
    if not images:
        raise DataError(f"{root} holds no images")
    names_file = names_file or find_names_file(root if root.is_dir() else root.parent)
    names = read_names(names_file) if names_file else None
    if names is None and labels is not None:
        names = check_names(labels, "the list of labels")
    keypoint_values = _keypoint_values(names_file)
    samples = []
    found = headers(images.values(), thorough, faults)
    for stem, image in images.items():
        if image not in found:
            continue
        text = texts.get(stem)
        if text is None:
            faults.append(Fault(image, None, "image without label; it counts as background", "warning"))
        checker = BoxChecker(text or image, found[image].wh, len(names) if names else None, faults)
        samples.append(_read_labels(text, image, checker, keypoint_values, faults))
    faults += duplicate_faults(list(images.values()))
    if names is None:
        faults.append(Fault(root, None, "no data.yaml or classes.txt names the classes", "warning"))
        names = _numbered_names(samples)
    else:
        faults += empty_class_faults(root, names, samples)
    return BoxDataset(names, tuple(samples), tuple(faults))


def _folder_files(root: Path, faults: list[Fault]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return images and label files of a folder, each by the name that the two of a sample share."""
    image_folder, label_folder = yolo_folders(root)
    images = files_by_stem(image_files(image_folder, nested=True), image_folder, faults)
    texts = files_by_stem(_label_files(label_folder), label_folder, faults)
    faults += [Fault(path, None, "label without image") for stem, path in texts.items() if stem not in images]
    return images, texts


def _listed_files(file: Path, faults: list[Fault]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the images that a text file lists, one a line, and their label files."""
    images: dict[str, Path] = {}
    texts: dict[str, Path] = {}
    for line, text in enumerate(_lines(file, faults), start=1):
        name = text.strip().replace("\\", "/")
        image = find_named(file.parent, name, os.path.isfile) if name else None
        if name and image is None:
            faults.append(Fault(file, line, f"image {name} does not exist"))
        elif image is not None:
            images[name] = image
            places = [place for place in (_beside(image.parent), image.parent) if place is not None]
            labels = [place / f"{image.stem}.txt" for place in places]
            texts.update([(name, label) for label in labels if label.is_file()][:1])
    return images, texts


def find_named(folder: Path, name: str, is_there: Callable[[Path], bool]) -> Path | None:
    """Return what a file in ``folder`` names: as it stands, or by its last parts where it is of another machine."""
    parts = name.replace("\\", "/").split("/")
    candidates = [folder / "/".join(parts[first:]) for first in range(len(parts)) if any(parts[first:])]
    return next((path for path in candidates if is_there(path)), None)


def yolo_folders(root: Path) -> tuple[Path, Path]:
    """Return the folders of images and of labels of a YOLO folder; raises ``DataError`` where it is none."""
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist")
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return root / "images", root / "labels"
    beside = _beside(root)
    if beside is not None and beside.is_dir() and image_files(root, nested=True):
        return root, beside
    if {path.stem for path in image_files(root)} & {path.stem for path in visible_files(root, ".txt")}:
        return root, root
    raise DataError(f"{root} is no YOLO data set", "expected the folders images/ and labels/ in it")


def _beside(images: Path) -> Path | None:
    """Return ``.../labels/train`` for ``.../images/train``, or None where no folder above is called ``images``."""
    parts = images.absolute().parts
    if "images" not in parts:
        return None
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


def splits_file(root: Path) -> Path | None:
    """Return the file in ``root`` itself that may name classes and splits: YAML, or Darknet's ``obj.data``."""
    file = find_names_file(root)
    if file is not None and file.parent == root and file.suffix.lower() in YAML_SUFFIXES:
        return file
    return next(iter(visible_files(root, ".data")), None)


def named_classes(file: Path) -> Path | None:
    """Return where the class names stand that belong to a file of ``splits_file``; None where it has none."""
    if file.suffix.lower() != ".data":
        return file
    named = _values(file).get("names")
    return find_named(file.parent, str(named), os.path.isfile) if named else None


def yolo_splits(file: Path) -> dict[str, Path]:
    """Return what ``train``, ``val`` and ``test`` of a YAML file or ``obj.data`` name: folders, or lists of images.

    What does not exist is left out. They start from the file's ``path`` or, where that is of another machine, from
    the file's folder. Of several places of one split the first has its name, others that of their folder behind it.
    """
    root, values = file.parent, _values(file)
    start = find_named(root, str(values["path"]), os.path.isdir) if values.get("path") else None
    starts = [root] if start is None else [start, root]
    splits: dict[str, Path] = {}
    for split, keys in (("train", ("train",)), ("val", ("val", "valid")), ("test", ("test",))):
        named = [values.get(key) for key in keys]
        places = [str(place) for item in named for place in (item if isinstance(item, list) else [item]) if place]
        found: list[Path] = []
        for place in places:
            tried = [find_named(folder, place, _is_folder_or_list) for folder in starts]
            first = next((path for path in tried if path is not None), None)
            if first is not None and first not in found:
                splits[_split_name(split, first, splits)] = first
                found.append(first)
    return splits


def _split_name(split: str, place: Path, taken: Collection[str]) -> str:
    """Return a name for one of a split's places: its own, or with the nearest folder behind it that tells it apart."""
    if split not in taken:
        return split
    parts = [place.stem if place.suffix == ".txt" else place.name, *(parent.name for parent in place.parents)]
    parts = [part for part in parts if part not in _USUAL_FOLDERS][:_LEVELS_TO_TELL_APART]
    names = [part if part.startswith(f"{split}_") else f"{split}_{part}" for part in parts]
    numbered = (f"{split}_{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain(names, numbered) if name not in taken)


def _values(file: Path) -> Mapping[Any, Any]:
    """Return the values of a YAML file or of the lines ``key = value`` of Darknet; empty where it is neither."""
    if file.suffix.lower() in YAML_SUFFIXES:
        return mapping_or_empty(file)
    if file.suffix.lower() != ".data":
        return {}
    pairs = [line.partition("=") for line in _lines(file, [])]
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _is_folder_or_list(path: Path) -> bool:
    return os.path.isdir(path) or _is_list(path)


def _is_list(path: Path) -> bool:
    return path.suffix == ".txt" and os.path.isfile(path)


def _keypoint_values(names_file: Path | None) -> int | None:
    """Return how many values of keypoints follow a box: the product of ``kpt_shape``, None where there are none."""
    if names_file is None or names_file.suffix.lower() not in YAML_SUFFIXES:
        return None
    shape: Mapping[str, object] | object = read_yaml_mapping(names_file).get("kpt_shape")
    if shape is None:
        return None
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) for n in shape) and shape[1] in (2, 3):
        return int(shape[0] * shape[1])
    raise DataError(f"{names_file}: kpt_shape is {shape}", "expected [number of keypoints, 2 or 3]")


def _label_files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*.txt") if path.name not in TEXT_NAMES and not path.name.startswith(".")
    )


def _numbered_names(samples: Sequence[LabelledBoxes]) -> tuple[str, ...]:
    highest = max((int(sample.class_ids.max()) for sample in samples if len(sample.class_ids)), default=-1)
    return tuple(f"class {class_id}" for class_id in range(highest + 1))


def _read_labels(
    file: Path | None, image: Path, checker: BoxChecker, keypoint_values: int | None, faults: list[Fault]
) -> LabelledBoxes:
    width, height = checker.image_wh
    lines = [text.split() for text in (_lines(file, faults) if file else [])]
    has_polygons = any(_is_surely_polygon(fields) for fields in lines)
    for line, fields in enumerate(lines, start=1):
        if not fields:
            continue
        try:
            class_id, box = _parse(fields, keypoint_values, has_polygons)
        except ValueError as error:
            faults.append(Fault(checker.path, line, str(error)))
            continue
        checker.add(class_id, (box[0] * width, box[1] * height, box[2] * width, box[3] * height), line)
    return checker.sample(image)


def _lines(file: Path, faults: list[Fault]) -> list[str]:
    try:
        return read_text(file).splitlines()
    except OSError as error:
        faults.append(Fault(file, None, f"the file cannot be opened: {error.strerror}"))
    except UnicodeDecodeError:
        faults.append(Fault(file, None, "the file is no text"))
    return []


def _parse(
    fields: Sequence[str], keypoint_values: int | None, has_polygons: bool
) -> tuple[int, tuple[float, float, float, float]]:
    """Return class id and x0, y0, x1, y1 in 0..1 of a line; raises ``ValueError`` saying what is wrong with it."""
    class_id, values = _class_id(fields[0]), [_number(field) for field in fields[1:]]
    if _is_polygon(fields, keypoint_values, has_polygons):
        if not all(math.isfinite(value) for value in values):
            return class_id, (math.nan,) * 4
        return class_id, (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    x, y, width, height = values[:4]
    if width < 0 or height < 0:
        raise ValueError(f"width and height must not be negative, got {width:g} and {height:g}")
    return class_id, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _is_surely_polygon(fields: Sequence[str]) -> bool:
    """Whether a line without keypoints is a polygon, and no box with a confidence and the whole number of a track."""
    extra = len(fields) - _BOX_FIELDS
    return extra >= 2 and extra % 2 == 0 and not (extra == 2 and fields[-1].isdecimal())


def _is_polygon(fields: Sequence[str], keypoint_values: int | None, has_polygons: bool) -> bool:
    """Whether a line is a polygon, not a box with or without more; raises ``ValueError`` where it is neither."""
    extra = len(fields) - _BOX_FIELDS
    if keypoint_values is not None:
        if extra not in (0, keypoint_values, keypoint_values + 1):
            raise ValueError(f"expected a box and {keypoint_values} values of keypoints, got {len(fields)} fields")
        return False
    if extra in (0, 1) or (extra == 2 and not has_polygons and not _is_surely_polygon(fields)):
        return False
    if len(fields) % 2 == 0 or extra < 0:
        raise ValueError(f"expected 'class x y width height', got {len(fields)} fields")
    return True


def _class_id(field: str) -> int:
    """Read a class id; other tools write '1.0' or '1e+00' for 1."""
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise ValueError(f"class id '{field}' is not a whole number")
    return int(value)


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError as error:
        raise ValueError(f"'{field}' is not a number") from error
