"""The array types of the package, and the check of their shapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
DepthImage = NDArray[np.float32]
Mask = NDArray[np.bool_]


def expect_shape(name: str, array: NDArray[np.generic], shape: tuple[int | None, ...]) -> None:
    """Raise ``ValueError``, naming both shapes, where an array has another shape; None stands for any length."""
    if array.ndim != len(shape) or any(e is not None and a != e for a, e in zip(array.shape, shape)):
        wanted = ", ".join("N" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
