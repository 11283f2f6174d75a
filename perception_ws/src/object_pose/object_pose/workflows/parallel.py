"""Independent jobs, here one after the other, over the processes of this machine, or wherever a runner takes them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar

from object_pose.core.errors import ObjectPoseError

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

# Jobs that wait for each worker, so that none is idle while the next is made.
_AHEAD = 2
# A job that ends this many workers is not tried again.
_ATTEMPTS = 3


class Runner(Protocol):
    """Runs a function on jobs that do not depend on each other."""

    @property
    def is_local(self) -> bool:
        """Whether jobs run one after the other in this process, where they may report how far they are."""
        ...

    def __call__(self, function: Callable[[JobT], ResultT], jobs: Iterable[JobT], /) -> Iterator[tuple[int, ResultT]]:
        """Yield (place among the jobs, result) as they are done; jobs are taken as they are needed.

        An error of a job is raised once it comes, and ends the others; a job whose worker died is run again. Raises
        ``ObjectPoseError`` where workers die again and again.
        """
        ...


@dataclass(frozen=True)
class _Here:
    """Jobs one after the other in this process."""

    is_local: bool = True

    def __call__(self, function: Callable[[JobT], ResultT], jobs: Iterable[JobT], /) -> Iterator[tuple[int, ResultT]]:
        yield from ((place, function(job)) for place, job in enumerate(jobs))


run_here: Runner = _Here()


def local_runner(workers: int) -> Runner:
    """Return what runs jobs in processes of this machine, or in this one; functions and jobs are pickled."""
    return run_here if workers <= 1 else _Processes(workers)


def in_order(results: Iterable[tuple[int, ResultT]]) -> Iterator[ResultT]:
    """Yield results by the place of their jobs."""
    waiting: dict[int, ResultT] = {}
    following = 0
    for place, result in results:
        waiting[place] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


@dataclass(frozen=True)
class _Processes:
    """Jobs over processes; those of a process that died are tried again in a new pool."""

    workers: int
    is_local: bool = False

    def __call__(self, function: Callable[[JobT], ResultT], jobs: Iterable[JobT], /) -> Iterator[tuple[int, ResultT]]:
        pool = _Pool(self.workers)
        numbered = enumerate(jobs)
        open_jobs: dict[Future[ResultT], _Job] = {}
        try:
            while True:
                for place, job in islice(numbered, _AHEAD * self.workers - len(open_jobs)):
                    open_jobs[pool.submit(function, job)] = _Job(place, job)
                if not open_jobs:
                    return
                done, _ = wait(open_jobs, return_when=FIRST_COMPLETED)
                lost = [future for future in done if isinstance(future.exception(), BrokenProcessPool)]
                for future in done.difference(lost):
                    yield open_jobs.pop(future).place, future.result()
                if lost:
                    again = [item.once_more() for item in open_jobs.values()]
                    pool = pool.renewed()
                    open_jobs = {pool.submit(function, item.job): item for item in again}
        finally:
            pool.end()


@dataclass(frozen=True)
class _Job:
    place: int
    job: Any
    attempts: int = field(default=1)

    def once_more(self) -> _Job:
        if self.attempts >= _ATTEMPTS:
            raise ObjectPoseError(
                "worker processes died again and again",
                "too little memory? use fewer workers; what is done is kept",
            )
        return _Job(self.place, self.job, self.attempts + 1)


class _Pool:
    """Processes that leave Ctrl-C to this one, and end where it is killed."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _obey_parent)

    def submit(self, function: Callable[[JobT], ResultT], job: JobT) -> Future[ResultT]:
        """Hand a job to the processes; where they are dead already the future says so."""
        try:
            return self._executor.submit(function, job)
        except BrokenProcessPool as error:
            future: Future[ResultT] = Future()
            future.set_exception(error)
            return future

    def renewed(self) -> _Pool:
        """Return a pool of new processes."""
        self.end()
        return _Pool(self._workers)

    def end(self) -> None:
        """End the processes, whatever they do."""
        processes = list((self._executor._processes or {}).values())
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def _obey_parent() -> None:
    """Leave Ctrl-C to the parent, which ends the workers, and do not outlive it in the middle of a job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # The kernel's signal, as in runtime/processes.py, would come when the thread ends that started the worker.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
