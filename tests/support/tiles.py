"""Aerial tiles of which the left half is a building, and a model that sees buildings everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from networks import save_constant_network
from object_pose.io.images import write_image
from object_pose.runtime.card import ModelCard
from object_pose.tasks.segment import LAYOUT

WH = (64, 64)


def save_mask_model(path: Path) -> Path:
    """Write the model."""
    card = ModelCard("segment", LAYOUT, ("building",), WH, parameters=7)
    return save_constant_network(np.ones((1, 1, *WH)), card.to_metadata(), WH, path)


def save_tiles(folder: Path, columns: int = 2) -> Path:
    """Tiles of which the left half is a building, two a column."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(2 * columns):
        half = np.zeros((48, 48, 3), np.uint8)
        half[:, :24] = 255
        picture = half // 2 + np.random.default_rng(index).integers(0, 99, half.shape, dtype=np.uint8)
        write_image(folder / "images" / f"{index // 2}-{index % 2}.png", picture)
        write_image(folder / "masks" / f"{index // 2}-{index % 2}.png", half)
    return folder
