"""How many jobs a server takes, and what they may take of the machine."""

from __future__ import annotations

from dataclasses import dataclass

from object_pose.core.params import parameter


@dataclass(frozen=True)
class JobsConfig:
    """How many jobs run and wait, and how they share the cores with what else runs."""

    at_once: int = parameter(1, "jobs that run at a time", minimum=1, maximum=64, read_only=True)
    most_waiting: int = parameter(32, "jobs that may wait; more are refused", minimum=1, maximum=10_000, read_only=True)
    nice: int = parameter(
        10, "niceness of jobs: 0 takes a usual share of the cores, 19 the rest", minimum=0, maximum=19, read_only=True
    )
