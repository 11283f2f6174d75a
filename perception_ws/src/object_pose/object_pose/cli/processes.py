"""Child processes of a verb: started as modules of this package, ended in order, never left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from object_pose.core.errors import ObjectPoseError
from object_pose.runtime.processes import end_with_parent

logger = logging.getLogger(__name__)

Process = subprocess.Popen[str]
_STOP_WITHIN_S = 60.0  # a recorder on a busy machine has its bag to finish


class Start(Protocol):
    """Starts a module as a process."""

    def __call__(self, module: str, *arguments: object, pipe: bool = False) -> Process:
        """Start ``python -m module arguments``; with ``pipe`` its output can be read."""
        ...


@contextmanager
def child_processes() -> Iterator[Start]:
    """Give a function that starts processes; whatever still runs at the end is ended."""
    started: list[Process] = []
    environment = os.environ | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}

    def start(module: str, *arguments: object, pipe: bool = False) -> Process:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        output = subprocess.PIPE if pipe else None
        # Sessions of their own: Ctrl-C ends this process, which then ends them in order.
        process = subprocess.Popen(
            command,
            stdout=output,
            text=True,
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent(),
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        _stop(reversed(started))


def end_processes(processes: Mapping[str, Process]) -> None:
    """End processes as Ctrl-C would; raises ``ObjectPoseError`` where one does not end well."""
    _stop(processes.values())
    for name, process in processes.items():
        if process.returncode != 0:
            raise ObjectPoseError(f"the {name} ended with exit code {process.returncode}", "what it said is above")


def _stop(processes: Iterable[Process]) -> None:
    """Interrupt what still runs, and kill what does not heed it: a killed one leaves shared memory behind."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            logger.warning("process %d did not end within %.0f s and is killed", process.pid, _STOP_WITHIN_S)
            process.kill()
            process.wait()
