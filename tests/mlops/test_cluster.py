"""Evaluation and data sets over a Ray cluster of two nodes: the same files as without, also when a worker is killed."""

from __future__ import annotations

import filecmp
import os
import signal
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed (make setup-all)")
from ray.cluster_utils import Cluster

from object_pose.cli.main import main
from object_pose.core.errors import ConfigError, DataError
from object_pose.mlops.cluster import ray_runner
from object_pose.workflows.parallel import in_order

pytestmark = pytest.mark.timeout(300)
SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with a worker each; the jobs of these tests are found there, too."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield nodes.address
    nodes.shutdown()


def evaluate(output: Path, *more: str) -> bytes:
    arguments = ["evaluate", "pose", "--rendered", "2", "--threads", "1", "--json", "--output", str(output)]
    assert main([*arguments, *more]) == 0
    return (output / "results.csv").read_bytes()


def test_the_same_evaluation_here_and_on_the_cluster(cluster, tmp_path, capsys):
    here = evaluate(tmp_path / "here")
    assert here.count(b"\n") > 5
    assert evaluate(tmp_path / "cluster", "--ray", cluster) == here
    assert evaluate(tmp_path / "processes", "--workers", "2") == here


def test_the_same_data_set_here_and_on_the_cluster(cluster, tmp_path):
    options = ["--scenes", "2", "--frames", "1", "--max-objects", "2"]
    assert main(["generate", "--output", str(tmp_path / "here"), *options]) == 0
    assert main(["generate", "--output", str(tmp_path / "there"), *options, "--ray", cluster]) == 0
    files = [path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert filecmp.cmpfiles(tmp_path / "here", tmp_path / "there", files, shallow=False)[0] == files


def die_once(job):
    mark, number = job
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number):
    raise DataError(f"{number} is no number")


def test_a_worker_that_is_killed_half_way_changes_nothing(cluster, tmp_path):
    with ray_runner(cluster) as runner:
        jobs = [(tmp_path / "mark", number) for number in range(8)]
        assert list(in_order(runner(die_once, jobs))) == list(range(8))
        assert (tmp_path / "mark").exists()
        with pytest.raises(DataError, match="is no number"):
            list(runner(refuse, range(3)))


def test_an_address_without_a_cluster_is_refused():
    with pytest.raises(ConfigError, match="no Ray cluster"), ray_runner("127.0.0.1:1"):
        pass
