"""Which kind of data set a path is, and which splits it has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.io.datasets.bop_checks import bop_scenes
from object_pose.io.datasets.class_folders import list_class_folders
from object_pose.io.datasets.image_files import image_files
from object_pose.io.datasets.mask_pairs import mask_folders
from object_pose.io.datasets.yolo import yolo_folders

SPLIT_NAMES = ("train", "val", "valid", "validation", "test")
_PEEK_BYTES = 1 << 16


@dataclass(frozen=True)
class Layout:
    """The kind of a data set (yolo, coco, masks, classes or bop) and its splits by name; one without a name is ''."""

    kind: str
    splits: Mapping[str, Path]


def find_layout(path: str | Path) -> Layout:
    """Tell what kind of data set is at ``path``; raises ``DataError`` saying what would be one."""
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist")
    if root.is_file():
        if coco_file(root) is None:
            raise DataError(f"{root} is no COCO file", "name a folder, or a JSON file of images and annotations")
        return Layout("coco", {"": root})
    for kind, find in _FINDERS.items():
        splits = find(root)
        if splits:
            return Layout(kind, splits)
    raise DataError(
        f"{root} is no data set of a known kind",
        "known: images/ with labels/ (YOLO) or masks/, a COCO file, one folder a class, BOP scenes",
    )


def coco_file(path: Path) -> Path | None:
    """Return the COCO file that ``path`` is or holds, None where there is none or several."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" and _looks_like_coco(path) else None
    found = [file for file in sorted(path.glob("*.json")) if _looks_like_coco(file)]
    return found[0] if len(found) == 1 else None


def _looks_like_coco(file: Path) -> bool:
    """Whether a JSON file may be COCO: a small one is parsed, of a large one the beginning tells."""
    if file.stat().st_size <= _PEEK_BYTES:
        try:
            values = json.loads(file.read_text())
        except (OSError, ValueError):
            return False
        return isinstance(values, dict) and {"images", "annotations"} <= values.keys()
    with file.open("rb") as opened:
        start = opened.read(_PEEK_BYTES)
    return start.lstrip().startswith(b"{") and any(key in start for key in (b'"images"', b'"annotations"'))


def _bop(root: Path) -> dict[str, Path]:
    return {"": root} if bop_scenes(root) else {}


def _yolo(root: Path) -> dict[str, Path]:
    below_images = {name: root / "images" / name for name in SPLIT_NAMES if (root / "images" / name).is_dir()}
    return _where(below_images, _is_yolo) or _splits(root, _is_yolo)


def _coco(root: Path) -> dict[str, Path]:
    splits = _splits(root, lambda place: coco_file(place) is not None)
    if splits or not (root / "annotations").is_dir():
        return splits
    files = [file for file in sorted((root / "annotations").glob("*.json")) if _looks_like_coco(file)]
    return {file.stem.removeprefix("instances_"): file for file in files}


def _masks(root: Path) -> dict[str, Path]:
    return _splits(root, lambda place: _succeeds(mask_folders, place))


def _classes(root: Path) -> dict[str, Path]:
    splits = _where({name: root / name for name in SPLIT_NAMES}, _has_class_folders)
    return splits or ({"": root} if _has_class_folders(root) else {})


_FINDERS: dict[str, Callable[[Path], dict[str, Path]]] = {
    "bop": _bop,
    "yolo": _yolo,
    "coco": _coco,
    "masks": _masks,
    "classes": _classes,
}


def _splits(root: Path, accepts: Callable[[Path], bool]) -> dict[str, Path]:
    """Return ``root`` itself, or those of its folders that are called as splits are."""
    if accepts(root):
        return {"": root}
    return _where({name: root / name for name in SPLIT_NAMES}, accepts)


def _where(places: Mapping[str, Path], accepts: Callable[[Path], bool]) -> dict[str, Path]:
    return {name: place for name, place in places.items() if place.is_dir() and accepts(place)}


def _is_yolo(place: Path) -> bool:
    return _succeeds(yolo_folders, place)


def _has_class_folders(root: Path) -> bool:
    """Whether folders stand in ``root`` and one of them has images; there are none beside them."""
    if image_files(root) or not _succeeds(list_class_folders, root):
        return False
    return any(image_files(folder) for folder in list_class_folders(root))


def _succeeds(find: Callable[[Path], object], place: Path) -> bool:
    try:
        find(place)
    except DataError:
        return False
    return True
