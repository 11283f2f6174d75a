"""The crop-level head's loss: where a window fits two orientations, it learns both and how likely each is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from object_pose.core.errors import ConfigError
from object_pose.training.crops import HYPOTHESES, CropNetwork, CropOutput, CropRecipe
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

    def forward(self, windows: torch.Tensor, class_ids: torch.Tensor) -> CropOutput:
        count = len(windows)
        logits = torch.tensor([[5.0, -5.0]]).expand(count, 2)
        keypoints = self.keypoints.expand(count, 1, -1, -1, -1)
        return CropOutput(logits, keypoints, keypoints[..., 0] * 0.0, self.shares.expand(count, 1, -1))


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


def test_one_class_each_is_what_all_classes_say_of_it() -> None:
    network = CropNetwork(3, _KEYPOINTS).eval()
    windows, class_ids = torch.rand(5, 5, 80, 80), torch.tensor([0, 2, 1, 2, 0])
    with torch.no_grad():
        every, own = network(windows), network(windows, class_ids)
    rows = torch.arange(5)
    assert own.keypoints.shape == (5, 1, HYPOTHESES, _KEYPOINTS, 3)
    for one, other in ((own.keypoints, every.keypoints), (own.spread, every.spread), (own.shares, every.shares)):
        torch.testing.assert_close(one[:, 0], other[rows, class_ids])


def test_what_moves_in_the_window_moves_its_keypoints() -> None:
    """Votes are for places relative to their own: the same votes from places further right are further right."""
    network = CropNetwork(1, _KEYPOINTS).eval()
    mixed = torch.zeros(1, network.votes.in_channels, 20, 20)
    with torch.no_grad():
        network.votes.weight.zero_()
        network.votes.weight.view(HYPOTHESES, _KEYPOINTS, 4, -1)[:, :, 3, 0] = 50.0  # only lit places count
        means = []
        for column in (5, 9):
            lit = mixed.clone()
            lit[0, 0, 7, column] = 1.0
            means.append(network.tally(network.votes(lit).flatten(2), 1)[0][0, 0, 0, 0, :2])
    torch.testing.assert_close(means[1] - means[0], torch.tensor([4 / 20, 0.0]), atol=1e-4, rtol=0)


def test_no_window_is_without_colour_and_depth():
    with pytest.raises(ConfigError, match="more than 1 together"):
        CropTrainingConfig(colour_only_share=0.6, relief_only_share=0.5)


def test_windows_are_of_whole_places():
    with pytest.raises(ConfigError, match="'crop_size' is 100"):
        CropTrainingConfig(crop_size=100)


def test_a_larger_window_has_more_places_and_the_same_answers() -> None:
    found = CropNetwork(2, _KEYPOINTS, size=112).eval()(torch.rand(1, 5, 112, 112))
    assert found.keypoints.shape == (1, 2, HYPOTHESES, _KEYPOINTS, 3)
    assert found.logits.shape == (1, 3)
