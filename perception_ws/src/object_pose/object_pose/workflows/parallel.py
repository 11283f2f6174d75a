"""Independent jobs over several processes; with one worker they run here, one after the other."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from object_pose.core.errors import ObjectPoseError

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


def run_jobs(function: Callable[[JobT], ResultT], jobs: Sequence[JobT], workers: int) -> Iterator[tuple[int, ResultT]]:
    """Yield (place in ``jobs``, result) as they are done; ``function`` and jobs travel to the processes by pickle.

    An error of a job is raised once it comes, and ends the others. Raises ``ObjectPoseError`` where a process died.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from ((place, function(job)) for place, job in enumerate(jobs))
        return
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(min(workers, len(jobs)), context, _ignore_interrupts)
    try:
        futures = {executor.submit(function, job): place for place, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise ObjectPoseError(
            "a worker process died", "too little memory? use fewer workers; what is done is kept"
        ) from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent, which ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
