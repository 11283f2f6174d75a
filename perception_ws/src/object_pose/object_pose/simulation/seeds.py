"""Seeds of simulated data: training, validation and test draw from ranges that have none in common.

A simulated sample follows from its seed alone, so equal seeds are equal samples. Whatever trains, selects or measures a
model takes its seeds from one of the three ranges here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SeedRange:
    """The seeds from ``first`` up to ``stop``, which is not one of them."""

    name: str
    first: int
    stop: int

    def __contains__(self, seed: int) -> bool:
        return self.first <= seed < self.stop

    def seed(self, offset: int = 0) -> int:
        """Return the seed at ``offset`` in the range; raises ``ValueError`` beyond its end."""
        seed = self.first + offset
        if seed not in self:
            raise ValueError(f"{self.name} has seeds {self.first} to {self.stop - 1}, not {seed}")
        return seed

    def seeds(self, count: int, offset: int = 0, step: int = 1) -> range:
        """Return ``count`` seeds from ``offset`` on, ``step`` apart; raises ``ValueError`` beyond the range's end."""
        first = self.seed(offset)
        if count > 0:
            self.seed(offset + (count - 1) * step)
        return range(first, first + count * step, step)

    def draw(self, rng: np.random.Generator) -> int:
        """Draw any seed of the range."""
        return int(rng.integers(self.first, self.stop))


TRAINING = SeedRange("training", 0, 1_900_000_000)
VALIDATION = SeedRange("validation", 1_900_000_000, 2_000_000_000)
TEST = SeedRange("test", 2_000_000_000, 2**31)
