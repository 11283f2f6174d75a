"""How the renderer's and the depth sensor's inner loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def kernel(function: FunctionT) -> FunctionT:
    """Compile a loop over arrays to machine code: one thread, no GIL, cached on disk; NaN must not occur in it."""
    compiled: FunctionT = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")(function)
    return compiled


def inlined(function: FunctionT) -> FunctionT:
    """Compile a step of a kernel into the kernel itself: a call that passes many arrays costs as much as the step."""
    compiled: FunctionT = numba.njit(inline="always", nogil=True, fastmath=True, error_model="numpy")(function)
    return compiled
