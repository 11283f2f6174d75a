"""One evaluation here, over processes and over a Ray cluster of two nodes, also with a killed worker: equal files.

Whatever speaks to the cluster is a process of its own: Ray ends one whose cluster has been gone for a minute.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import Benchmark, checked, criteria_table, report
from object_pose.core.errors import ObjectPoseError
from object_pose.evaluation.criteria import Criterion

_NODES = """
import sys
from ray.cluster_utils import Cluster
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes.add_node(num_cpus=1)
print("cluster", nodes.address, flush=True)
sys.stdin.read()
nodes.shutdown()
"""
_CRITERIA = (
    Criterion("rows", 20.0),
    Criterion("same_over_processes", 1.0),
    Criterion("same_over_cluster", 1.0),
    Criterion("workers_killed", 1.0),
    Criterion("same_with_killed_worker", 1.0),
)


@contextmanager
def two_nodes() -> Iterator[str]:
    """Start a Ray cluster of two nodes with a worker each on this machine; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", _NODES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin and process.stdout
    try:
        address = next((line.split()[1] for line in process.stdout if line.startswith("cluster ")), "")
        if not address:
            raise ObjectPoseError("no Ray cluster started", "what Ray said is above")
        yield address
    finally:
        process.stdin.close()
        process.wait()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how much is evaluated."""
    parser.add_argument("--frames", type=int, default=8, help="simulated frames (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Evaluate four times and compare the files."""
    output: Path = options.output
    here = _evaluated(options, output / "here")
    processes = _evaluated(options, output / "processes", "--workers", "2")
    with two_nodes() as address:
        cluster = _evaluated(options, output / "cluster", "--ray", address)
        killer = _Killer(address, options.frames // 2)
        survived = _evaluated(options, output / "killed", "--ray", address, killer=killer)
    figures = {
        "rows": float(here.count(b"\n") - 1),
        "same_over_processes": float(processes == here),
        "same_over_cluster": float(cluster == here),
        "workers_killed": float(len(killer.killed)),
        "same_with_killed_worker": float(survived == here),
    }
    summary = checked(figures, _CRITERIA)
    report(options, summary, output / "summary.json", criteria_table({"": summary["bars"]}))
    return 0 if summary["met"] else 1


@dataclass
class _Killer:
    """Kills a worker of a cluster once, at its job, when so many frames are done."""

    address: str
    after: int
    killed: list[int] = field(default_factory=list)

    def look(self, done: int) -> None:
        """Take note of how many frames are done."""
        if done >= self.after and not self.killed and (workers := _busy_workers(self.address)):
            os.kill(workers[0], signal.SIGKILL)
            self.killed.append(workers[0])


def _evaluated(options: argparse.Namespace, output: Path, *where: str, killer: _Killer | None = None) -> bytes:
    """Return the results.csv of an evaluation; raises ``ObjectPoseError`` where it fails."""
    command = [sys.executable, "-m", "object_pose.cli.main", "evaluate", "pose", "--rendered", str(options.frames)]
    command += ["--threads", "1", "--output", str(output), *where]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = []
    for line in process.stderr:  # the bar's carriage returns end lines, too
        said.append(line)
        if killer and (found := re.search(r"(\d+)/\d+", line)):
            killer.look(int(found[1]))
    if process.wait():
        raise ObjectPoseError(f"the evaluation {' '.join(where)} failed", "".join(said[-20:]))
    return (output / "results.csv").read_bytes()


def _busy_workers(address: str) -> list[int]:
    """Return the processes that are at a job of a cluster: Ray names them, and the one above them has the address."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
            parent = re.search(r"^PPid:\s*(\d+)", (folder / "status").read_text(), re.MULTILINE)
            above = Path("/proc", parent[1], "cmdline").read_bytes() if parent else b""
        except OSError:  # it has ended meanwhile
            continue
        if name.startswith(b"ray::") and not name.startswith(b"ray::IDLE") and address.encode() in above:
            found.append(int(folder.name))
    return found


BENCHMARK = Benchmark(
    "ray_check", "an evaluation here and over a Ray cluster, with a worker killed", add_options, run, Path("out/ray")
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
