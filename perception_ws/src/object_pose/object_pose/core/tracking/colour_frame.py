"""A frame as the kernels of colour read it; what costs time is prepared when it is first asked for."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.frame import CameraFrame
from object_pose.core.geometry.lens import lens_of
from object_pose.core.kernels import for_kernels

LEVEL_COUNT = 4
_LEVELS_AT_WIDTH = 640  # of an image, which has as many levels


class ColourFrame:
    """Colour ``rgb`` (H, W, 3) with the ``depth_m`` beside it, (0, 0) without depth, and the ``lens`` of its camera."""

    def __init__(self, frame: CameraFrame) -> None:
        self._frame, self.lens = frame, lens_of(frame.camera)

    @cached_property
    def rgb(self) -> Image:
        """The colours; the frame has them."""
        assert self._frame.rgb is not None
        return for_kernels(self._frame.rgb, np.uint8)

    @cached_property
    def depth_m(self) -> DepthImage:
        """The depth, (0, 0) where there is none."""
        return for_kernels(np.zeros((0, 0)) if self._frame.depth_m is None else self._frame.depth_m, np.float32)

    @cached_property
    def pyramid(self) -> Pyramid:
        """The brightness in levels."""
        return Pyramid.of(self.rgb)


@dataclass(frozen=True)
class Pyramid:
    """Brightness in levels of half the size each: level l has ``shapes`` (L, 2) from ``starts`` (L,) of ``pixels``."""

    pixels: NDArray[np.uint8]
    starts: NDArray[np.intp]
    shapes: NDArray[np.intp]

    @classmethod
    def of(cls, rgb: Image) -> Pyramid:
        """Blur and halve an image, the more often the wider it is."""
        height, width = rgb.shape[:2]
        count = LEVEL_COUNT + max(0, round(math.log2(width / _LEVELS_AT_WIDTH)))
        shapes = np.empty((count, 2), dtype=np.intp)
        shapes[0] = height, width
        for level in range(1, count):
            shapes[level] = (shapes[level - 1] + 1) // 2
        starts = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))])
        pixels = np.empty(starts[-1], dtype=np.uint8)
        levels = [pixels[a:b].reshape(shape) for a, b, shape in zip(starts, starts[1:], shapes)]
        cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY, dst=levels[0])
        for finer, coarser in itertools.pairwise(levels):
            cv2.pyrDown(finer, dst=coarser)
        return cls(pixels, starts[:-1].astype(np.intp), shapes)
