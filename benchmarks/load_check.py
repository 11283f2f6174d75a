"""Many clients of one server beside the running pipeline: who watches and who asks must not slow what runs.

The pipeline's rate is what a planner gets in a process of its own, with the clients and without. A prediction that the
full queue refuses (429) is asked for again after ``Retry-After``, and counted as refused, not as an error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, checked, report_checks
from benchmarks.http_server import wait_until_ready
from object_pose.cli.processes import Process, child_processes
from object_pose.core.errors import ObjectPoseError
from object_pose.evaluation.criteria import Criterion
from object_pose.web.config import STATE_VARIABLE

_STARTED_WITHIN_S = 240.0
_SETTLED_S = 10.0
_MOST_RATIO = 1.1
_PLANNER = "object_pose.ros.demo.planner_probe"
_CRITERIA = (
    Criterion("errors", 0, at_most=True),
    Criterion("rate_ratio", 0.9),
    Criterion("memory_growth", 0.05, at_most=True),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load lasts (default: %(default)s)")
    parser.add_argument("--alone", type=float, default=20.0, help="how long without clients (default: %(default)s)")
    parser.add_argument("--streams", type=int, default=50, help="clients of the live view (default: %(default)s)")
    parser.add_argument("--predictors", type=int, default=8, help="clients of predictions (default: %(default)s)")
    parser.add_argument("--task", default="pose", help="what they ask for (default: %(default)s)")
    parser.add_argument(
        "--depth", action="store_true", help="they send depth, too: several times quicker than colour alone"
    )


def run(options: argparse.Namespace) -> int:
    """Measure the pipeline alone, then with all clients."""
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as state:
        os.environ[STATE_VARIABLE] = state
        figures = _figures(options)
    return report_checks(options, {"load": checked(figures, _CRITERIA)}, options.output / "summary.json")


def _figures(options: argparse.Namespace) -> dict[str, Any]:
    def watch(seconds: float) -> dict[str, Any]:
        summary: dict[str, Any] = _last(start(_PLANNER, "--seconds", seconds, pipe=True))["summary"]
        return summary

    with child_processes() as start:
        web = ("--processes", "--fixed-frame", "world", "--web", "--web-port", 0)
        pipeline = start("object_pose.cli.main", "run", *web, pipe=True)
        url = _url(pipeline)
        # Models are loaded, and frames come.
        wait_until_ready(url, _STARTED_WITHIN_S, ("/readyz", "/v1/live/snapshot.jpg"))
        time.sleep(_SETTLED_S)  # the first frames compile what the cache does not hold
        alone = watch(options.alone)
        words = ("--url", url, "--task", options.task, "--seconds", options.seconds + 2.0 * _SETTLED_S)
        counts = ("--streams", options.streams, "--predictors", options.predictors)
        flags = ("--depth",) if options.depth else ()
        clients = start("benchmarks.load_clients", *words, *counts, *flags, pipe=True)
        time.sleep(_SETTLED_S)
        server = _server_process(pipeline.pid)
        memory_before = _memory_mib(server)
        loaded = watch(options.seconds)
        memory_after = _memory_mib(server)
        seen = _last(clients)
    ratio = loaded["rate_hz"] / alone["rate_hz"]
    if ratio > _MOST_RATIO:
        raise ObjectPoseError(
            f"the pipeline gave {alone['rate_hz']:.1f} Hz without clients and {loaded['rate_hz']:.1f} Hz with them",
            "it was disturbed without them, and the ratio says nothing: run the check again on a quiet machine",
        )
    return {
        **seen,
        "rate_ratio": ratio,
        "rate_alone_hz": alone["rate_hz"],
        "rate_loaded_hz": loaded["rate_hz"],
        "latency_alone_ms": alone["latency_ms"],
        "latency_loaded_ms": loaded["latency_ms"],
        "memory_growth": max(memory_after / memory_before - 1.0, 0.0),
        "memory_mib": memory_after,
    }


def _url(pipeline: Process) -> str:
    """Return where the server answers; what the pipeline says afterwards is passed on."""
    assert pipeline.stdout
    for line in pipeline.stdout:
        if found := re.search(r"answers on (\S+)", line):
            threading.Thread(target=_pass_on, args=(pipeline,), daemon=True).start()
            return found.group(1)
    raise ObjectPoseError("the pipeline has ended", "what it said is above")


def _pass_on(pipeline: Process) -> None:
    for line in pipeline.stdout or ():
        print(line, end="")


def _last(process: Process) -> dict[str, Any]:
    """Return the last line that a process prints, as JSON."""
    assert process.stdout
    lines = process.stdout.read().splitlines()
    if process.wait() != 0 or not lines:
        raise ObjectPoseError("a process of the check ended early", "what it said is above")
    values: dict[str, Any] = json.loads(lines[-1])
    return values


def _server_process(parent: int) -> int:
    """Return the server among a process's children."""
    for child in _children(parent):
        if b"--live" in Path(f"/proc/{child}/cmdline").read_bytes():
            return child
    raise ObjectPoseError("the server has ended", "what it said is above")


def _children(parent: int) -> list[int]:
    """Return the processes that any thread of a process has started."""
    return [
        int(child) for file in Path(f"/proc/{parent}/task").glob("*/children") for child in file.read_text().split()
    ]


def _memory_mib(server: int) -> float:
    """Return what the server and its predictor take."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (server, *_children(server))]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


BENCHMARK = Benchmark(
    "load_check",
    "Stream and prediction clients of one server beside the running pipeline: errors, rates, times and memory",
    add_options,
    run,
    Path("out/load"),
)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
