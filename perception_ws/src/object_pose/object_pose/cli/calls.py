"""Verbs that call other verbs, shown as a user would type them."""

from __future__ import annotations

import shlex
from typing import Any

from object_pose.cli.main import make_parser


def call(*words: Any) -> None:
    """Run a verb of the command line in this process; raises whatever it raises."""
    arguments = [str(word) for word in words]
    command = shlex.join(["object-pose", *arguments])
    print(f"$ {command}", flush=True)
    options = make_parser(arguments[0]).parse_args(arguments)
    options.command = command
    options.handler(options)
