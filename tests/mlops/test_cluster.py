"""Evaluation and data sets over a Ray cluster of two nodes: the same files as without, also when a worker is killed.

Whatever speaks to the cluster is a process of its own: Ray ends one whose cluster has gone for a minute.
"""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from benchmarks.ray_check import two_nodes
from object_pose.cli.main import main

if not find_spec("ray"):
    pytest.skip("Ray is not installed (make setup-all)", allow_module_level=True)

pytestmark = pytest.mark.timeout(300)

JOBS = """
import os, signal, sys
from pathlib import Path
from object_pose.core.errors import DataError
from object_pose.mlops.cluster import ray_runner
from object_pose.workflows.parallel import in_order

mark = Path(sys.argv[2])

def die_once(number):
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number

def refuse(number):
    raise DataError(f"{number} is no number")

with ray_runner(sys.argv[1]) as runner:
    assert list(in_order(runner(die_once, range(8)))) == list(range(8)) and mark.exists()
    try:
        list(runner(refuse, range(3)))
    except DataError as error:
        print("refused:", error)
"""


@pytest.fixture(scope="module")
def cluster():
    """The address of two nodes with a worker each."""
    with two_nodes() as address:
        yield address


def on_cluster(address: str, *arguments) -> None:
    command = [sys.executable, "-m", "object_pose.cli.main", *map(str, arguments), "--ray", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def here(*arguments) -> None:
    assert main(list(map(str, arguments))) == 0


def test_the_same_evaluation_here_and_on_the_cluster(cluster, tmp_path):
    options = ("evaluate", "pose", "--rendered", 2, "--threads", 1, "--json", "--output")
    here(*options, tmp_path / "here")
    on_cluster(cluster, *options, tmp_path / "there")
    expected = (tmp_path / "here" / "results.csv").read_bytes()
    assert expected.count(b"\n") > 5
    assert (tmp_path / "there" / "results.csv").read_bytes() == expected


def test_the_same_data_set_here_and_on_the_cluster(cluster, tmp_path):
    options = ("generate", "--scenes", 2, "--frames", 1, "--max-objects", 2, "--output")
    here(*options, tmp_path / "here")
    on_cluster(cluster, *options, tmp_path / "there")
    files = [path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert filecmp.cmpfiles(tmp_path / "here", tmp_path / "there", files, shallow=False)[0] == files


def test_a_worker_that_is_killed_half_way_changes_nothing(cluster, tmp_path):
    program = [sys.executable, "-c", JOBS, cluster, str(tmp_path / "mark")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "refused: " in done.stdout and "is no number" in done.stdout


def test_an_address_without_a_cluster_is_refused():
    command = [sys.executable, "-m", "object_pose.cli.main", "evaluate", "oriented", "--rendered", "1"]
    done = subprocess.run([*command, "--ray", "127.0.0.1:1"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no Ray cluster" in done.stderr
