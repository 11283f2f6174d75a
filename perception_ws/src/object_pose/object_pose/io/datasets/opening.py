"""Data sets on disk: which kind a path is, which splits it has, and their samples."""

from __future__ import annotations

import codecs
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.io.bop import bop_scenes, is_bop_scene
from object_pose.io.datasets.boxes import YAML_SUFFIXES, visible_files
from object_pose.io.datasets.class_folders import list_class_folders, read_class_folders
from object_pose.io.datasets.coco import read_coco
from object_pose.io.datasets.cvat import cvat_names, cvat_splits, read_cvat
from object_pose.io.datasets.image_files import image_files
from object_pose.io.datasets.labelme import is_labelme, labelme_names, read_labelme
from object_pose.io.datasets.mask_pairs import mask_folders, read_mask_pairs
from object_pose.io.datasets.samples import BoxDataset, ClassDataset, Dataset, Fault, MaskDataset
from object_pose.io.datasets.voc import read_voc, voc_folders, voc_names, voc_splits
from object_pose.io.datasets.yolo import named_classes, read_yolo, splits_file, yolo_folders, yolo_splits
from object_pose.io.files import read_text

BOX_KINDS = ("yolo", "coco", "voc", "cvat", "labelme")
SPLIT_NAMES = ("train", "val", "valid", "validation", "test")
_PEEK_BYTES = 1 << 16


@dataclass(frozen=True)
class Layout:
    """A data set's kind (a key of ``_FINDERS``) and its splits by name; one without is ''.

    ``names_file`` holds the classes of a YOLO set whose YAML file, or Darknet's obj.data, names the splits.
    """

    kind: str
    splits: Mapping[str, Path]
    names_file: Path | None = None


def find_layout(path: str | Path) -> Layout:
    """Tell what kind of data set is at ``path``; raises ``DataError`` saying what would be one."""
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist")
    if root.is_file():
        return _layout_of_file(root)
    for kind, find in _FINDERS.items():
        splits = find(root)
        if splits:
            file = splits_file(root) if kind == "yolo" else None
            return Layout(kind, splits, file and named_classes(file))
    inside = [path for path in root.iterdir() if not path.name.startswith((".", "__"))]
    if len(inside) == 1 and inside[0].is_dir():  # as archives are unpacked
        return find_layout(inside[0])
    raise DataError(
        f"{root} is no data set of a known kind",
        "known: images/ with labels/ (YOLO) or masks/, COCO, Pascal VOC, CVAT, labelme, one folder a class, BOP scenes",
    )


def _layout_of_file(file: Path) -> Layout:
    if file.suffix.lower() in (*YAML_SUFFIXES, ".data"):
        splits = {name: place for name, place in yolo_splits(file).items() if place.is_file() or _is_yolo(place)}
        if not splits:
            raise DataError(f"{file} names no YOLO folders that exist", "expected train, val or test in it")
        return Layout("yolo", splits, named_classes(file))
    if is_bop_scene(file):
        return Layout("bop", {"": file})
    if coco_file(file) is None:
        raise DataError(
            f"{file} is no COCO file",
            "name a folder, a JSON file of images and annotations, a data.yaml, or a BOP scene_camera_SENSOR.json",
        )
    return Layout("coco", {"": file})


