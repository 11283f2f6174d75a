"""How much of a busy machine this process takes."""

from __future__ import annotations

import os
from pathlib import Path

_AUTOGROUP = Path("/proc/self/autogroup")


def yield_cores(nice: int) -> None:
    """Let other processes go first on a busy machine; 0 is the usual share, 19 the least.

    Where the kernel groups processes by their sessions, niceness counts within a session alone, so the session gets it.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    try:
        _AUTOGROUP.write_text(str(nice))
    except OSError:  # another kernel, or a container that does not allow it
        return
