"""``object-pose serve`` in a process of its own, on a free port and with an empty state folder, for benchmarks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from object_pose.cli.processes import child_processes
from object_pose.core.errors import ObjectPoseError
from object_pose.web.security.scopes import Scope
from object_pose.web.security.tokens import TokenStore

_READY_WITHIN_S = 120.0


@dataclass(frozen=True)
class Served:
    """Where a server answers, and a token that may do everything there."""

    url: str
    token: str

    def client(self) -> httpx.Client:
        """Return a client that shows the token."""
        return httpx.Client(base_url=self.url, timeout=60.0, headers={"Authorization": f"Bearer {self.token}"})


@contextmanager
def serving(*options: str) -> Iterator[Served]:
    """Start a server with options of ``object-pose serve``, wait until it is ready, and end it afterwards."""
    with tempfile.TemporaryDirectory() as state, child_processes() as start:
        token = TokenStore(Path(state)).create("benchmark", Scope.OPERATE)
        own = ("--port", 0, "--state-folder", state, "--store", f"{state}/store")
        process = start("object_pose.cli.main", "serve", *own, *options, pipe=True)
        assert process.stdout
        line = process.stdout.readline()
        if "http" not in line:
            raise ObjectPoseError("the server did not start", "what it said is above")
        served = Served(line.split()[-1], token)
        wait_until_ready(served.url)
        yield served


def wait_until_ready(url: str, limit_s: float = _READY_WITHIN_S, paths: Sequence[str] = ("/readyz",)) -> None:
    """Wait until the server answers each path; raises ``ObjectPoseError`` where one does not in time."""
    give_up = time.monotonic() + limit_s
    for path in paths:
        while not _is_answered(url + path):
            if time.monotonic() > give_up:
                raise ObjectPoseError(f"{url}{path} is not ready", "is the machine very busy? see its /readyz")
            time.sleep(0.2)


def _is_answered(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60.0).status_code == 200
    except httpx.TransportError:
        return False