def coco_file(path: Path) -> Path | None:
    """Return the COCO file that ``path`` is or holds, None where there is none or several."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" and _looks_like_coco(path) else None
    found = [file for file in visible_files(path, ".json") if _looks_like_coco(file)]
    return found[0] if len(found) == 1 else None


def _looks_like_coco(file: Path) -> bool:
    """Whether a JSON file may be COCO: a small one is parsed, of a large one the beginning tells."""
    if file.stat().st_size <= _PEEK_BYTES:
        try:
            values = json.loads(read_text(file))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(values, dict) and {"images", "annotations", "categories"} <= values.keys()
    with file.open("rb") as opened:
        start = opened.read(_PEEK_BYTES)
    start = start.removeprefix(codecs.BOM_UTF8).lstrip()
    return start.startswith(b"{") and any(key in start for key in (b'"images"', b'"annotations"'))


def _bop(root: Path) -> dict[str, Path]:
    # Scenes far below belong to a data set beside others, and looking for them would list all images.
    return {"": root} if bop_scenes(root, far_below=False) else {}


def _yolo(root: Path) -> dict[str, Path]:
    file = splits_file(root)
    named = yolo_splits(file) if file is not None else {}
    named = {name: place for name, place in named.items() if place.is_file() or _is_yolo(place)}
    if named:
        return named
    below_images = {name: root / "images" / name for name in SPLIT_NAMES if (root / "images" / name).is_dir()}
    return _where(below_images, _is_yolo) or _splits(root, _is_yolo)


def _coco(root: Path) -> dict[str, Path]:
    splits = _splits(root, lambda place: coco_file(place) is not None)
    if splits or not (root / "annotations").is_dir():
        return splits
    files = [file for file in visible_files(root / "annotations", ".json") if _looks_like_coco(file)]
    boxes = [file for file in files if file.stem.startswith("instances_")]  # beside captions and keypoints
    files = boxes or files
    return {file.stem.removeprefix("instances_"): file for file in files}


def _voc(root: Path) -> dict[str, Path]:
    if voc_folders(root):
        return voc_splits(root)
    years = [place for place in sorted([*root.glob("VOCdevkit/VOC*"), *root.glob("VOC*")]) if voc_folders(place)]
    if len(years) == 1:
        return voc_splits(years[0])
    if years:
        splits = [(name, year, place) for year in years for name, place in voc_splits(year).items()]
        return {f"{name}_{year.name}".lstrip("_"): place for name, year, place in splits}
    return _splits(root, lambda place: voc_folders(place) is not None)


def _cvat(root: Path) -> dict[str, Path]:
    subset = [place for place in cvat_splits(root.parent.parent).values() if place == root]
    return {"": root} if subset else cvat_splits(root)


def _masks(root: Path) -> dict[str, Path]:
    return _splits(root, lambda place: _succeeds(mask_folders, place))


def _classes(root: Path) -> dict[str, Path]:
    splits = _where({name: root / name for name in SPLIT_NAMES}, _has_class_folders)
    return splits or ({"": root} if _has_class_folders(root) else {})


_FINDERS: dict[str, Callable[[Path], dict[str, Path]]] = {
    "bop": _bop,
    "yolo": _yolo,
    "coco": _coco,
    "voc": _voc,
    "cvat": _cvat,
    "labelme": lambda root: _splits(root, is_labelme),
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
    """Whether folders stand in ``root`` and one of them has images, but none beside them and no labels."""
    if image_files(root) or not _succeeds(list_class_folders, root):
        return False
    folders = list_class_folders(root)
    if any(folder.name.lower() in _NO_CLASSES or _has_labels(folder) for folder in folders):
        return False
    return any(image_files(folder) for folder in folders)


_NO_CLASSES = ("images", "labels", "annotations", "masks", "jpegimages")


def _has_labels(folder: Path) -> bool:
    """Whether files of labels stand beside the images of a folder, or folders of masks beside it."""
    stems = {path.stem for path in visible_files(folder, ".txt", ".xml", ".json")}
    return bool(stems & {path.stem for path in image_files(folder)}) or _succeeds(mask_folders, folder)


def _succeeds(find: Callable[[Path], object], place: Path) -> bool:
    try:
        find(place)
    except DataError:
        return False
    return True


@dataclass(frozen=True)
class OpenedDataset:
    """A data set's kind (see ``Layout``) and its splits by name; one without a name is ''."""

    kind: str
    splits: Mapping[str, Dataset]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of all splits."""
        return tuple(fault for dataset in self.splits.values() for fault in dataset.faults)

    def joined_splits(self) -> dict[str, Dataset]:
        """Return the splits with those joined that are parts of one: train and train_siteB of YOLO, years of VOC."""
        if self.kind not in ("yolo", "voc"):
            return dict(self.splits)
        parts: dict[str, list[Dataset]] = {}
        for name, dataset in self.splits.items():
            split = next((split for split in SPLIT_NAMES if name.startswith(f"{split}_")), name)
            parts.setdefault(split, []).append(dataset)
        return {split: items[0] if len(items) == 1 else join_splits(items) for split, items in parts.items()}


def open_dataset(
    path: str | Path,
    labels: Sequence[str] | None = None,
    images: str | Path | None = None,
    thorough: bool = False,
) -> OpenedDataset:
    """Read and check every split of a data set; see the readers of its kind for the arguments.

    Raises ``DataError`` where there is none, and for BOP, which is no set of single images.
    """
    layout = find_layout(path)
    if layout.kind == "bop":
        raise DataError(f"{path} is a BOP data set", "only 'object-pose dataset check' takes those")
    if layout.kind in _NAMES and labels is None:  # one split may lack a class
        labels = sorted({name for place in layout.splits.values() for name in _NAMES[layout.kind](place)}) or None
    splits = {name: _read(layout, place, labels, images, thorough) for name, place in layout.splits.items()}
    return OpenedDataset(layout.kind, _with_equal_numbers(splits) if layout.kind == "yolo" else splits)


def join_splits(splits: Sequence[Dataset]) -> Dataset:
    """Return all samples and faults as one data set; raises ``DataError`` for splits with different classes."""
    first = splits[0]
    faults = tuple(fault for dataset in splits for fault in dataset.faults)
    if isinstance(first, MaskDataset):
        pairs = tuple(pair for dataset in splits if isinstance(dataset, MaskDataset) for pair in dataset.samples)
        return MaskDataset(pairs, faults)
    if any(getattr(dataset, "labels", ()) != first.labels for dataset in splits):
        raise DataError("the splits have different classes")
    if isinstance(first, BoxDataset):
        boxes = tuple(sample for dataset in splits if isinstance(dataset, BoxDataset) for sample in dataset.samples)
        return BoxDataset(first.labels, boxes, faults)
    images = tuple(sample for dataset in splits if isinstance(dataset, ClassDataset) for sample in dataset.samples)
    return ClassDataset(first.labels, images, faults)


# What lists the classes of data sets that name them only in their annotations.
_NAMES: dict[str, Callable[[Path], list[str]]] = {"voc": voc_names, "cvat": cvat_names, "labelme": labelme_names}


def _read(
    layout: Layout, place: Path, labels: Sequence[str] | None, images: str | Path | None, thorough: bool
) -> Dataset:
    if layout.kind == "masks":
        return read_mask_pairs(place, thorough)
    if layout.kind == "classes":
        return read_class_folders(place, thorough)
    return _read_boxes(layout, place, labels, images, thorough)


def _read_boxes(
    layout: Layout, place: Path, labels: Sequence[str] | None, images: str | Path | None, thorough: bool
) -> BoxDataset:
    if layout.kind == "yolo":
        return read_yolo(place, labels, thorough, layout.names_file)
    if layout.kind == "voc":
        return read_voc(place, labels, thorough)
    if layout.kind == "cvat":
        return read_cvat(place, labels, thorough)
    if layout.kind == "labelme":
        return read_labelme(place, labels, thorough)
    file = coco_file(place)
    if file is None:
        raise DataError(f"{place} holds no COCO file")
    return read_coco(file, images, thorough)


def _with_equal_numbers(splits: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Where classes have numbers for names, give every split those of the split with most."""
    boxes = {name: dataset for name, dataset in splits.items() if isinstance(dataset, BoxDataset)}
    longest = max((dataset.labels for dataset in boxes.values()), key=len)
    return {
        name: dataclasses.replace(dataset, labels=longest)
        if dataset.labels == longest[: len(dataset.labels)]
        else dataset
        for name, dataset in boxes.items()
    }


def read_boxes(
    path: str | Path,
    labels: Sequence[str] | None = None,
    images: str | Path | None = None,
    thorough: bool = False,
) -> BoxDataset:
    """Read and check one split of boxes: YOLO, COCO, Pascal VOC, CVAT or labelme.

    ``labels`` names the classes where a YOLO folder does not; ``images`` is the folder of a COCO file's images.
    Raises ``DataError`` where there is no such data set, or several splits of one.
    """
    layout = find_layout(path)
    if layout.kind not in BOX_KINDS:
        raise DataError(
            f"{path} is a data set of {layout.kind}, not of boxes", "expected YOLO, COCO, Pascal VOC, CVAT or labelme"
        )
    if len(layout.splits) > 1:
        names = ", ".join(layout.splits)
        raise DataError(f"{path} holds the splits {names}", f"name one, such as {next(iter(layout.splits.values()))}")
    return _read_boxes(layout, next(iter(layout.splits.values())), labels, images, thorough)
