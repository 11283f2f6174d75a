"""The bounded queue in front of the models: what cannot be answered in time is refused at once, never kept waiting."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from object_pose.web.errors import HttpError
from object_pose.web.metrics import Metrics

ResultT = TypeVar("ResultT")
_FIRST_GUESS = 0.25  # of the deadline, for a service time that was not measured yet
_NEW_SHARE = 0.2  # of the newest measurement in the mean


@dataclass(frozen=True, eq=False)
class _Job:
    kind: str
    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    began: list[float] = field(default_factory=list)  # once it has


class PredictionQueue:
    """Runs work in ``workers`` threads; up to ``capacity`` pieces of work wait, each at most ``deadline_s``.

    The time until a place is free, which a refusal tells, follows from what work of its kind took before.
    """

    def __init__(self, workers: int, capacity: int, deadline_s: float, metrics: Metrics) -> None:
        self._capacity, self._deadline_s, self._metrics = capacity, deadline_s, metrics
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._unfinished: list[_Job] = []
        self._service_s: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._serve, name=f"prediction {index}", daemon=True) for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, kind: str, work: Callable[[], ResultT]) -> ResultT:
        """Return what ``work`` does, or raise what it raises.

        Raises ``HttpError`` 429 with Retry-After where the queue is full or the deadline cannot be kept, 503 where it
        has passed.
        """
        job = self._admitted(kind, work)
        try:
            result: ResultT = await asyncio.wait_for(asyncio.wrap_future(job.future), self._deadline_s)
        except asyncio.TimeoutError as error:
            self._metrics.refused("deadline")
            after = {"Retry-After": str(self.retry_after_s())}
            raise HttpError(503, f"no answer within {self._deadline_s:g} s", "deadline", after) from error
        return result

    def retry_after_s(self) -> int:
        """Return in how many whole seconds, at least one, what is here now will be done."""
        with self._lock:
            return max(1, math.ceil(self._expected_s()))

    def close(self) -> None:
        """Refuse what waits, and end the threads once they are done with what they do."""
        with self._lock:
            waiting = [job for job in self._unfinished if job.future.cancel()]
            self._unfinished = [job for job in self._unfinished if job not in waiting]
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _admitted(self, kind: str, work: Callable[[], Any]) -> _Job:
        job = _Job(kind, work)
        with self._lock:
            expected_s = self._expected_s()
            is_late = bool(self._unfinished) and expected_s + self._service(kind) > self._deadline_s
            if len(self._unfinished) >= self._capacity + len(self._threads) or is_late:
                self._metrics.refused("queue_full")
                after = max(1, math.ceil(expected_s))
                message = f"{len(self._unfinished)} predictions are under way: come again in {after} s"
                raise HttpError(429, message, "queue_full", {"Retry-After": str(after)})
            self._unfinished.append(job)
            self._metrics.waiting(max(0, len(self._unfinished) - len(self._threads)))
        self._jobs.put(job)
        return job

    def _expected_s(self) -> float:
        """Return how long the work that is here still takes, the lock being held."""
        now = time.monotonic()
        left = (self._service(job.kind) - sum(now - began for began in job.began) for job in self._unfinished)
        return sum(max(seconds, 0.0) for seconds in left) / len(self._threads)

    def _service(self, kind: str) -> float:
        return self._service_s.get(kind, _FIRST_GUESS * self._deadline_s)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            began = time.monotonic()
            job.began.append(began)
            if job.future.set_running_or_notify_cancel():
                self._metrics.began(began - job.since)
                if self._do(job):
                    self._measured(job.kind, time.monotonic() - began)
            self._leave(job)

    def _do(self, job: _Job) -> bool:
        """Do a piece of work; return whether it succeeded, so that refusals do not make it look quick."""
        try:
            job.future.set_result(job.work())
        except BaseException as error:
            job.future.set_exception(error)
            return False
        return True

    def _measured(self, kind: str, seconds: float) -> None:
        with self._lock:
            before = self._service_s.get(kind, seconds)
            self._service_s[kind] = before + _NEW_SHARE * (seconds - before)
        self._metrics.predicted(kind, seconds)

    def _leave(self, job: _Job) -> None:
        with self._lock:
            if job in self._unfinished:
                self._unfinished.remove(job)
            self._metrics.waiting(max(0, len(self._unfinished) - len(self._threads)))
