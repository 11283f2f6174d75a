"""The options ``--workers`` and ``--ray`` of verbs whose work is many jobs, and the runner that they mean."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from object_pose.workflows.parallel import Runner, local_runner


def add_runner_options(parser: argparse._ActionsContainer, what: str, flag: str = "--workers") -> None:
    """Add ``--workers N``, or another flag where that is taken, and ``--ray ADDRESS``."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        flag,
        dest="processes",
        type=int,
        default=1,
        metavar="N",
        help=f"{what} at a time, a process each (default: %(default)s)",
    )
    where.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="Ray cluster that does it: 'auto', 'ray://HOST:10001', or 'local' for one on this machine; "
        "its nodes see files under the same paths",
    )


@contextlib.contextmanager
def chosen_runner(options: argparse.Namespace) -> Iterator[Runner]:
    """Return the runner while the context lasts."""
    if not options.ray:
        yield local_runner(options.processes)
        return
    from object_pose.mlops.cluster import ray_runner  # only here: Ray is an extra

    with ray_runner(options.ray) as runner:
        yield runner
