"""A real recipe that trains in seconds: a line through noisy points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from object_pose.training.config import TrainConfig
from object_pose.training.loop import Trainer

SLOPE = 3.0


@dataclass(frozen=True)
class LineRecipe:
    """Learns y = 3x; from sample ``poison_after`` on the labels are NaN."""

    poison_after: int = -1

    def network(self) -> nn.Module:
        return nn.Linear(1, 1)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
        drawn = 0
        while True:
            x = float(rng.uniform(-1, 1))
            drawn += 1
            yield x, float("nan") if 0 <= self.poison_after < drawn else SLOPE * x

    def collate(self, samples: list[tuple[float, float]]) -> Tensor:
        return torch.tensor(samples)

    def loss(self, network: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        return {"total": ((network(batch[:, :1]).squeeze(1) - batch[:, 1]) ** 2).mean()}

    def validate(self, network: nn.Module) -> dict[str, float]:
        assert isinstance(network, nn.Linear)
        return {"slope_error": abs(float(network.weight.detach()) - SLOPE)}


def config(steps: int, **changes: object) -> TrainConfig:
    """A small run on one thread without data processes."""
    values = {"batch_size": 16, "learning_rate": 0.1, "warmup_steps": 5, "workers": 0, "threads": 1, "device": "cpu"}
    values |= {"precision": "fp32", "weight_decay": 0.0, "checkpoint_every": 10, "validate_every": 50, "ema_decay": 0.9}
    return TrainConfig(steps=steps, **{**values, **changes})  # type: ignore[arg-type]


if __name__ == "__main__":
    Trainer(LineRecipe(), config(int(sys.argv[2])), Path(sys.argv[1])).run(resume="--resume" in sys.argv)
