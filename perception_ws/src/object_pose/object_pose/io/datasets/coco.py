"""COCO data sets: one JSON file of ``images``, ``annotations`` and ``categories``, boxes ``[x, y, width, height]``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import DataError
from object_pose.io.datasets.boxes import (
    BoxChecker,
    check_names,
    empty_class_faults,
)
from object_pose.io.datasets.image_files import ImageHeader, duplicate_faults, headers, image_files
from object_pose.io.datasets.located_json import LocatedJson, read_located_json
from object_pose.io.datasets.samples import BoxDataset, Fault

_LONGEST_SHIFT = 60
_SECTIONS = ("images", "annotations", "categories")


def read_coco(file: str | Path, images: str | Path | None = None, thorough: bool = False) -> BoxDataset:
    """Read and check a COCO file; class ids are the categories' places in the order of their own ids.

    ``images`` is the folder that file names start from; without it the usual places are searched. ``thorough`` decodes
    every image. Raises ``DataError`` where the file is not COCO at all; what is wrong inside stands in ``faults``.
    """
    path = Path(file)
    document = read_located_json(path)
    for section in _SECTIONS:
        if not isinstance(document.values.get(section), list):
            raise DataError(f"{path} has no list '{section}'", "is this a COCO file?")
    faults: list[Fault] = []
    classes, names = _categories(path, document)
    entries = _image_entries(path, document, faults)
    if images is None:
        folder, entries = _found_images(path, entries)
    else:
        folder = Path(images)
    found = headers(_existing(path, folder, entries, faults), thorough, faults)
    checkers = _checkers(path, folder, entries, found, len(names), faults)
    for index, values in enumerate(document.values["annotations"]):
        _add_annotation(path, document.line("annotations", index), values, classes, entries, checkers, faults)
    samples = [checkers[key].sample(folder / entry.name) for key, entry in entries.items() if key in checkers]
    listed = {folder / entry.name for entry in entries.values()}
    for other in image_files(folder):
        if other not in listed:
            faults.append(Fault(other, None, f"image without label: {path.name} does not list it", "warning"))
    faults += duplicate_faults([sample.path for sample in samples])
    faults += empty_class_faults(path, names, samples)
    return BoxDataset(names, tuple(samples), tuple(faults))


@dataclass(frozen=True)
class _ImageEntry:
    """An image of the file; ``wh`` is None where the file does not say its size."""

    name: str
    wh: tuple[int, int] | None
    line: int | None


def _key(value: Any) -> Any:
    """Return an id as it is compared: some tools write 10 in one place and "10" in another."""
    hash(value)
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _categories(path: Path, document: LocatedJson) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Return the class id of each category, and the class names, in the order of the categories' own ids."""
    try:
        items = {_key(item["id"]): str(item["name"]) for item in document.values["categories"]}
        ordered = sorted(items, key=lambda key: (isinstance(key, str), key))
        parents = {_key(item["id"]): str(item.get("supercategory")) for item in document.values["categories"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} has a category without a valid id and name") from error
    if len(items) != len(document.values["categories"]):
        raise DataError(f"{path} has two categories of one id")
    used = {_key(a["category_id"]) for a in document.values["annotations"] if _has_plain_category(a)}
    names = list(items.values())
    # Roboflow adds the project as a root: without boxes, the others' parent, and perhaps called as one of them.
    unused = [key for key in ordered if key not in used and names.count(items[key]) > 1]
    roots = [key for key in unused if items[key] in parents.values() and parents[key] != items[key]]
    kept = [key for key in ordered if key not in roots[:1]]
    return {key: index for index, key in enumerate(kept)}, check_names([items[key] for key in kept], str(path))


def _has_plain_category(annotation: Any) -> bool:
    return isinstance(annotation, dict) and isinstance(annotation.get("category_id"), (int, str, float))


def _image_entries(path: Path, document: LocatedJson, faults: list[Fault]) -> dict[Any, _ImageEntry]:
    entries: dict[Any, _ImageEntry] = {}
    names: set[str] = set()
    for index, values in enumerate(document.values["images"]):
        line = document.line("images", index)
        try:
            key, name = _key(values["id"]), str(values["file_name"]).replace("\\", "/")
            sides = [values.get(side) for side in ("width", "height")]
            size = None if None in sides else (int(sides[0]), int(sides[1]))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            faults.append(Fault(path, line, "an image needs id and file_name, and width and height as numbers if any"))
            continue
        if key in entries or name in names:
            what = f"id {key}" if key in entries else f"file {name}"
            faults.append(Fault(path, line, f"a second image has the {what}"))
            continue
        names.add(name)
        entries[key] = _ImageEntry(name, size, line)
    return entries


def _found_images(path: Path, entries: dict[Any, _ImageEntry]) -> tuple[Path, dict[Any, _ImageEntry]]:
    """Return the folder that a file name is found in, and the entries with names from there on.

    Names from another machine count by their last part, where those differ. Raises ``DataError`` naming the folders
    that were searched.
    """
    split = path.stem.removeprefix("instances_")
    above = path.parent.parent
    places = [path.parent, path.parent / "images", above / "images", above / split, above / "images" / split]
    last = {key: replace(entry, name=entry.name.rpartition("/")[2]) for key, entry in entries.items()}
    are_distinct = len({entry.name for entry in last.values()}) == len(last)
    for named in (entries, last) if are_distinct else (entries,):
        for place in places:
            if any(os.path.isfile(place / entry.name) for entry in named.values()):
                return place, named
    if not entries:
        return path.parent, entries
    searched = ", ".join(str(place) for place in places)
    raise DataError(f"the images of {path} are not found", f"name their folder; searched {searched}")


def _existing(path: Path, folder: Path, entries: Mapping[Any, _ImageEntry], faults: list[Fault]) -> list[Path]:
    existing = []
    for entry in entries.values():
        if os.path.isfile(folder / entry.name):
            existing.append(folder / entry.name)
        else:
            faults.append(Fault(path, entry.line, f"label without image: {folder / entry.name} does not exist"))
    return existing


def _checkers(
    path: Path,
    folder: Path,
    entries: Mapping[Any, _ImageEntry],
    found: Mapping[Path, ImageHeader],
    class_count: int,
    faults: list[Fault],
) -> dict[Any, BoxChecker]:
    checkers = {}
    for key, entry in entries.items():
        header = found.get(folder / entry.name)
        if header is None:
            continue
        if entry.wh is not None and header.wh != entry.wh:
            is_wh, said = f"{header.wh[0]}x{header.wh[1]}", f"{entry.wh[0]}x{entry.wh[1]}"
            faults.append(Fault(path, entry.line, f"image {entry.name} is {is_wh}, not {said}"))
            continue
        checkers[key] = BoxChecker(path, header.wh, class_count, faults)
    return checkers


def _add_annotation(
    path: Path,
    line: int | None,
    values: Any,
    classes: Mapping[Any, int],
    entries: Mapping[Any, _ImageEntry],
    checkers: Mapping[Any, BoxChecker],
    faults: list[Fault],
) -> None:
    try:
        key, category = _key(values["image_id"]), _key(values["category_id"])
        box = values.get("bbox") or _box_around(values.get("segmentation"))
        x, y, width, height = (float(value) for value in box)
        known_image, class_id = key in entries, classes.get(category)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError):
        faults.append(Fault(path, line, "an annotation needs image_id, category_id and bbox [x, y, width, height]"))
        return
    name = f"box of annotation {values.get('id', '?')}"
    if not known_image:
        faults.append(Fault(path, line, f"{name}: label without image, no image has the id {key!r}"))
    elif class_id is None:
        faults.append(Fault(path, line, f"{name}: no category has the id {category!r}"))
    elif values.get("iscrowd"):
        faults.append(Fault(path, line, f"{name} is of a crowd; it is left out", "warning"))
    elif key in checkers:
        checkers[key].add(class_id, (x, y, x + width, y + height), line, name)


