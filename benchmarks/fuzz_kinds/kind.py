"""What a kind of input is, and the small camera, picture and depth image that examples are made of."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.fuzz_mutation import Files, mutated
from object_pose.core.errors import ObjectPoseError
from object_pose.core.geometry.camera import Camera

CAMERA = Camera(32, 24, 30.0, 31.0, 15.5, 11.5)


@dataclass(frozen=True)
class Kind:
    """One kind of input: its ``share`` of 1000 inputs, sound examples, how one is spoilt, and what reads its folder."""

    share: int
    seeds: Callable[[], list[Files]]
    read: Callable[[Path], None]
    make: Callable[[random.Random, Sequence[Files]], Files] = mutated


def read_each(*readers: Callable[[], object]) -> None:
    """Call every reader; raise the last refusal where all refuse."""
    refusals = []
    for reader in readers:
        try:
            reader()
        except ObjectPoseError as error:
            refusals.append(error)
    if len(refusals) == len(readers):
        raise refusals[-1]


def picture() -> np.ndarray[Any, Any]:
    """Return a small RGB picture."""
    return np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def depth_picture() -> np.ndarray[Any, Any]:
    """Return a small depth image in millimetres."""
    return np.full((24, 32), 500, np.uint16)


def encoded(suffix: str, pixels: Any) -> bytes:
    """Return the content of an image file."""
    return bytes(cv2.imencode(suffix, pixels)[1])


def use_camera(camera: Camera) -> None:
    """Project points, and turn their pixels back into rays."""
    camera.backproject(camera.project(np.array([[0.1, -0.1, 1.0], [3.0, 2.0, 0.5]])), np.ones(2))
