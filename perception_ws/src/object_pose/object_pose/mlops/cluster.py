"""Jobs over a Ray cluster: the same runner that workflows take for processes of one machine."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from object_pose.core.errors import ConfigError, ObjectPoseError

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

_AHEAD = 2
_RETRIES = 3
_HERE = "local"
_KNOCK_S = 5.0


@contextlib.contextmanager
def ray_runner(address: str) -> Iterator[RayRunner]:
    """Connect to a cluster while the context lasts; ``local`` starts one on this machine, ``auto`` finds the one there.

    The nodes need the same version of this package, and see files under the same paths. Raises ``ConfigError`` where
    there is no cluster.
    """
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "configure_logging": False}
    try:
        if address == _HERE:
            ray.init(include_dashboard=False, **options)
        else:
            _knock(address)
            ray.init(address=address, **options)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"there is no Ray cluster at '{address}'", "start one with 'ray start --head', or use '--ray local'"
        ) from error
    try:
        yield RayRunner()
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise ``OSError`` where nothing listens: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), _KNOCK_S).close()


@dataclass(frozen=True)
class RayRunner:
    """A ``workflows.parallel.Runner`` over the cluster; a job whose worker dies is run again by another one."""

    cpus_per_job: float = 1.0
    is_local: bool = False

    def __call__(self, function: Callable[[JobT], ResultT], jobs: Iterable[JobT], /) -> Iterator[tuple[int, ResultT]]:
        """Run the jobs; see ``Runner``."""

        def run(job: JobT) -> ResultT:  # Ray takes no partial
            return function(job)

        remote = ray.remote(num_cpus=self.cpus_per_job, max_retries=_RETRIES)(run)
        numbered = enumerate(jobs)
        open_jobs: dict[Any, int] = {}
        try:
            while True:
                room = _AHEAD * self._workers() - len(open_jobs)
                open_jobs |= {remote.remote(job): place for place, job in islice(numbered, max(room, 0))}
                if not open_jobs:
                    return
                (done, *_), _ = ray.wait(list(open_jobs))
                place = open_jobs.pop(done)
                yield place, self._result(done)
        finally:
            for job in open_jobs:
                ray.cancel(job, force=True)

    def _workers(self) -> int:
        """Return how many jobs the cluster runs at a time now: nodes come and go."""
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1.0) / self.cpus_per_job))

    def _result(self, done: Any) -> Any:
        try:
            return ray.get(done)
        except RayTaskError as error:
            if isinstance(error.cause, ObjectPoseError):
                raise error.cause from error
            raise
        except WorkerCrashedError as error:
            raise ObjectPoseError(
                "workers of the cluster died again and again", "too little memory? what is done is kept"
            ) from error