def _box_around(segmentation: Any) -> tuple[float, float, float, float]:
    """Return [x, y, width, height] of polygons, or of a mask in run lengths by columns; raises ``ValueError``."""
    if isinstance(segmentation, Mapping):
        height = int(segmentation["size"][0])
        ends = np.cumsum(_run_lengths(segmentation["counts"]))
        filled = [(start, end - 1) for start, end in zip(ends[:-1:2], ends[1::2]) if end > start]
        if not filled or height <= 0:
            raise ValueError("an empty mask")
        columns = [place // height for run in filled for place in run]
        rows = [row for start, end in filled for row in _rows_of_run(int(start), int(end), height)]
        left, top = min(columns), min(rows)
        return left, top, max(columns) + 1 - left, max(rows) + 1 - top
    corners = np.array([float(value) for polygon in segmentation for value in polygon]).reshape(-1, 2)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return (*low, *(high - low))


def _rows_of_run(start: int, end: int, height: int) -> tuple[int, int]:
    """Return the first and last row that a run of places, counted down the columns, covers."""
    return (0, height - 1) if start // height != end // height else (start % height, end % height)


def _run_lengths(counts: Any) -> list[int]:
    """Return run lengths that COCO may pack as text: six bits a character, the differences from the one before last."""
    if not isinstance(counts, str):
        return [int(count) for count in counts]
    lengths: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if shift > _LONGEST_SHIFT:
            raise ValueError("a run length beyond all images")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths
