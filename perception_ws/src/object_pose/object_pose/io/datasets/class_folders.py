"""Data sets of whole-image classes: one folder a class, images in it or below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.io.datasets.image_files import equal_files, headers
from object_pose.io.datasets.samples import ClassDataset, Fault, LabelledImage
from object_pose.io.images import IMAGE_SUFFIXES


def read_class_folders(folder: str | Path, thorough: bool = False) -> ClassDataset:
    """Read and check a folder of class folders; class ids are the folders' places in alphabetical order.

    An empty class and equal images in two classes are errors. ``thorough`` decodes every image. Raises ``DataError``
    where there are no class folders.
    """
    root = Path(folder)
    class_folders = list_class_folders(root)
    faults: list[Fault] = []
    if len(class_folders) == 1:
        faults.append(Fault(root, None, f"only one class, '{class_folders[0].name}'"))
    classes: dict[Path, int] = {}
    for class_id, class_folder in enumerate(class_folders):
        images = _images_below(class_folder, faults)
        if not images:
            faults.append(Fault(class_folder, None, f"class '{class_folder.name}' has no images"))
        classes |= dict.fromkeys(headers(images, thorough, faults), class_id)
    faults += _duplicates(classes)
    samples = tuple(LabelledImage(path, class_id) for path, class_id in classes.items())
    return ClassDataset(tuple(place.name for place in class_folders), samples, tuple(faults))


def list_class_folders(root: Path) -> list[Path]:
    """Return the class folders of a data set, sorted by name; raises ``DataError`` where there are none."""
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist")
    class_folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not class_folders:
        raise DataError(f"{root} has no class folders", "expected one folder a class, with images in it")
    return class_folders


def _images_below(class_folder: Path, faults: list[Fault]) -> list[Path]:
    images = []
    for path in sorted(class_folder.rglob("*")):
        if path.is_dir() or path.name.startswith("."):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        else:
            faults.append(Fault(path, None, "is no image; it is left out", "warning"))
    return images


def _duplicates(classes: Mapping[Path, int]) -> list[Fault]:
    faults = []
    for group in equal_files(list(classes)):
        for path in group[1:]:
            same_class = classes[path] == classes[group[0]]
            what = "has the same contents as" if same_class else "is of another class than its equal"
            faults.append(Fault(path, None, f"{what} {group[0]}", "warning" if same_class else "error"))
    return faults
