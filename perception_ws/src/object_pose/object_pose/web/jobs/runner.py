"""Jobs under way: each in a process of its own that outlives the server, found again by the next one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import object_pose
from object_pose.io.writers import write_json
from object_pose.runtime.engine_choice import cache_folder
from object_pose.web.config import JobsConfig
from object_pose.web.errors import HttpError
from object_pose.web.jobs.folder import JobFolder
from object_pose.web.jobs.inputs import InputFinder
from object_pose.web.jobs.options import KindDescription
from object_pose.web.jobs.store import (
    ACTIVE,
    CANCELLED,
    FAILED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    Job,
    JobStore,
)

logger = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{12}")
_WORKER = [sys.executable, "-m", "object_pose.web.jobs.worker"]
_IDLE_S, _BUSY_S = 1.0, 0.2
_HEEDED_WITHIN_S = 30.0
_KINDS_WITHIN_S = 300.0


@dataclass
class _Work:
    """A job's process, and how far its progress was read; ``process`` is None where another server started it."""

    pid: int
    started: int
    process: subprocess.Popen[bytes] | None
    position: int = 0
    interrupted_at: float | None = None

    def runs(self) -> bool:
        """Whether the process is there: one of that id may be another by now."""
        if self.process is not None and self.process.poll() is not None:
            return False
        return start_time(self.pid) == self.started


