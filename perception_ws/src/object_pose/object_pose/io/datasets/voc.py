"""Pascal VOC data sets: an XML file an image, in ``Annotations`` beside ``JPEGImages``, or beside the image itself."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Sequence
from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.io.datasets.boxes import BoxChecker, check_names, empty_class_faults, visible_files
from object_pose.io.datasets.image_files import duplicate_faults, files_by_stem, headers, image_files
from object_pose.io.datasets.samples import BoxDataset, Fault
from object_pose.io.files import parse_xml, read_text

_FOLDERS = (("Annotations", "JPEGImages"), ("annotations", "images"), ("Annotations", "images"))
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def voc_folders(root: Path) -> tuple[Path, Path] | None:
    """Return the folders of annotations and of images, None where ``root`` is no such data set."""
    for files, images in ((root / first, root / second) for first, second in _FOLDERS):
        if files.is_dir() and images.is_dir() and _xml_files(files):
            return files, images
    beside = visible_files(root, ".xml")
    return (root, root) if beside and any(_objects(file) is not None for file in beside[:1]) else None


def voc_splits(root: Path) -> dict[str, Path]:
    """Return the lists of ``ImageSets/Main`` by name; the folder itself, without a name, where there are none."""
    if voc_folders(root) is None:
        return {}
    lists = {file.stem: file for file in visible_files(root / "ImageSets" / "Main", ".txt")}
    return {name: lists[name] for name in ("train", "val", "test") if name in lists} or {"": root}


def voc_names(place: Path) -> list[str]:
    """Return the names of the classes in all annotations of the data set of a folder or a list in it, sorted."""
    folders = voc_folders(_root(place))
    found = [_objects(file) or [] for file in _xml_files(folders[0])] if folders else []
    return sorted({item.findtext("name", "").strip() for items in found for item in items})


def read_voc(place: Path, labels: Sequence[str] | None = None, thorough: bool = False) -> BoxDataset:
    """Read and check a folder, or a list of ``ImageSets/Main`` in one.

    Classes are the ``labels``, or the names in all annotations, sorted. ``thorough`` decodes every image. Raises
    ``DataError`` where there is nothing to read; what is wrong with files stands in ``faults``.
    """
    root = _root(place)
    folders = voc_folders(root)
    if folders is None:
        raise DataError(f"{root} holds no Pascal VOC annotations")
    faults: list[Fault] = []
    images = files_by_stem(image_files(folders[1], nested=True), folders[1], faults)
    annotations = files_by_stem(_xml_files(folders[0]), folders[0], faults)
    found = {stem: _objects(file) for stem, file in annotations.items()}
    names = list(check_names(labels, "the list of labels")) if labels else voc_names(place)
    wanted = _listed(place, annotations) if place.suffix == ".txt" else sorted({*images, *annotations})
    sizes = headers([images[stem] for stem in wanted if stem in images], thorough, faults)
    samples = []
    for stem in wanted:
        image, file = images.get(stem), annotations.get(stem)
        if image is None:
            faults.append(Fault(file or place, None, "label without image" if file else f"there is no image {stem}"))
            continue
        if file is None:
            faults.append(Fault(image, None, "image without label; it counts as background", "warning"))
        if image in sizes:
            checker = BoxChecker(file or image, sizes[image].wh, len(names), faults)
            if file is not None:
                _add_objects(file, found[stem], names, checker, faults)
            samples.append(checker.sample(image))
    faults += duplicate_faults([sample.path for sample in samples])
    faults += empty_class_faults(place, names, samples)
    return BoxDataset(tuple(names), tuple(samples), tuple(faults))


def _root(place: Path) -> Path:
    """Return the folder of a data set, of which ``place`` may be a list in ``ImageSets/Main``."""
    return place.parents[2] if place.suffix == ".txt" else place


def _xml_files(folder: Path) -> list[Path]:
    """Return the annotations of a folder and of those in it; hidden ones, as macOS leaves, are left out."""
    return sorted(path for path in folder.rglob("*.xml") if not path.name.startswith("."))


def _listed(file: Path, known: Collection[str]) -> list[str]:
    """Return the image names of a list; a class's own list says 1 or -1 behind each, and names may hold blanks."""
    try:
        lines = read_text(file).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as a list of images: {error}") from error
    names = [line.strip() for line in lines if line.strip()]
    return [name if name in known else re.sub(r"\s+(-1|0|1)$", "", name) for name in names]


def _objects(file: Path) -> list[ElementTree.Element] | None:
    """Return the objects of an annotation, None where the file is none."""
    try:
        root = parse_xml(read_text(file))
    except (OSError, ValueError):
        return None
    return root.findall("object") if root.tag == "annotation" else None


def _add_objects(
    file: Path,
    items: Sequence[ElementTree.Element] | None,
    names: Sequence[str],
    checker: BoxChecker,
    faults: list[Fault],
) -> None:
    if items is None:
        faults.append(Fault(file, None, "is no Pascal VOC annotation"))
    for number, item in enumerate(items or (), start=1):
        name = item.findtext("name", "").strip()
        try:
            left, top, right, bottom = (float(item.findtext(f"bndbox/{side}", "")) for side in _SIDES)
        except ValueError:
            faults.append(Fault(file, None, f"object {number} has no bndbox of {', '.join(_SIDES)}"))
            continue
        if name not in names:
            faults.append(Fault(file, None, f"object {number} is of the unknown class '{name}'"))
            continue
        # Pixels are counted from 1, the last one of a box included.
        checker.add(names.index(name), (left - 1.0, top - 1.0, right, bottom), None, f"object {number}")
