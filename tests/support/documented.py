"""Commands of ``object-pose`` as help texts and pages show them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

import pytest

from object_pose.cli.main import make_parser


def commands(text: str) -> list[list[str]]:
    """The arguments of each line that calls object-pose; what follows in brackets or after a # or & is none of them."""
    lines = [line.strip() for line in text.splitlines()]
    calls = [re.sub(r"\s+(\(.*\)|&)$", "", line) for line in lines if line.startswith("object-pose ")]
    return [shlex.split(call, comments=True)[1:] for call in calls]


def are_valid(examples: Iterable[list[str]], folder: Path) -> None:
    """Parse commands where every model that they name is there."""
    for arguments in examples:
        for word in arguments:
            if word.endswith(".onnx"):
                (folder / word).parent.mkdir(parents=True, exist_ok=True)
                (folder / word).touch()
        if "--schema" in arguments:  # prints and ends the program
            with pytest.raises(SystemExit, match="0"):
                make_parser(arguments[0]).parse_args(arguments)
        else:
            assert make_parser(arguments[0]).parse_args(arguments).verb == arguments[0]
