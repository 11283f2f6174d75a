"""Schemathesis over the whole OpenAPI: no answer of 500 and above, and none that is not documented."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import Benchmark, checked, criteria_table, report
from benchmarks.http_server import Served, serving
from object_pose.core.errors import ObjectPoseError
from object_pose.evaluation.criteria import Criterion

OUTPUT = Path("out/api-fuzz")
CRITERIA = (Criterion("failures", 0.0, at_most=True), Criterion("cases", 50.0))
_PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
_ANSWERED_S = 120  # the first question about jobs or the registry imports what trains
_ENDLESS = r"events|stream\.mjpeg"  # answers that never end; tests read them
_CASES = re.compile(r"(\d+) generated, (\d+) passed")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--max-examples", type=int, default=60, help="inputs a route (default: %(default)s)")
    parser.add_argument("--phases", default="examples,coverage,fuzzing", help="of schemathesis (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Send inputs of every kind to a server of our own; 1 where it fails, or answers what it does not say."""
    with serving("--requests-per-second", "100000", "--burst", "100000") as served:
        command = [sys.executable, "-c", _PROGRAM, "run", f"{served.url}/v1/openapi.json"]
        command += ["--header", f"Authorization: Bearer {served.token}", "--checks", ",".join(_CHECKS)]
        command += ["--phases", options.phases, "--max-examples", str(options.max_examples)]
        command += ["--request-timeout", "180"]  # on a busy machine, jobs and the registry are slow the first time
        command += ["--seed", str(options.seed), "--exclude-path-regex", _ENDLESS]
        command += ["--suppress-health-check", "all", "--continue-on-failure", "--no-color", "--warnings", "off"]
        command += ["--request-timeout", str(_ANSWERED_S)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_folder(options.output))
        _end_jobs(served)
    said = _ANSI.sub("", done.stdout + done.stderr).replace(served.token, "TOKEN")
    (options.output / "schemathesis.log").write_text(said)
    counted = _CASES.search(said)
    if counted is None:
        raise ObjectPoseError("schemathesis did not run", f"see {options.output / 'schemathesis.log'}")
    cases, passed = (int(group) for group in counted.groups())
    summary = checked({"cases": cases, "failures": max(cases - passed, int(done.returncode != 0))}, CRITERIA)
    report(options, summary, options.output / "summary.json", criteria_table({"": summary["bars"]}))
    return 0 if summary["met"] else 1


def _end_jobs(served: Served) -> None:
    """Cancel what the inputs have begun: jobs outlive their server."""
    with served.client() as client:
        for job in client.get("/v1/jobs").json():
            client.post(f"/v1/jobs/{job['id']}/cancel")
        while any(job["state"] in ("queued", "running") for job in client.get("/v1/jobs").json()):
            time.sleep(0.5)


def _folder(path: Path) -> Path:
    """Make a folder; schemathesis keeps its examples in the one that it runs in."""
    path.mkdir(parents=True, exist_ok=True)
    return path


BENCHMARK = Benchmark("api_fuzz", str(__doc__), add_options, run, OUTPUT)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
