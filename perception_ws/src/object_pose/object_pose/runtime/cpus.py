"""The processor cores that this process may use, and those that other work leaves it."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# Threads of OpenMP (torch) wait for each other by spinning so many rounds, some microseconds, then asleep. Its default
# of milliseconds stops a program almost entirely where others use the cores, too (docs/decisions/0015).
_SPIN_ROUNDS = "10000"


def available_cores(quota: Path = _QUOTA) -> int:
    """Return how many cores this process may use: those that it is bound to, or fewer where a container has a quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, _, period = quota.read_text().partition(" ")
        return max(1, min(cores, round(int(most) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # there is no quota: 'max', or another system
        return cores


def free_cores() -> int:
    """Return how many of them other work has left free over the last minute, at least 1."""
    busy = min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return max(1, round(available_cores() * (1.0 - busy)))


def leave_cores_to_others() -> None:
    """Let OpenMP's threads wait asleep unless the user chose otherwise; of use before torch is imported."""
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_ROUNDS)
