"""The class names of a data set, from the files that its format has for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from object_pose.core.errors import DataError

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
TEXT_NAMES = ("classes.txt", "obj.names")
_LEVELS_UP = 3


def find_names_file(folder: Path) -> Path | None:
    """Return the file of class names in a folder or the nearest above it, as far as a YOLO data set reaches."""
    for place in [folder, *folder.resolve().parents][:_LEVELS_UP]:
        for name in (*_YAML_NAMES, *TEXT_NAMES):
            if (place / name).is_file():
                return place / name
    return None


def read_names(file: str | Path) -> tuple[str, ...]:
    """Read class names: ``names`` of a YAML file (list or mapping from ids), or a text file with one a line.

    Raises ``DataError`` naming the file and what is wrong.
    """
    path = Path(file)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as class names: {error}") from error
    if path.suffix.lower() in (".yaml", ".yml"):
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
    try:
        values: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error
    names = values.get("names") if isinstance(values, dict) else values
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{path}: the ids of 'names' must be 0..{len(names) - 1}")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise DataError(f"{path} has no list of class names", "it needs 'names: [first, second, ...]'")
    return [str(name) for name in names]
