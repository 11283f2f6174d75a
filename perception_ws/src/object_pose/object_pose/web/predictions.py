"""The bounded queue in front of the models: what cannot be answered in time is refused at once, never kept waiting."""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from object_pose.web.errors import HttpError
from object_pose.web.metrics import Metrics

ResultT = TypeVar("ResultT")
_CLIENT_GONE = 499  # nobody receives it: for metrics, as nginx counts it


@dataclass
class _ServiceTime:
    """What work of a kind takes: mean and mean deviation with TCP's gains (RFC 6298)."""

    mean_s: float
    deviation_s: float = 0.0

    def measured(self, seconds: float) -> None:
        self.deviation_s += (abs(seconds - self.mean_s) - self.deviation_s) / 4.0
        self.mean_s += (seconds - self.mean_s) / 8.0


@dataclass(frozen=True, eq=False)
class _Job:
    kind: str
    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    began: list[float] = field(default_factory=list)  # once it has


class PredictionQueue:
    """Runs work in ``workers`` threads; up to ``capacity`` pieces of work wait, while answers are expected in time.

    In time is within ``answer_within_s``, from what work of its kind took before; what is expected to take longer, or
    was not measured yet, is refused, unless it can begin at once. What has not begun within ``deadline_s`` is given up.
    """

    def __init__(
        self, workers: int, capacity: int, answer_within_s: float, deadline_s: float, metrics: Metrics
    ) -> None:
        self._capacity, self._metrics = capacity, metrics
        self._answer_within_s, self._deadline_s = answer_within_s, deadline_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._unfinished: list[_Job] = []
        self._service: dict[str, _ServiceTime] = {}
        self._first_guess = _ServiceTime(answer_within_s)
        self._threads = [
            threading.Thread(target=self._serve, name=f"prediction {index}", daemon=True) for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, kind: str, work: Callable[[], ResultT], request: Request | None = None) -> ResultT:
        """Return what ``work`` does, or raise what it raises; it is left out once the client of ``request`` is gone.

        Raises ``HttpError`` 429 with Retry-After where an answer in time is not to be expected, 503 where the deadline
        has passed.
        """
        job = self._admitted(kind, work)
        answered = asyncio.wrap_future(job.future)
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((answered, leaving), timeout=self._deadline_s, return_when=asyncio.FIRST_COMPLETED)
            if not leaving.done() and not job.future.cancel():  # it has begun: its end is worth waiting for
                await asyncio.wait((answered, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answered.cancelled():
                raise HttpError(503, "the server is ending", headers={"Retry-After": "2"})
            if answered.done():
                result: ResultT = answered.result()
                return result
            if leaving.done():
                self._metrics.refused("client_gone")
                raise HttpError(_CLIENT_GONE, "the client has left", "client_gone")
        finally:
            job.future.cancel()
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving
        self._metrics.refused("deadline")
        after = {"Retry-After": str(self.retry_after_s())}
        raise HttpError(503, f"it has not begun within {self._deadline_s:g} s", "deadline", after)

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
            begins_at_once = len(self._unfinished) < len(self._threads)
            before_s, own = self._expected_s(), self._service.get(kind, self._first_guess)
            is_late = before_s + own.mean_s + 2.0 * own.deviation_s > self._answer_within_s
            if len(self._unfinished) >= self._capacity + len(self._threads) or (is_late and not begins_at_once):
                self._metrics.refused("queue_full")
                after = max(1, math.ceil(before_s))
                message = f"{len(self._unfinished)} predictions are under way: come again in {after} s"
                raise HttpError(429, message, "queue_full", {"Retry-After": str(after)})
            self._unfinished.append(job)
            self._metrics.waiting(max(0, len(self._unfinished) - len(self._threads)))
        self._jobs.put(job)
        return job

    def _expected_s(self) -> float:
        """Return how long the work that is here still takes, the lock being held.

        What takes longer than usual is expected to do so for as long again.
        """
        now = time.monotonic()

        def left_s(job: _Job) -> float:
            usual_s = self._service.get(job.kind, self._first_guess).mean_s
            return abs(usual_s - sum(now - began for began in job.began))

        return sum(map(left_s, self._unfinished)) / len(self._threads)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            began = time.monotonic()
            job.began.append(began)
            if not job.future.set_running_or_notify_cancel():
                self._leave(job)
                continue
            self._metrics.began(began - job.since)
            answer = self._worked(job, began)
            self._leave(job)  # first, as who has the answer may ask again at once
            answer()

    def _worked(self, job: _Job, began: float) -> Callable[[], None]:
        """Do a piece of work and return what gives its answer; only success is measured: refusals would look quick."""
        try:
            result = job.work()
        except BaseException as error:
            return partial(job.future.set_exception, error)
        self._measured(job.kind, time.monotonic() - began)
        return partial(job.future.set_result, result)

    def _measured(self, kind: str, seconds: float) -> None:
        with self._lock:
            self._service.setdefault(kind, _ServiceTime(seconds, seconds / 2.0)).measured(seconds)
        self._metrics.predicted(kind, seconds)

    def _leave(self, job: _Job) -> None:
        with self._lock:
            if job in self._unfinished:
                self._unfinished.remove(job)
            self._metrics.waiting(max(0, len(self._unfinished) - len(self._threads)))


async def _disconnected(request: Request | None) -> None:
    """Return when the client is gone; without a request never."""
    if request is None:
        await asyncio.Event().wait()
        return
    while (await request.receive())["type"] != "http.disconnect":
        pass
