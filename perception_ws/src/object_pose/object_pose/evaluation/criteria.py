"""Acceptance criteria: figures and the values that they must reach."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Criterion:
    """The least acceptable value of a figure; with ``below`` or ``at_most`` the value that it must stay under."""

    figure: str
    bound: float
    below: bool = False
    at_most: bool = False

    @property
    def kind(self) -> str:
        """How values are compared with the bound: 'below', 'at_most' or 'at_least'."""
        return "below" if self.below else "at_most" if self.at_most else "at_least"

    def is_met(self, value: float | None) -> bool:
        """Tell whether a value is acceptable; one that does not exist is not."""
        if value is None or math.isnan(value):
            return False
        return {"below": value < self.bound, "at_most": value <= self.bound, "at_least": value >= self.bound}[self.kind]


INSPECTION_CRITERIA = (Criterion("accuracy", 0.97), Criterion("recall_damaged", 0.97))
