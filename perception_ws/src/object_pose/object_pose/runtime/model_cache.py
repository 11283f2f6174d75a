"""Models that were opened and stay at hand, so that going back to one takes no time and no further memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

ModelT = TypeVar("ModelT")
_Version = tuple[int, int]


class ModelCache(Generic[ModelT]):
    """What ``open_model`` made of the ``capacity`` model files that were used last; thread-safe.

    A file is opened without holding up who uses another one.
    """

    def __init__(self, open_model: Callable[[Path], ModelT], capacity: int = 3) -> None:
        self._open_model = open_model
        self._capacity = capacity
        self._lock = threading.Lock()
        self._opened: dict[Path, tuple[_Version | None, ModelT]] = {}

    def get(self, path: Path) -> ModelT:
        """Return the model of a file as it was when it was opened; raises what opening it does."""
        with self._lock:
            if path in self._opened:
                self._opened[path] = self._opened.pop(path)
                return self._opened[path][1]
        return self.refresh(path)

    def refresh(self, path: Path) -> ModelT:
        """Return the model of a file, opened anew where the file has changed since; raises what opening it does."""
        version = _version(path)
        with self._lock:
            known = self._opened.get(path)
        model = known[1] if known and known[0] == version else self._open_model(path)
        with self._lock:
            self._opened.pop(path, None)
            self._opened[path] = version, model
            while len(self._opened) > self._capacity:
                del self._opened[next(iter(self._opened))]
        return model


def _version(path: Path) -> _Version | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return None
    return status.st_mtime_ns, status.st_size
