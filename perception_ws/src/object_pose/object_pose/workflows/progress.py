"""How a workflow tells its caller how far it is, and how the caller ends it early."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` units of one stage, 0 where the total is not known, with the stage's latest figures."""

    stage: str
    done: int
    total: int = 0
    unit: str = "step"
    figures: Mapping[str, float] = field(default_factory=dict)


# Called after each unit of work. It cancels the workflow by raising ``core.errors.CancelledError``, which reaches the
# caller once what is done has been saved.
ProgressCallback = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Go on without telling anybody: the callback of a caller that has none."""


def reported(
    items: Iterable[ItemT], callback: ProgressCallback, stage: str, total: int = 0, unit: str = "frame"
) -> Iterator[ItemT]:
    """Yield the items of one stage and report each one when the next is asked for."""
    callback(Progress(stage, 0, total, unit))
    for done, item in enumerate(items, start=1):
        yield item
        callback(Progress(stage, done, total, unit))
