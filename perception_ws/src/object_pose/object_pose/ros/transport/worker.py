"""One thread that works on the newest items and counts the ones it skipped."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")

_BEHIND_AFTER_S = 0.5


class NewestWorker(Generic[ItemT]):
    """Calls ``handle`` in its own thread with the newest offered items; what ``handle`` raises goes to ``on_error``.

    While it is busy the newest ``waiting`` items wait, oldest first, so that it catches up after a delay. Where so many
    have waited for half a second it is too slow for what comes: until it is idle only the newest waits then. Of a burst
    an idle worker takes one more, which it begins with. ``dropped`` counts the items that newer ones replaced before
    their turn. ``now`` returns seconds of a clock that never jumps.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[ItemT], None],
        on_error: Callable[[Exception], None],
        waiting: int = 1,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle = handle
        self._on_error = on_error
        self._waiting = waiting
        self._now = now
        self._condition = threading.Condition()
        self._pending: deque[ItemT] = deque()
        self._is_busy = False
        self._full_since_s: float | None = None
        self._is_behind = False
        self._stopped = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Items skipped so far."""
        return self._dropped

    def offer(self, item: ItemT) -> None:
        """Hand over an item; the oldest that wait are dropped where there are too many."""
        with self._condition:
            self._pending.append(item)
            most = self._most_waiting()
            while len(self._pending) > most:
                self._pending.popleft()
                self._dropped += 1
            self._condition.notify()

    def stop(self) -> None:
        """Finish the item in hand, forget the waiting ones, and end the thread."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._handle(item)
            except Exception as error:  # whatever one frame did, the next one is worth trying
                self._on_error(error)

    def _most_waiting(self) -> int:
        if not self._is_busy:
            return self._waiting + 1
        if len(self._pending) < self._waiting:
            self._full_since_s = None
        elif self._full_since_s is None:
            self._full_since_s = self._now()
        elif self._now() - self._full_since_s >= _BEHIND_AFTER_S:
            self._is_behind = True
        return 1 if self._is_behind else self._waiting

    def _next(self) -> ItemT | None:
        with self._condition:
            if not self._pending:
                self._is_busy = False
                self._condition.wait_for(lambda: self._pending or self._stopped)
                self._is_busy, self._is_behind, self._full_since_s = True, False, None
            return None if self._stopped else self._pending.popleft()
