"""How far a training run is, and its learning rate there: by steps, or by time where that runs out first."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from object_pose.training.config import TrainConfig

_FINAL_RATE = 0.01  # of the peak
_LONGEST_WARMUP = 0.1  # of the time, where there is a limit


@dataclass(frozen=True)
class Schedule:
    """The schedule of one call: from ``start_step``, begun at ``started_at`` seconds of ``time.monotonic``.

    With ``max_minutes`` the schedule is shortened to the time: warm-up and cosine then follow the clock where it is
    ahead of the steps, so that the learning rate is down when time is up, however long a step takes. A resumed run
    begins at the rate of its steps, or of the ``spent_s`` seconds that earlier calls took of the time limit.
    """

    config: TrainConfig
    start_step: int
    started_at: float
    spent_s: float = 0.0

    def time_used(self) -> float:
        """Return the share that is over of the time left to this call, at least 0 and without an upper bound.

        It is 0 without a limit.
        """
        if not self.config.max_minutes:
            return 0.0
        left_s = max(1e-9, 60.0 * self.config.max_minutes - self.spent_s)
        return max(0.0, time.monotonic() - self.started_at) / left_s

    def expected_steps(self, step: int) -> int:
        """Return how many steps the run will have at its end, after ``step`` ones, at the speed of this call."""
        steps, used = step - self.start_step, self.time_used()
        if not self.config.max_minutes or steps <= 0 or used <= 0.0:
            return self.config.steps
        return min(self.config.steps, self.start_step + max(steps, round(steps / used)))

    def done(self, step: int) -> float:
        """Return the share of the training done before ``step``, 0 to 1."""
        return self._share(step, 0)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of ``step``: a linear warm-up to the peak, then a cosine down to a hundredth."""
        warmup = self.config.warmup_steps
        risen = max((step + 1) / warmup if warmup else 1.0, self.time_used() / _LONGEST_WARMUP)
        cosine = 0.5 * (1.0 + math.cos(math.pi * self._share(step, warmup)))
        return self.config.learning_rate * min(1.0, risen) * (_FINAL_RATE + (1.0 - _FINAL_RATE) * cosine)

    def _share(self, step: int, first: int) -> float:
        """Return the share done of the steps after ``first``, or of the time where that is more."""
        at_start, by_steps = (
            min(1.0, max(0, value - first) / max(1, self.config.steps - first)) for value in (self.start_step, step)
        )
        if self.config.max_minutes:
            at_start = max(at_start, min(1.0, self.spent_s / (60.0 * self.config.max_minutes)))
        return max(by_steps, at_start + (1.0 - at_start) * min(1.0, self.time_used()))
