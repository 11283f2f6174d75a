"""The predictor's process as the server sees it: started when needed, asked over sockets, replaced when it ends."""

from __future__ import annotations

import logging
import queue
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from object_pose.core import errors
from object_pose.core.errors import ObjectPoseError
from object_pose.web.errors import HttpError
from object_pose.web.predictor.wire import Message, receive, send

logger = logging.getLogger(__name__)

_WORKER = [sys.executable, "-m", "object_pose.web.predictor.worker"]
_OPEN_WITHIN_S = 300.0
_RETRY_AFTER = {"Retry-After": "2"}


@dataclass(frozen=True)
class _Running:
    """A process, a socket whose closing ends it, and those for requests: the first one opens models."""

    process: subprocess.Popen[bytes]
    lifeline: socket.socket
    connections: Sequence[socket.socket]
    free: queue.SimpleQueue[socket.socket] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        for connection in self.connections[1:]:
            self.free.put(connection)


class PredictorProcess:
    """Asks a process that holds the models; ``places`` requests at a time, and one more model that is being opened.

    A request that takes longer than ``limit_s`` ends the process. The requests of a process that ends raise
    ``HttpError`` 503 with Retry-After, and the next one is started at once. ``on_start`` is called with each start.
    """

    def __init__(self, places: int, nice: int, memory_mb: int, limit_s: float, on_start: Callable[[], None]) -> None:
        self._places, self._limit_s, self._on_start = places, limit_s, on_start
        self._options = ["--nice", str(nice), "--memory-mb", str(memory_mb)]
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._running: _Running | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The process's id; None where none runs."""
        running = self._running
        return running.process.pid if running and running.process.poll() is None else None

    def memory_bytes(self) -> float:
        """Return what the process takes of the machine's memory, 0 where none runs."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return 0.0
        return float(pages * resource.getpagesize())

    def open(self, model: Path) -> Mapping[str, Any]:
        """Open a model file, anew where it has changed; return its name, task and SHA-256.

        Raises ``ModelError`` where it cannot be used.
        """
        with self._opening:
            running = self._started()
            request = {"kind": "open", "model": str(model)}
            return self._ask(running, running.connections[0], request, (), _OPEN_WITHIN_S).head

    def ask(self, kind: str, model: Path, head: Mapping[str, Any], blobs: Sequence[bytes]) -> Message:
        """Return the answer to a request; raises ``ObjectPoseError`` for input that cannot be used.

        To be called by no more threads at a time than there are places.
        """
        running = self._started()
        connection = running.free.get()
        try:
            return self._ask(running, connection, {**head, "kind": kind, "model": str(model)}, blobs, self._limit_s)
        finally:
            running.free.put(connection)

    def close(self) -> None:
        """End the process, whatever it is at."""
        with self._lock:
            self._is_closed = True
            running, self._running = self._running, None
        if running:
            _end(running)

    def _ask(
        self,
        running: _Running,
        connection: socket.socket,
        head: Mapping[str, Any],
        blobs: Sequence[bytes],
        limit_s: float,
    ) -> Message:
        try:
            connection.settimeout(limit_s)
            send(connection, head, blobs)
            answer = receive(connection)
        except (OSError, EOFError) as error:
            raise self._lost(running, limit_s if isinstance(error, TimeoutError) else None) from error
        if "error" in answer.head:
            raise _error(answer.head)
        return answer

    def _started(self) -> _Running:
        with self._lock:
            if self._is_closed:
                raise HttpError(503, "the server is ending", "unavailable", _RETRY_AFTER)
            if self._running is None:
                self._running = self._start()
                self._on_start()
            return self._running

    def _start(self) -> _Running:
        pairs = [socket.socketpair() for _ in range(self._places + 2)]
        numbers = [theirs.fileno() for _, theirs in pairs]
        # A session of its own: Ctrl-C ends the server, which then ends this process.
        process = subprocess.Popen(
            [*_WORKER, *map(str, numbers), *self._options], pass_fds=numbers, start_new_session=True
        )
        for _, theirs in pairs:
            theirs.close()
        lifeline, *connections = (ours for ours, _ in pairs)
        return _Running(process, lifeline, connections)

    def _lost(self, running: _Running, limit_s: float | None) -> HttpError:
        """End a process that does not answer, start the next one, and return what its request is answered with."""
        with self._lock:
            is_first = self._running is running
            if is_first:
                self._running = None
        _end(running)
        if is_first and not self._is_closed:
            logger.error("the predictor ended with exit code %s and is started again", running.process.returncode)
            self._started()
        if limit_s is not None:
            return HttpError(503, f"the prediction was ended after {limit_s:g} s", "deadline", _RETRY_AFTER)
        return HttpError(503, "the predictor ended and is started again", "predictor_ended", _RETRY_AFTER)


def _end(running: _Running) -> None:
    """End a process, wait for that, and close the sockets, also those on which threads wait for an answer."""
    running.process.kill()  # it keeps nothing that could be left half-written
    running.process.wait()
    for connection in (running.lifeline, *running.connections):
        connection.close()


def _error(head: Mapping[str, Any]) -> Exception:
    """Return the exception that an answer tells."""
    name = head["error"]
    if name == "MemoryError":
        return HttpError(503, "it takes more memory than the predictor may use: send a smaller image", "memory")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, ObjectPoseError):
        return kind(head["message"], head["hint"])
    return RuntimeError("the predictor failed, see its message above")
