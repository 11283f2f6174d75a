"""Probabilities that mean what they say: a network's logits, scaled and shifted to fit what was held out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_ITERATIONS = 100
# So little that it only matters where the held-out samples can be told apart without an error.
_PRIOR = 1e-4


@dataclass(frozen=True)
class Calibration:
    """``scale`` of all logits and ``shift`` of each class, to be applied in this order."""

    scale: float
    shift: tuple[float, ...]

    def apply(self, logits: Tensor) -> Tensor:
        """Return calibrated logits of (B, C) logits."""
        return self.scale * logits + torch.tensor(self.shift, device=logits.device)


def fit_calibration(logits: Tensor, class_ids: Tensor) -> Calibration:
    """Return the calibration (Guo 2017, with a shift a class) under which the (N,) classes are likeliest.

    The shifts' mean stays zero: probabilities only know differences.
    """
    log_scale = torch.zeros(1, requires_grad=True)
    shift = torch.zeros(logits.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale, shift], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(log_scale.exp() * logits + shift, class_ids)
        value = value + _PRIOR * (log_scale.square().sum() + shift.square().sum())
        value.backward()
        return value

    optimizer.step(loss)
    centred = shift.detach() - shift.detach().mean()
    return Calibration(float(log_scale.detach().exp()), tuple(centred.tolist()))
