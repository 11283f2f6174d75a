"""What the readers of boxes share, whatever their file format: class names and the checks of a box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.io.datasets.samples import Fault, LabelledBoxes
from object_pose.io.files import load_yaml, read_text

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
YAML_SUFFIXES = (".yaml", ".yml")
TEXT_NAMES = ("classes.txt", "obj.names")
_LEVELS_UP = 3


def find_names_file(folder: Path) -> Path | None:
    """Return the file of class names in a folder or the nearest above it, as far as a YOLO data set reaches.

    Of YAML files with other names, such as coco128.yaml, the only one with ``names`` counts.
    """
    for place in [folder, *folder.resolve().parents][:_LEVELS_UP]:
        for name in (*_YAML_NAMES, *TEXT_NAMES):
            if (place / name).is_file():
                return place / name
        others = [file for file in visible_files(place, *YAML_SUFFIXES) if "names" in mapping_or_empty(file)]
        if len(others) == 1:
            return others[0]
    return None


def visible_files(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files of a folder with one of the suffixes, sorted; hidden ones, as macOS leaves, are left out."""
    return sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def mapping_or_empty(file: Path) -> dict[Any, Any]:
    """Read a YAML file's mapping where it may as well be none, or of something else."""
    try:
        return read_yaml_mapping(file)
    except DataError:
        return {}


def read_yaml_mapping(path: Path) -> dict[Any, Any]:
    """Read a YAML file's mapping, empty where it holds something else; raises ``DataError`` where it is no YAML."""
    values = load_yaml(path, DataError, _read_text(path))
    return values if isinstance(values, dict) else {}


def _read_text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as class names: {error}") from error


def read_names(file: str | Path) -> tuple[str, ...]:
    """Read class names: ``names`` of a YAML file (list or mapping from ids), or a text file with one a line.

    Raises ``DataError`` naming the file and what is wrong.
    """
    path = Path(file)
    text = _read_text(path)
    if path.suffix.lower() in YAML_SUFFIXES:
        return check_names(_names_of_yaml(path, text), str(path))
    return check_names([line.strip() for line in text.splitlines() if line.strip()], str(path))


def check_names(names: Sequence[str], source: str) -> tuple[str, ...]:
    """Return class names as a tuple; raises ``DataError`` where there are none, or one twice."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{source} names the class '{repeated[0]}' twice")
    if not names:
        raise DataError(f"{source} names no classes")
    return tuple(names)


def _names_of_yaml(path: Path, text: str) -> list[str]:
    values = load_yaml(path, DataError, text, yaml.BaseLoader)  # a class may be called 'no', 'null' or '007'
    names = values.get("names") if isinstance(values, dict) else values
    if isinstance(names, dict):
        by_id = {int(key) if str(key).isdecimal() else key: name for key, name in names.items()}
        if set(by_id) != set(range(len(names))):
            raise DataError(f"{path}: the ids of 'names' must be 0..{len(names) - 1}")
        names = [by_id[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise DataError(f"{path} has no list of class names", "it needs 'names: [first, second, ...]'")
    return [str(name) for name in names]


# Labels are written with a few digits, so an edge may lie beyond the image's by this much.
_EDGE_TOLERANCE_PX = 1.0


class BoxChecker:
    """Collects the good boxes of one image and the faults of the others."""

    def __init__(self, path: Path, image_wh: tuple[int, int], class_count: int | None, faults: list[Fault]) -> None:
        self.path = path
        self.image_wh = image_wh
        self._wh = np.array(image_wh, dtype=np.float64)
        self._class_count = class_count
        self._faults = faults
        self._seen: dict[tuple[float, ...], int | None] = {}
        self.boxes: list[Array] = []
        self.class_ids: list[int] = []

    def add(self, class_id: int, low_high: Sequence[float], line: int | None, name: str = "box") -> None:
        """Check a box given as x0, y0, x1, y1 in pixels from the image's outer corner, and keep it if it is good."""
        box = np.array(low_high, dtype=np.float64)
        problem = self._problem(class_id, box, name)
        if problem:
            self._faults.append(Fault(self.path, line, problem))
            return
        key = (class_id, *low_high)
        if key in self._seen:
            first = f" of line {self._seen[key]}" if self._seen[key] else ""
            self._faults.append(Fault(self.path, line, f"{name} is a repetition{first}", "warning"))
            return
        self._seen[key] = line
        inside = np.clip(box, 0.0, np.tile(self._wh, 2))
        self.boxes.append(inside - 0.5)
        self.class_ids.append(class_id)

    def sample(self, image: Path) -> LabelledBoxes:
        """Return the image with its good boxes."""
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        return LabelledBoxes(image, self.image_wh, boxes, np.array(self.class_ids, dtype=np.int64))

    def _problem(self, class_id: int, box: Array, name: str) -> str:
        if not np.isfinite(box).all():
            return f"{name} has a number that is not finite"
        if class_id < 0 or (self._class_count is not None and class_id >= self._class_count):
            return f"class id {class_id} is not in 0..{(self._class_count or 1) - 1}"
        if (box[2:] <= box[:2]).any():
            return f"{name} has no area"
        outside = max((-box[:2]).max(), (box[2:] - self._wh).max())
        clipped = np.clip(box, 0.0, np.tile(self._wh, 2))
        if (clipped[2:] <= clipped[:2]).any():
            return f"{name} lies wholly outside the image"
        if outside > _EDGE_TOLERANCE_PX:
            return f"{name} reaches {outside:.0f} px beyond the image of {self._wh[0]:.0f}x{self._wh[1]:.0f}"
        return ""


def empty_class_faults(path: Path, labels: Sequence[str], samples: Sequence[LabelledBoxes]) -> list[Fault]:
    """Return a warning for every class without a box, or one error where there is no box at all."""
    counts = Counter(int(class_id) for sample in samples for class_id in sample.class_ids)
    if not counts:
        return [Fault(path, None, "no image has a box")]
    return [
        Fault(path, None, f"class '{label}' has no box", "warning")
        for class_id, label in enumerate(labels)
        if not counts[class_id]
    ]
