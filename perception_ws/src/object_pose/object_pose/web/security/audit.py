"""The audit log: who changed, predicted or was refused what, one JSON object a line, in files that rotate.

Tokens, cookies, bodies and query strings are never written.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import time
from pathlib import Path
from typing import Any

_FILE_BYTES, _FILES = 8 << 20, 5


class AuditLog:
    """Appends to ``audit.jsonl`` of a folder; thread-safe."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._handler = logging.handlers.RotatingFileHandler(
            folder / "audit.jsonl", maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8"
        )

    def write(self, event: str, **fields: Any) -> None:
        """Add an event with what is known of it."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields})
        self._handler.handle(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()
