"""What is good enough: figures held against bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """The least value of a figure that is good enough; with ``below`` or ``at_most`` the value to stay under."""

    figure: str
    bound: float
    below: bool = False
    at_most: bool = False

    @property
    def kind(self) -> str:
        """How values are held against the bound: 'below', 'at_most' or 'at_least'."""
        return "below" if self.below else "at_most" if self.at_most else "at_least"

    def is_met(self, value: float | None) -> bool:
        """Whether a figure reaches the bar; one that does not exist does not."""
        if value is None or math.isnan(value):
            return False
        return {"below": value < self.bound, "at_most": value <= self.bound, "at_least": value >= self.bound}[self.kind]


def judge(figures: Mapping[str, float], bars: Sequence[Bar]) -> dict[str, Any]:
    """Return figures as JSON values with, under ``bars``, what each was held against, and whether all were met."""
    held = {
        bar.figure: {"bound": bar.bound, "kind": bar.kind, "met": bar.is_met(value)}
        for bar in bars
        for value in [figures.get(bar.figure)]
    }
    plain = {name: None if math.isnan(value) else round(value, 5) for name, value in figures.items()}
    return {**plain, "bars": held, "met": all(item["met"] for item in held.values())}


def failed(problem: str, bars: Sequence[Bar]) -> dict[str, Any]:
    """Return what is said of a check that could not be done: no bar is met."""
    return {"problem": problem, **judge({}, bars)}
