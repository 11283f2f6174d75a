"""The command line as a user has it: arguments in, exit code, standard output and standard error out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from object_pose.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """The one line on standard error that a user's mistake is told in."""
        assert self.code == 2, self.err
        assert self.out == ""
        assert self.err.count("\n") == 1 and self.err.startswith("object-pose"), self.err
        return self.err


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run ``object-pose`` with arguments in this process."""

    def run(*arguments: Any) -> Outcome:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run
