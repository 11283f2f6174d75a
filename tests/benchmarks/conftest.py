"""Benchmarks as ``python -m benchmarks.NAME`` runs them: arguments in, exit code and output out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.harness import Benchmark


@dataclass(frozen=True)
class Outcome:
    """What a benchmark ended with."""

    code: int
    out: str
    err: str


Start = Callable[..., Outcome]


@pytest.fixture
def start(capfd: pytest.CaptureFixture[str]) -> Start:
    """Run a benchmark with arguments in this process."""

    def run(benchmark: Benchmark, *arguments: Any) -> Outcome:
        try:
            code = benchmark.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run
