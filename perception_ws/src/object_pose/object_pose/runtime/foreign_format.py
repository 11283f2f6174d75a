"""What a foreign network's format is, and the conversions that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Batch = NDArray[np.float32]
Shape = tuple[int, ...]
Wh = tuple[int, int]
Prepare = Callable[[Batch], Batch]
Convert = Callable[[list[Batch], Wh], list[Batch]]


@dataclass(frozen=True)
class ForeignFormat:
    """The format of a foreign network: ``prepare`` maps its input, ``convert`` its outputs to those of ``layout``.

    ``has_background`` says that its first class is the background, which the class names may leave out.
    """

    task: str
    layout: str
    expected: str
    keypoint_count: int = 0
    prepare: Prepare = lambda batch: batch
    convert: Convert = lambda outputs, input_wh: outputs
    has_background: bool = False


def sigmoid(values: Batch) -> Batch:
    """Return 1 / (1 + exp(-x)) of any shape."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -60.0, 60.0))), dtype=np.float32)
