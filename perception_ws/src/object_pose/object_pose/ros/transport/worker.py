"""One thread that always works on the newest item and counts the ones it skipped."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class NewestWorker(Generic[ItemT]):
    """Calls ``handle`` in its own thread with the newest offered item; what ``handle`` raises goes to ``on_error``.

    Of a burst an idle worker takes two: the one that it begins with, and the newest. ``dropped`` counts the items that
    a newer one replaced before their turn.
    """

    def __init__(self, name: str, handle: Callable[[ItemT], None], on_error: Callable[[Exception], None]) -> None:
        self._handle = handle
        self._on_error = on_error
        self._condition = threading.Condition()
        self._pending: deque[ItemT] = deque()
        self._is_busy = False
        self._stopped = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Items skipped so far."""
        return self._dropped

    def offer(self, item: ItemT) -> None:
        """Hand over an item; what still waits is dropped for it, but for one that an idle worker has yet to begin."""
        with self._condition:
            self._pending.append(item)
            while len(self._pending) > (1 if self._is_busy else 2):
                self._pending.popleft()
                self._dropped += 1
            self._condition.notify()

    def stop(self) -> None:
        """Finish the item in hand, forget the waiting one, and end the thread."""
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

    def _next(self) -> ItemT | None:
        with self._condition:
            self._is_busy = False
            self._condition.wait_for(lambda: self._pending or self._stopped)
            self._is_busy = True
            return None if self._stopped else self._pending.popleft()
