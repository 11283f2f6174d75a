"""Data sets of CVAT: one ``annotations.xml`` for all images ("CVAT for images"), which lie in folders beside it."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from object_pose.core.errors import DataError
from object_pose.io.datasets.boxes import BoxChecker, check_names, empty_class_faults
from object_pose.io.datasets.image_files import duplicate_faults, headers, image_files
from object_pose.io.datasets.samples import BoxDataset, Fault
from object_pose.io.files import parse_xml, read_text

_FILE = "annotations.xml"
_NO_SHAPES = ("attribute", "tag")
Sides = tuple[float, float, float, float]


def cvat_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each subset of images by its name, the root itself where there are none.

    Empty where ``root`` is no such data set; raises ``DataError`` for the export of a video, which has no images.
    """
    if not (root / _FILE).is_file():
        return {}
    document = _document(root / _FILE)
    if document is None:
        return {}
    if document.find("track") is not None:
        raise DataError(f"{root / _FILE} has the tracks of a video", "export the task as 'CVAT for images'")
    if document.find("image") is None:
        return {}
    subsets = {image.get("subset", "") for image in document.iterfind("image")}
    folders = {name: root / "images" / name for name in sorted(subsets - {""})}
    if len(folders) < 2 or "" in subsets or not all(folder.is_dir() for folder in folders.values()):
        return {"": root}
    return {name.lower(): folder for name, folder in folders.items()}


def cvat_names(place: Path) -> list[str]:
    """Return the labels that the file declares, or else those of its shapes, sorted."""
    document = _document(_file_of(place)[0])
    if document is None:
        return []
    declared = {label.findtext("name", "").strip() for label in document.iterfind("meta//labels/label")} - {""}
    drawn = {_label(shape) for image in document.iterfind("image") for shape in image} - {""}
    return sorted(declared or drawn)


def read_cvat(place: Path, labels: Sequence[str] | None = None, thorough: bool = False) -> BoxDataset:
    """Read and check a folder with ``annotations.xml``, or one of its subsets; shapes get the boxes around them.

    Classes are the ``labels``, or those that the file declares. ``thorough`` decodes every image. Raises ``DataError``
    where there is nothing to read; what is wrong with files stands in ``faults``.
    """
    file, subset = _file_of(place)
    document = _document(file)
    if document is None:
        raise DataError(f"{file} holds no annotations of CVAT")
    faults: list[Fault] = []
    names = check_names(labels or cvat_names(place), str(file))
    items = [item for item in document.iterfind("image") if not subset or item.get("subset") == subset]
    beside = image_files(place, nested=True)
    found = _find_images(items, beside, file, faults)
    sizes = headers(found, thorough, faults)
    samples = []
    for path, item in found.items():
        if path not in sizes:
            continue
        checker = BoxChecker(path, sizes[path].wh, len(names), faults)
        for number, shape in enumerate((part for part in item if part.tag not in _NO_SHAPES), start=1):
            _add_shape(shape, f"shape {number}", names, checker, faults)
        samples.append(checker.sample(path))
    unlabelled = sorted(set(beside) - set(found))
    faults += [Fault(path, None, "image without label", "warning") for path in unlabelled]
    faults += duplicate_faults([sample.path for sample in samples])
    faults += empty_class_faults(file, names, samples)
    return BoxDataset(names, tuple(samples), tuple(faults))


def _file_of(place: Path) -> tuple[Path, str]:
    """Return the file of a place, and the subset where the place is the folder of one."""
    if (place / _FILE).is_file():
        return place / _FILE, ""
    return place.parents[1] / _FILE, place.name


def _document(file: Path) -> ElementTree.Element | None:
    """Return what a file of CVAT holds, None where it is none."""
    try:
        root = parse_xml(read_text(file))
    except (OSError, ValueError):
        return None
    return root if root.tag == "annotations" else None


def _find_images(
    items: Iterable[ElementTree.Element], files: Sequence[Path], file: Path, faults: list[Fault]
) -> dict[Path, ElementTree.Element]:
    """Return the element of each image file; a name holds the folders of an image as far as the task knew them."""
    by_name: Mapping[str, list[Path]] = defaultdict(list)
    for path in files:
        by_name[path.name].append(path)
    found: dict[Path, ElementTree.Element] = {}
    for item in items:
        parts = PurePosixPath(item.get("name", "").replace("\\", "/")).parts
        candidates = [path for path in by_name[parts[-1]] if path.parts[-len(parts) :] == parts] if parts else []
        # One name may stand in several subsets.
        candidates.sort(key=lambda path: item.get("subset", "") not in path.parts)
        if not candidates:
            faults.append(Fault(file, None, f"label without image: {item.get('name', '')} does not exist"))
        elif candidates[0] in found:
            faults.append(Fault(file, None, f"{item.get('name')} is described twice"))
        else:
            found[candidates[0]] = item
    return found


def _add_shape(
    shape: ElementTree.Element, name: str, names: Sequence[str], checker: BoxChecker, faults: list[Fault]
) -> None:
    label = _label(shape)
    if label not in names:
        faults.append(Fault(checker.path, None, f"{name} has the unknown label '{label}'"))
        return
    try:
        sides = _sides(shape, checker.image_wh)
    except (ValueError, OverflowError):
        faults.append(Fault(checker.path, None, f"{name}, a {shape.tag}, has no numbers where its corners should be"))
        return
    if sides is None:
        text = f"{name} is a {shape.tag}, which has no box; it is left out"
        faults.append(Fault(checker.path, None, text, "warning"))
        return
    checker.add(names.index(label), sides, None, name)


def _label(shape: ElementTree.Element) -> str:
    return shape.get("label", "").strip()


def _sides(shape: ElementTree.Element, image_wh: tuple[int, int]) -> Sides | None:
    """Return the box around a shape, x0, y0, x1, y1 from the image's outer corner; None for lines and points."""

    def number(key: str, default: str = "") -> float:
        return float(shape.get(key, default))

    if shape.tag == "polygon":
        points = [tuple(map(float, point.split(","))) for point in shape.get("points", "").split(";")]
        xs, ys = zip(*points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)
    if shape.tag == "mask":
        left, top = number("left"), number("top")
        return left, top, left + number("width"), top + number("height")
    angle = math.radians(number("rotation", "0"))
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    if shape.tag == "box":
        left, top, right, bottom = (number(key) for key in ("xtl", "ytl", "xbr", "ybr"))
        if not angle:
            return left, top, right, bottom
        width, height = right - left, bottom - top
        half = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
        return _inside((left + right) / 2, (top + bottom) / 2, half, image_wh)
    if shape.tag == "ellipse":
        rx, ry = number("rx"), number("ry")
        half = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
        return _inside(number("cx"), number("cy"), half, image_wh)
    return None


def _inside(x: float, y: float, half: tuple[float, float], image_wh: tuple[int, int]) -> Sides:
    """Return the part in the image of a box around (x, y): what is turned may reach beyond it."""
    left, top, right, bottom = x - half[0], y - half[1], x + half[0], y + half[1]
    return max(left, 0.0), max(top, 0.0), min(right, float(image_wh[0])), min(bottom, float(image_wh[1]))
