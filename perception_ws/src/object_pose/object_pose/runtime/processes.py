"""What processes share: memory between them, and an end with the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def free_mebibytes(folder: Path = SHARED_MEMORY) -> float:
    """Return how many MiB a file system has left; infinite where there is no such folder, on another system."""
    if not folder.exists():
        return float("inf")
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize / 2**20


def end_with_parent() -> Callable[[], None] | None:
    """Return what a new process calls first so that it ends when this one is killed; None where Linux is not there."""
    if not sys.platform.startswith("linux"):
        return None
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def ask_for_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it died before the request
            os._exit(0)

    return ask_for_signal
