"""The crop-level head's loss: where a window fits two orientations, it learns both and how likely each is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from object_pose.core.errors import ConfigError
from object_pose.training.crops import HYPOTHESES, CropRecipe
from object_pose.training.pose import CropTrainingConfig

_KEYPOINTS = 4
_LEFT, _RIGHT = -0.3, 0.3


class FreeOutputs(nn.Module):
    """One answer for every window: what is learned is what the loss likes best."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.keypoints = nn.Parameter(0.05 * torch.randn(1, HYPOTHESES, _KEYPOINTS, 3, generator=generator))
        self.shares = nn.Parameter(torch.zeros(1, HYPOTHESES))

    def forward(self, windows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        count = len(windows)
        logits = torch.tensor([[5.0, -5.0]]).expand(count, 2)
        return logits, self.keypoints.expand(count, 1, -1, -1, -1), self.shares.expand(count, 1, -1)


def test_two_ways_to_lie_become_two_hypotheses_with_their_shares() -> None:
    recipe = CropRecipe(1, _KEYPOINTS, lambda rng: iter(()), [])
    network = FreeOutputs()
    truth = torch.zeros(40, _KEYPOINTS, 2)
    truth[:28, :, 0], truth[28:, :, 0] = _LEFT, _RIGHT  # 70 % lie one way
    batch = torch.zeros(40, 5, 8, 8), torch.zeros(40, dtype=torch.long), truth
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(600):
        optimizer.zero_grad()
        recipe.loss(network, batch)["total"].backward()
        optimizer.step()
    places = network.keypoints[0, :, :, 0].detach().numpy()
    shares = network.shares[0].detach().softmax(dim=0).numpy()
    for side, share in ((_LEFT, 0.7), (_RIGHT, 0.3)):
        there = np.abs(places - side).max(axis=1) < 0.05
        assert abs(shares[there].sum() - share) < 0.05


def test_no_window_is_without_colour_and_depth():
    with pytest.raises(ConfigError, match="more than 1 together"):
        CropTrainingConfig(colour_only_share=0.6, relief_only_share=0.5)
