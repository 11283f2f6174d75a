"""The jobs of a server, in SQLite: what was asked for, how far it is and what came of it, over restarts."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
CANCELLED, INTERRUPTED = "cancelled", "interrupted"
ACTIVE = (QUEUED, RUNNING)
_JSON = ("options", "inputs", "result")
_COLUMNS = """
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, options TEXT NOT NULL, inputs TEXT NOT NULL, state TEXT NOT NULL,
    fraction REAL, stage TEXT, message TEXT, created_at REAL NOT NULL, started_at REAL, ended_at REAL,
    error TEXT, result TEXT, cancelling INTEGER NOT NULL DEFAULT 0, pid INTEGER, pid_started INTEGER
"""


@dataclass(frozen=True)
class Job:
    """A job; times are seconds since 1970. ``inputs`` are the options with files found.

    ``pid`` with the time at which it started, in the kernel's ticks, names the process that works on it.
    """

    id: str
    kind: str
    options: Mapping[str, Any]
    inputs: Mapping[str, Any]
    state: str
    fraction: float | None
    stage: str | None
    message: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    error: str | None
    result: Mapping[str, Any] | None
    cancelling: bool
    pid: int | None
    pid_started: int | None

    @property
    def is_over(self) -> bool:
        """Whether it will not change any more unless it is resumed."""
        return self.state not in ACTIVE


class JobStore:
    """Jobs in a file; may be used by several threads and servers."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, timeout=30.0, check_same_thread=False, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(f"CREATE TABLE IF NOT EXISTS jobs ({_COLUMNS})")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def add(self, job_id: str, kind: str, options: Mapping[str, Any], inputs: Mapping[str, Any]) -> Job:
        """Queue a new job."""
        values = job_id, kind, json.dumps(options), json.dumps(inputs), QUEUED, time.time()
        self._execute(
            "INSERT INTO jobs (id, kind, options, inputs, state, created_at) VALUES (?, ?, ?, ?, ?, ?)", values
        )
        job = self.find(job_id)
        assert job
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job, None where there is none."""
        rows = self._execute("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def all(self, states: Iterable[str] = ()) -> list[Job]:
        """Return the jobs in some states, or all, the oldest first."""
        states = tuple(states)
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        return [_job(row) for row in self._execute(f"SELECT * FROM jobs {where} ORDER BY created_at, rowid", states)]

    def update(self, job_id: str, only_in: Iterable[str] = (), **values: Any) -> bool:
        """Change fields of a job, where its state is one of ``only_in``; return whether it was."""
        values = {name: json.dumps(value) if name in _JSON else value for name, value in values.items()}
        fields = ", ".join(f"{name} = ?" for name in values)
        states = tuple(only_in)
        where = f"id = ? AND state IN ({', '.join('?' * len(states))})" if states else "id = ?"
        return bool(
            self._execute(f"UPDATE jobs SET {fields} WHERE {where} RETURNING id", (*values.values(), job_id, *states))
        )

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        self._execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def _execute(self, statement: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._database.execute(statement, tuple(values)).fetchall()


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values |= {name: json.loads(values[name]) for name in _JSON if values[name] is not None}
    values["cancelling"] = bool(values["cancelling"])
    return Job(**values)
