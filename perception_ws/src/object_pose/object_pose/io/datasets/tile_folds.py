"""Cross-validation folds of aerial tiles: by column of the tile grid, so that neighbours above and below stay together.

Tiles are named as XYZ maps do, ``X-Y.png`` or ``Z-X-Y.png``.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from object_pose.core.errors import ConfigError
from object_pose.io.datasets.samples import MaskDataset

_NUMBER = re.compile(r"\d+")


def tile_column(path: Path) -> str:
    """Return the key of a tile's column: X of its name, or the whole name where that holds no X and Y."""
    numbers = _NUMBER.findall(path.stem)
    return str(numbers[-2]) if len(numbers) >= 2 else path.stem


def fold_of_column(columns: list[str], folds: int) -> dict[str, int]:
    """Return the fold of each column: they are sorted and dealt out in turn."""
    order = sorted(set(columns), key=lambda name: (len(name), name))
    return {name: index % folds for index, name in enumerate(order)}


def split_tiles(dataset: MaskDataset, folds: int, fold: int) -> tuple[MaskDataset, MaskDataset]:
    """Return what to learn from and what fold number ``fold`` of ``folds`` holds out; -1 holds nothing out.

    Raises ``ConfigError`` for a fold that does not exist or that holds no tile.
    """
    if not -1 <= fold < folds:
        raise ConfigError(f"fold {fold} does not exist", f"choose one of 0..{folds - 1}, or -1 to hold nothing out")
    columns = [tile_column(pair.image_path) for pair in dataset.samples]
    owner = fold_of_column(columns, folds)
    held_out = tuple(pair for pair, name in zip(dataset.samples, columns) if owner[name] == fold)
    kept = tuple(pair for pair, name in zip(dataset.samples, columns) if owner[name] != fold)
    if fold >= 0 and not (held_out and kept):
        raise ConfigError(f"fold {fold} of {folds} is empty or everything", f"there are {len(owner)} columns of tiles")
    return dataclasses.replace(dataset, samples=kept), dataclasses.replace(dataset, samples=held_out)
