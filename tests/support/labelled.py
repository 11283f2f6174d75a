"""Tiny labelled data sets on disk, sound ones, for tests to read or to spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

WIDTH, HEIGHT = 40, 20


def write_noise(path: Path, seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """Write an image unlike those of other seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(30, 255, (6, 6, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST))
    return path


def write_yolo_set(root: Path, texts: Mapping[str, str], names: Sequence[str] = ("cat", "dog")) -> Path:
    """Write images and label files by stem, and ``data.yaml``."""
    for seed, (stem, text) in enumerate(texts.items()):
        write_noise(root / "images" / f"{stem}.png", seed)
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{stem}.txt").write_text(text)
    if names:
        (root / "data.yaml").write_text(json.dumps({"names": list(names)}))
    return root


def write_class_set(root: Path, counts: Mapping[str, int]) -> Path:
    """Write so many images of each class."""
    seed = 0
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for index in range(count):
            seed += 1
            write_noise(root / label / f"part{seed}_{index}.png", seed)
    return root


def write_mask_set(root: Path, count: int = 3) -> Path:
    """Write images with masks whose left half is the object."""
    (root / "masks").mkdir(parents=True)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : WIDTH // 2] = 255
    for index in range(count):
        write_noise(root / "images" / f"tile{index}.png", index)
        cv2.imwrite(str(root / "masks" / f"tile{index}.png"), mask)
    return root


def real_data(name: str) -> Path:
    """Return a folder of the real data, or skip the test where it is not there."""
    here = Path(__file__).resolve().parents[2]
    places = [Path(os.environ["OBJECT_POSE_DATA"])] if os.environ.get("OBJECT_POSE_DATA") else []
    for place in [*places, here.parent / "shared" / "data"]:
        if (place / name).exists():
            return place / name
    pytest.skip(f"real data '{name}' is not in $OBJECT_POSE_DATA or ../shared/data")
