"""The process of one job: ``python -m object_pose.web.jobs.worker FOLDER``, or ``--kinds`` to say what there is.

It reads ``job.json`` and writes ``progress.jsonl`` as it goes; ``outcome.json`` ends it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from object_pose.core.errors import CancelledError, ObjectPoseError
from object_pose.io.writers import write_json
from object_pose.runtime.cpus import leave_cores_to_others
from object_pose.runtime.priority import yield_cores
from object_pose.web.jobs.folder import JobFolder
from object_pose.web.jobs.store import CANCELLED, DONE, FAILED
from object_pose.workflows.progress import Progress

_REPORT_EVERY_S = 0.2


class Reporter:
    """A workflow's progress callback: lines of a file, and the end of the work once that was asked for."""

    def __init__(self, file: Path) -> None:
        self._stream = file.open("a", buffering=1)
        self._cancelled = threading.Event()
        self._last, self._stage = 0.0, ""

    def cancel(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End the work at its next report."""
        self._cancelled.set()

    def __call__(self, progress: Progress) -> None:
        """Write how far a stage is; raises ``CancelledError`` where the job is cancelled."""
        self.check()
        now = time.monotonic()
        is_end = progress.total and progress.done >= progress.total
        if progress.stage == self._stage and now - self._last < _REPORT_EVERY_S and not is_end:
            return
        self._last, self._stage = now, progress.stage
        figures = ", ".join(f"{name} {value:.4g}" for name, value in progress.figures.items())
        count = f"{progress.done} of {progress.total} {progress.unit}s" if progress.total else ""
        line = {
            "fraction": min(progress.done / progress.total, 1.0) if progress.total else None,
            "stage": progress.stage,
            "message": ", ".join(filter(None, (count, figures))),
        }
        self._stream.write(json.dumps(line) + "\n")

    def check(self) -> None:
        """Raise ``CancelledError`` where the job is cancelled."""
        if self._cancelled.is_set():
            raise CancelledError("the job was cancelled")


def work(folder: JobFolder) -> int:
    """Do a job; return the exit code."""
    reporter = Reporter(folder.progress)
    signal.signal(signal.SIGINT, reporter.cancel)
    outcome: dict[str, Any]
    try:
        job = json.loads(folder.request.read_text())
        yield_cores(job["nice"])
        from object_pose.web.jobs.kinds.registry import KINDS

        reporter.check()
        folder.output.mkdir(exist_ok=True)
        os.chdir(folder.output)  # whatever a workflow writes under a relative name is the job's
        outcome = {"state": DONE, "result": KINDS[job["kind"]].run(job["inputs"], folder.output, reporter)}
    except CancelledError as error:
        outcome = {"state": CANCELLED, "error": str(error)}
    except ObjectPoseError as error:
        sys.stderr.write(f"{error}\n")
        outcome = {"state": FAILED, "error": str(error)}
    except BaseException as error:
        traceback.print_exc()
        outcome = {"state": FAILED, "error": f"{type(error).__name__}: {error}; the log says more"}
    write_json(folder.outcome, outcome)
    return 0 if outcome["state"] == DONE else 1


def main(arguments: list[str]) -> int:
    """Work on the job of a folder, or print the kinds of jobs as JSON."""
    leave_cores_to_others()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if arguments == ["--kinds"]:
        from object_pose.web.jobs.kinds.registry import KINDS

        sys.stdout.write(json.dumps([kind.description.to_json() for kind in KINDS.values()]) + "\n")
        return 0
    return work(JobFolder(Path(arguments[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
