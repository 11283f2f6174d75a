"""How inner loops over arrays are compiled: one thread, no GIL, machine code kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def kernel(function: FunctionT) -> FunctionT:
    """Compile a loop over arrays, in which NaN must not occur, to machine code.

    It is compiled at its first call and kept in ``__pycache__``, where that cannot be written in the user's cache
    folder, and where there is none, not at all. A kernel may call only kernels of its own file, or of files that hardly
    change: those of other files are not compared with what was kept.
    """
    return _compiled(function, fastmath=True)


def exact_kernel(function: FunctionT) -> FunctionT:
    """Compile as ``kernel`` does, but each sum as it is written: where results are those of other code, to the bit."""
    return _compiled(function, fastmath=False)


def inlined(function: FunctionT) -> FunctionT:
    """Compile a step of a kernel into the kernel itself: a call that passes many arrays costs as much as the step."""
    compiled: FunctionT = numba.njit(inline="always", nogil=True, fastmath=True, error_model="numpy")(function)
    return compiled


def for_kernels(array: ArrayLike, dtype: type[np.generic]) -> NDArray[Any]:
    """Return an array in the form that kernels are compiled for: C-contiguous, writable, of ``dtype``.

    It is copied where it is not in that form. Another form, such as the read-only memory of a message, would compile a
    kernel once more, for seconds.
    """
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable:
        return array
    return np.require(array, dtype, ("C", "W"))


def _compiled(function: FunctionT, fastmath: bool) -> FunctionT:
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        compiled: FunctionT = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        compiled = numba.njit(**options)(function)
    return compiled
