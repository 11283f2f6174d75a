"""Folders that are shown over HTTP: what is in them, and nothing beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def visible_folders(root: Path, depth: int) -> Iterator[Path]:
    """Yield the folders below ``root`` down to a depth, sorted; neither hidden ones nor links."""
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith("."):
            yield folder
            if depth > 1:
                yield from visible_folders(folder, depth - 1)


def file_inside(root: Path, path: str) -> Path | None:
    """Return the file of a relative path where it lies inside ``root`` and nothing of it is hidden, otherwise None."""
    parts = path.split("/")
    if any(part in ("", "..") or part.startswith(".") or "\\" in part or not part.isprintable() for part in parts):
        return None
    try:
        found, inside = root.joinpath(*parts).resolve(), root.resolve()
        return found if found.is_file() and found.is_relative_to(inside) else None
    except (OSError, ValueError):  # a name that is too long
        return None
