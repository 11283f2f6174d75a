"""How much of a busy machine this process takes."""

from __future__ import annotations

import os
from pathlib import Path

_AUTOGROUP = Path("/proc/self/autogroup")


def yield_cores(nice: int, keep_real_time: bool = False) -> None:
    """Let other processes go first on a busy machine; 0 is the usual share, 19 the least.

    Where the kernel groups processes by their sessions, niceness counts within a session alone. So the session gets it,
    too, but only one that began with this process: another is the user's shell, or holds what should go first. A
    real-time priority was meant for the one who started this process, unless it is to ``keep_real_time``.
    """
    if hasattr(os, "sched_setscheduler") and not keep_real_time:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():
        try:
            _AUTOGROUP.write_text(str(nice))
        except OSError:  # another kernel, or a container that does not allow it
            return
