"""Jobs over processes: every result once and in its place, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from object_pose.core.errors import DataError, ObjectPoseError
from object_pose.workflows.parallel import in_order, local_runner, run_here
from process_state import runs

RUNNERS = pytest.mark.parametrize("runner", [run_here, local_runner(2)], ids=["here", "processes"])


def square(number: int) -> int:
    return number * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise DataError("three is no number")
    return number


def die_once(job: tuple[Path, int]) -> int:
    mark, number = job
    if number == 4 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_a_signal(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    signal.pause()


@RUNNERS
def test_results_come_once_and_in_order(runner):
    assert list(in_order(runner(square, range(9)))) == [number * number for number in range(9)]
    assert list(runner(square, ())) == []


@RUNNERS
def test_an_error_of_a_job_is_raised(runner):
    with pytest.raises(DataError, match="three"):
        list(runner(refuse_three, range(6)))


def test_jobs_are_taken_as_they_are_needed():
    taken = []
    results = local_runner(2)(square, (taken.append(number) or number for number in range(1000)))
    next(results)
    assert len(taken) < 10
    results.close()


def test_a_job_whose_worker_died_is_run_again(tmp_path):
    jobs = [(tmp_path / "mark", number) for number in range(8)]
    assert list(in_order(local_runner(2)(die_once, jobs))) == list(range(8))
    assert (tmp_path / "mark").exists()


def test_workers_that_always_die_are_said():
    with pytest.raises(ObjectPoseError, match="again and again"):
        list(local_runner(2)(die, range(3)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    lines = (
        "from pathlib import Path",
        "from object_pose.workflows.parallel import local_runner",
        "from test_parallel import wait_for_a_signal",
        f"list(local_runner(2)(wait_for_a_signal, [Path({str(tmp_path)!r})] * 2))",
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen([sys.executable, "-c", "\n".join(lines)], env=os.environ | {"PYTHONPATH": path})
    while len(workers := [int(mark.name) for mark in tmp_path.iterdir()]) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while any(runs(pid) for pid in workers):  # the test's own time limit ends it
        time.sleep(0.05)