class JobRunner:
    """Takes jobs and works on some of them at a time; where several servers share a folder, one of them does the work.

    ``store`` is the model registry of jobs.
    """

    def __init__(self, folder: Path, finder: InputFinder, config: JobsConfig, store: str) -> None:
        self._folder, self._finder, self._config = folder, finder, config
        self._environment = os.environ | {"OBJECT_POSE_STORE": store}
        folder.mkdir(parents=True, exist_ok=True)
        self.store = JobStore(folder / "jobs.sqlite3")
        self._kinds: dict[str, KindDescription] = {}
        self._kinds_lock = threading.Lock()
        self._works: dict[str, _Work] = {}
        self._lock_file: IO[str] | None = None
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to work, also on what the last server left."""
        self._thread.start()

    def close(self) -> None:
        """Leave the jobs to themselves: their processes go on."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        if self._lock_file is not None:
            self._lock_file.close()
        self.store.close()

    def kinds(self) -> dict[str, KindDescription]:
        """Return what can be done; asked of a worker once, because the workflows need much that a server does not."""
        with self._kinds_lock:
            if not self._kinds:
                found = map(KindDescription.from_json, known_kinds(cache_folder() / "job_kinds.json"))
                self._kinds = {kind.name: kind for kind in found}
            return self._kinds

    def submit(self, kind: str, options: Mapping[str, Any]) -> Job:
        """Queue a job; raises where it cannot be done so, or ``HttpError`` 429 where too many wait."""
        known = self.kinds()
        if kind not in known:
            raise HttpError(400, f"there is no job '{kind[:64]}': known are {', '.join(known)}", "bad_config")
        return self._queue(kind, options, known[kind].check(options, self._finder))

    def submit_checked(self, kind: str, options: Mapping[str, Any]) -> Job:
        """Queue a job whose inputs the server itself has made."""
        return self._queue(kind, options, options)

    def find(self, job_id: str) -> Job:
        """Return a job; raises ``HttpError`` 404 where there is none."""
        job = self.store.find(job_id) if _ID.fullmatch(job_id) else None
        if job is None:
            raise HttpError(404, f"there is no job '{job_id[:64]}'")
        return job

    def folder(self, job_id: str) -> JobFolder:
        """Return the folder of a job."""
        return JobFolder(self._folder / job_id)

    def output_file(self, job_id: str, path: str) -> Path | None:
        """Return a file of a job's output; None where there is none."""
        if not _ID.fullmatch(job_id) or self.store.find(job_id) is None:
            return None
        return self.folder(job_id).file(path)

    def cancel(self, job_id: str) -> Job:
        """End a job that waits or runs; raises ``HttpError`` 409 where it is over."""
        job = self.find(job_id)
        if self.store.update(job_id, [QUEUED], state=CANCELLED, ended_at=time.time()):
            return self.find(job_id)
        if not self.store.update(job_id, [RUNNING], cancelling=1):
            raise HttpError(409, f"the job is {job.state} already")
        self._wake()
        return self.find(job_id)

    def resume(self, job_id: str) -> Job:
        """Queue a job again that was stopped or failed, to go on where it was or from the start."""
        job = self.find(job_id)
        states = (INTERRUPTED, CANCELLED, FAILED)
        fresh: dict[str, Any] = {"fraction": None, "stage": None, "message": None, "started_at": None}
        fresh |= {"ended_at": None, "error": None, "cancelling": 0, "pid": None}
        if not self.store.update(job_id, states, state=QUEUED, **fresh):
            raise HttpError(409, f"the job is {job.state}: only one that was stopped or failed goes on")
        self._wake()
        return self.find(job_id)

    def remove(self, job_id: str) -> None:
        """Forget a job and delete its files; raises ``HttpError`` 409 where it is not over."""
        job = self.find(job_id)
        if not job.is_over:
            raise HttpError(409, f"the job is {job.state}: cancel it first")
        self.store.remove(job_id)
        shutil.rmtree(self.folder(job_id).path, ignore_errors=True)

    def _queue(self, kind: str, options: Mapping[str, Any], inputs: Mapping[str, Any]) -> Job:
        if len(self.store.all([QUEUED])) >= self._config.most_waiting:
            raise HttpError(429, f"{self._config.most_waiting} jobs wait already", "queue_full", {"Retry-After": "60"})
        job = self.store.add(secrets.token_hex(6), kind, options, inputs)
        self._wake()
        return job

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._is_closing:
                    return
            try:
                if self._leads():
                    self._work()
            except Exception:  # one bad job must not stop the others
                logger.exception("jobs")
            with self._changed:
                if not self._is_closing:
                    self._changed.wait(_BUSY_S if self._works else _IDLE_S)

    def _leads(self) -> bool:
        """Return whether this server does the work: the first that locks the folder, until it ends."""
        if self._lock_file is not None:
            return True
        file = (self._folder / "lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._lock_file = file
        for job in self.store.all([RUNNING]):
            if job.pid is not None and job.pid_started is not None:
                self._works[job.id] = _Work(job.pid, job.pid_started, None)
        return True

    def _work(self) -> None:
        for job in self.store.all(ACTIVE):
            if job.state == RUNNING:
                self._follow(job)
            elif len(self._works) < self._config.at_once:
                self._begin(job)

    def _begin(self, job: Job) -> None:
        folder = self.folder(job.id)
        folder.path.mkdir(parents=True, exist_ok=True)
        for leftover in (folder.outcome, folder.progress):
            leftover.unlink(missing_ok=True)
        write_json(folder.request, {"kind": job.kind, "inputs": dict(job.inputs), "nice": self._config.nice})
        if not self.store.update(job.id, [QUEUED], state=RUNNING, started_at=time.time()):
            return
        with folder.log.open("ab") as log:
            # A session of its own: neither the server's Ctrl-C nor its end ends the job.
            process = subprocess.Popen(
                [*_WORKER, str(folder.path.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
            )
        started = start_time(process.pid) or 0
        self.store.update(job.id, pid=process.pid, pid_started=started)
        self._works[job.id] = _Work(process.pid, started, process)

    def _follow(self, job: Job) -> None:
        work = self._works.get(job.id)
        is_running = work is not None and work.runs()
        if work is not None:
            self._read_progress(job, work)
        if is_running and work is not None:
            if job.cancelling:
                _interrupt(work)
            return
        self._works.pop(job.id, None)
        self.store.update(job.id, [RUNNING], ended_at=time.time(), **self._outcome(job, work))

    def _read_progress(self, job: Job, work: _Work) -> None:
        try:
            with self.folder(job.id).progress.open("rb") as file:
                file.seek(work.position)
                lines = [line for line in file.readlines() if line.endswith(b"\n")]
        except FileNotFoundError:
            return
        if lines:
            work.position += sum(map(len, lines))
            self.store.update(job.id, [RUNNING], **json.loads(lines[-1]))

    def _outcome(self, job: Job, work: _Work | None) -> dict[str, Any]:
        """Return how a job ended whose process is gone."""
        try:
            outcome: dict[str, Any] = json.loads(self.folder(job.id).outcome.read_text())
            return outcome
        except (OSError, ValueError):
            pass
        if job.cancelling:
            return {"state": CANCELLED, "error": "the job was cancelled"}
        if work is None or work.process is None:
            return {"state": INTERRUPTED, "error": "the job ended with the machine or the server; it can be resumed"}
        return {"state": FAILED, "error": f"the process ended with exit code {work.process.returncode}; see the log"}


def known_kinds(cache: Path) -> list[dict[str, Any]]:
    """Return the kinds as a worker describes them, which a file keeps as long as the package stays as it is."""
    package = _fingerprint()
    try:
        kept = json.loads(cache.read_text())
        if kept["package"] == package:
            kinds: list[dict[str, Any]] = kept["kinds"]
            return kinds
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        answer = subprocess.run([*_WORKER, "--kinds"], capture_output=True, text=True, timeout=_KINDS_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        after = {"Retry-After": "30"}
        raise HttpError(503, "the machine is too busy to say which jobs there are", "no_jobs", after) from error
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or ["no reason was given"]
        message = f"jobs cannot be done here: {lines[-1]}"
        raise HttpError(503, f"{message} (is object-pose[train] installed?)", "no_jobs")
    found: list[dict[str, Any]] = json.loads(answer.stdout.splitlines()[-1])
    with suppress(OSError):  # a read-only home: they are asked for again next time
        write_json(cache, {"package": package, "kinds": found})
    return found


def _fingerprint() -> str:
    """Return what changes with any source file of the package."""
    root = Path(object_pose.__file__).parent
    stats = [(file.relative_to(root).as_posix(), file.stat()) for file in sorted(root.rglob("*.py"))]
    text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return hashlib.sha256(f"{root} {sys.version}\n{text}".encode()).hexdigest()


def _interrupt(work: _Work) -> None:
    """Ask a process to end, and kill it with all that it started where it does not heed that."""
    now = time.monotonic()
    try:
        if work.interrupted_at is None:
            work.interrupted_at = now
            os.kill(work.pid, signal.SIGINT)
        elif now - work.interrupted_at > _HEEDED_WITHIN_S:
            os.killpg(work.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def start_time(pid: int) -> int | None:
    """Return when a process began, in the kernel's ticks; None where it is gone or only waits to be collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
