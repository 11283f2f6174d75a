"""The RoI head's network: a region around a detection to its class, or none, its keypoints and its visible mask.

A region shows the object in the middle and at one size, so orientation is learned from a fraction of the pixels that
the whole image costs; the detector only has to find candidates. Beside colour it reads relief, the depth about the
object, which shows how a grey part lies where light does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from object_pose.core.vision.roi import COLOR_CHANNELS, RELIEF_CHANNELS
from object_pose.training.networks.blocks import ConvUnit, CrossStage, SeparableUnit, initialise

ROI_SIZE, ROI_STRIDE = 80, 16  # the usual side of a region, pixels, and what every side is a multiple of
HYPOTHESES = 3
_FEATURES, _MIXED = 256, 96  # channels that describe the whole region, and each of its cells
_BETWEEN = 64  # channels between the two kernels that mix neighbouring cells (docs/decisions/0017)
_CELL = 4  # side of a cell that votes, pixels
_MASK_SCALE = 2  # mask cells to a side of a voting cell
MASK_CELL = _CELL // _MASK_SCALE
_VOTE_STD = 0.01  # of the initial weights of votes: equal hypotheses would stay equal


class RoiOutput(NamedTuple):
    """What N regions show, of C classes or of one each.

    ``logits`` (N, C + 1), the last for none; ``keypoints`` (N, C, H, K, 3): x, y and log sigma in units of the region's
    side; ``spread`` (N, C, H, K): mean distance of the votes for them; ``shares`` (N, C, H): logits of the hypotheses;
    ``mask`` (N, M, M): logits of where the object is visible.
    """

    logits: Tensor
    keypoints: Tensor
    spread: Tensor
    shares: Tensor
    mask: Tensor


class RoiNetwork(nn.Module):
    """Classes and, for every class, ``HYPOTHESES`` of its keypoints; a million parameters for six classes.

    Each cell of a region votes for where the keypoints lie from it, and with what weight: what is learned of a corner
    holds wherever the corner is, and what is occluded is outvoted (after PVNet, Peng et al. 2019). An occluded or far
    object often fits more than one orientation, and one answer would be a mean that fits none: the hypotheses, each
    with its probability, leave the choice to depth. The mask is the region's, whatever its class.
    """

    places: Tensor

    def __init__(
        self,
        class_count: int,
        keypoint_count: int,
        size: int = ROI_SIZE,
        widths: Sequence[int] = (32, 64, 128, 192),
        depths: Sequence[int] = (1, 2, 4, 2),
        separable: bool = True,
    ) -> None:
        super().__init__()
        self.class_count, self.keypoint_count = class_count, keypoint_count
        w1, w2, w3, w4 = widths
        d1, d2, d3, d4 = depths
        self.body = nn.Sequential(
            ConvUnit(COLOR_CHANNELS + RELIEF_CHANNELS, w1, 3, 2),
            CrossStage(w1, w1, d1, True),
            ConvUnit(w1, w2, 3, 2),
            CrossStage(w2, w2, d2, True),
            ConvUnit(w2, w3, 3, 2),
            CrossStage(w3, w3, d3, True),
            ConvUnit(w3, w4, 3, 2),
            CrossStage(w4, w4, d4, True),
        )
        # A mean in which each channel weighs the cells in its own way.
        self.overview = nn.Sequential(
            nn.Conv2d(w4, w4, size // ROI_STRIDE, groups=w4), nn.Flatten(), nn.Linear(w4, _FEATURES), nn.SiLU()
        )
        self.classes = nn.Linear(_FEATURES, class_count + 1)
        self.shares = nn.Linear(_FEATURES, class_count * HYPOTHESES)
        self.fine, self.middle, self.coarse = ConvUnit(w2, _MIXED), ConvUnit(w3, _MIXED), ConvUnit(w4, _MIXED)
        self.whole = nn.Linear(_FEATURES, _MIXED)
        # Heads of before have a square kernel.
        self.mixed = SeparableUnit(_MIXED, _BETWEEN, _MIXED, 3) if separable else ConvUnit(_MIXED, _MIXED, 3)
        self.votes = nn.Conv2d(_MIXED, class_count * HYPOTHESES * keypoint_count * 4, 1)
        self.mask = nn.Sequential(ConvUnit(_MIXED, _MIXED // 2, 3), nn.Conv2d(_MIXED // 2, _MASK_SCALE**2, 1))
        side = size // _CELL
        row = (torch.arange(side) + 0.5) / side - 0.5
        self.register_buffer("places", torch.stack([row.repeat(side), row.repeat_interleave(side)]), persistent=False)
        initialise(self)
        nn.init.normal_(self.shares.weight, std=0.01)
        nn.init.normal_(self.votes.weight, std=_VOTE_STD)

    @property
    def class_layers(self) -> tuple[str, ...]:
        """The layers whose outputs are of the classes."""
        return ("classes", "shares", "votes")

    def forward(self, windows: Tensor, class_ids: Tensor | None = None) -> RoiOutput:
        """Map regions (N, 5, S, S) to their output; with ``class_ids`` (N,) the keypoints of one class each."""
        features, cells = self.describe(windows)
        mixed = self.mixed(cells)
        votes = self.votes(mixed).flatten(2) if class_ids is None else self.votes_of(mixed, class_ids)
        mask = nn.functional.pixel_shuffle(self.mask(mixed).float(), _MASK_SCALE)[:, 0]
        with torch.autocast(windows.device.type, enabled=False):
            keypoints, spread = self.tally(votes.float(), self.class_count if class_ids is None else 1)
            shares = self.shares(features).view(-1, self.class_count, HYPOTHESES)
            if class_ids is not None:
                shares = shares[torch.arange(len(shares)), class_ids][:, None]
            return RoiOutput(self.classes(features), keypoints, spread, shares, mask)

    def tally(self, votes: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Return the weighted means (N, C, H, K, 3) of votes (N, C * H * K * 4, P * P), and their spread (N, C, H, K).

        A cell's vote is x and y from its centre, log sigma and weight.
        """
        each = votes.view(-1, classes, HYPOTHESES, self.keypoint_count, 4, votes.shape[-1])
        weights = each[..., 3:, :].softmax(dim=-1)
        towards = each[..., :2, :] + self.places
        means = (towards * weights).sum(dim=-1)
        log_sigmas = (each[..., 2:3, :] * weights).sum(dim=-1)
        spread = ((towards - means[..., None]).abs() * weights).sum(dim=(-2, -1))
        return torch.cat([means, log_sigmas], dim=-1), spread

    def describe(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of whole regions (N, F) and of their cells (N, M, P, P), before ``mixed``."""
        fine = self.body[:4](windows)
        middle = self.body[4:6](fine)
        coarse = self.body[6:](middle)
        features = self.overview(coarse).float()
        wider = _doubled(self.middle(middle) + _doubled(self.coarse(coarse)))
        return features, self.fine(fine) + wider + self.whole(features)[..., None, None]

    def votes_of(self, mixed: Tensor, class_ids: Tensor) -> Tensor:
        """Return what ``votes`` gives for one class of each region, (N, H * K * 4, P * P)."""
        assert self.votes.bias is not None
        count = HYPOTHESES * self.keypoint_count * 4
        # Indexed as they are, weight and bias keep their names in an exported graph.
        rows = class_ids[:, None] * count + torch.arange(count, device=class_ids.device)
        weight, bias = self.votes.weight[rows].flatten(2), self.votes.bias[rows][..., None]
        return torch.baddbmm(bias.to(mixed.dtype), weight.to(mixed.dtype), mixed.flatten(2))


def _doubled(maps: Tensor) -> Tensor:
    return nn.functional.interpolate(maps, scale_factor=2.0)


class ExportedRoiHead(nn.Module):
    """The network's first stage: which class each region shows, and the cells that the other stages read."""

    def __init__(self, network: RoiNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (N, 5, S, S), colour and relief, to probabilities, shares and cells.

        Probabilities are (N, C + 1), the last of none, shares (N, C, H) those of the hypotheses and cells (N, M, P, P).
        """
        network = self.network
        features, cells = network.describe(windows)
        shares = network.shares(features).view(-1, network.class_count, HYPOTHESES)
        return network.classes(features).softmax(dim=1), shares.softmax(dim=2), cells


class ExportedKeypoints(nn.Module):
    """The second stage: the keypoints of one class each, of those regions alone whose class is of interest."""

    def __init__(self, network: RoiNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, cells: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Map cells (N, M, P, P) and classes (N,) to keypoints (N, H, K, 3): x, y, sigma; and mixed cells."""
        mixed = self.network.mixed(cells)
        keypoints, _ = self.network.tally(self.network.votes_of(mixed, class_ids), 1)
        sigmas = keypoints[..., 2:].clamp(-6.0, 1.0).exp()
        return torch.cat([keypoints[..., :2], sigmas], dim=-1)[:, 0], mixed


class ExportedMasks(nn.Module):
    """The third stage: visible masks, where they are asked for."""

    def __init__(self, network: RoiNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, mixed: Tensor) -> Tensor:
        """Map mixed cells (N, M, P, P) to masks (N, 2P, 2P)."""
        return nn.functional.pixel_shuffle(self.network.mask(mixed), _MASK_SCALE)[:, 0].sigmoid()
