"""What processes share: their memory, an end with the one that started them, and one on SIGINT."""

from __future__ import annotations

import _thread
import ctypes
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SHARED_MEMORY = Path("/dev/shm")
INTERRUPTED = 130  # the exit code of a program that SIGINT ended
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_RAISED_AFTER_S = 0.05
# By number in malloc.h, in bytes: up to which size memory is used again (glibc allows no more), how much of it is kept
# in each arena, and how much is fetched at a time.
_MALLOC_OPTIONS = {-3: 32 << 20, -1: 256 << 20, -2: 16 << 20}
_MALLOC_VARIABLES = "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"


def reuse_freed_memory() -> None:
    """Let this process use the memory of freed images again, which glibc hands back to the kernel by itself.

    Every 4 KiB that come back cost a page fault: a millisecond for each image that is received or published. What the
    user tells glibc in the environment holds; other C libraries are left as they are.
    """
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or any(name in os.environ for name in _MALLOC_VARIABLES):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # of musl, of macOS, of Windows
        return
    for option, size in _MALLOC_OPTIONS.items():
        mallopt(option, size)


def free_mebibytes(folder: Path = SHARED_MEMORY) -> float:
    """Return how many MiB a file system has left; infinite where there is no such folder, on another system."""
    if not folder.exists():
        return float("inf")
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize / 2**20


def abandoned_segments(folder: Path = SHARED_MEMORY) -> tuple[int, float]:
    """Return how many of Fast DDS's segments no program holds any more, for one was killed, and their MiB.

    A program holds the lock on ``SEGMENT_el`` as long as it uses a segment.
    """
    sizes = []
    for lock in folder.glob("fastdds_*_el"):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        try:
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                sizes.append(segment.stat().st_size)
        except OSError:  # held, of another user, or gone meanwhile
            continue
    return len(sizes), sum(sizes) / 2**20


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


@contextmanager
def interrupted_at_once(program: str) -> Iterator[None]:
    """End the process where it is on SIGINT: modules that catch what an import raises swallow ``KeyboardInterrupt``."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        os.write(2, f"{program}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    usual = signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@contextmanager
def interruptions_kept() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` again where a finalizer or callback was at work, whose errors Python only reports."""
    usual, lost = sys.unraisablehook, threading.Event()

    def raise_again() -> None:
        if lost.is_set():
            lost.clear()
            _thread.interrupt_main()

    def reported(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            usual(unraisable)
            return
        lost.set()
        # Raised in here it would be lost again, so it waits until this function and the finalizer have ended.
        timer = threading.Timer(_RAISED_AFTER_S, raise_again)
        timer.daemon = True
        timer.start()

    sys.unraisablehook = reported
    try:
        yield
    finally:
        sys.unraisablehook = usual
    if lost.is_set():
        lost.clear()
        raise KeyboardInterrupt
