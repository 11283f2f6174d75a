"""Learning oriented boxes: a small network over cells, its loss, and the spaceship recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from object_pose.core.oriented import OrientedBox, decode_oriented, score_oriented
from object_pose.runtime.card import ModelCard
from object_pose.simulation.spaceship import IMAGE_SIZE, spaceship_sample
from object_pose.training.blocks import ConvUnit, CrossStage, PyramidPooling, initialise
from object_pose.training.export import Exportable
from object_pose.training.loop import load_average

STRIDE = 8
_CELLS = IMAGE_SIZE // STRIDE
_VALIDATION_SEED = 1_900_000_000
Sample = tuple[NDArray[np.float32], NDArray[np.float64]]


class OrientedNetwork(nn.Module):
    """Which cell holds the object, if any, and its box there; 1.3 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.to_2 = nn.Sequential(ConvUnit(1, 32, 5, 2), CrossStage(32, 32, 1, True))
        self.to_4 = nn.Sequential(ConvUnit(32, 64, 3, 2), CrossStage(64, 64, 2, True))
        self.to_8 = nn.Sequential(ConvUnit(64, 128, 3, 2), CrossStage(128, 128, 2, True))
        self.to_16 = nn.Sequential(ConvUnit(128, 160, 3, 2), CrossStage(160, 160, 1, True), PyramidPooling(160))
        self.mix = CrossStage(128 + 160, 128, 2)
        self.cells = nn.Sequential(ConvUnit(128, 64, 3), nn.Conv2d(64, 2, 1))
        self.geometry = nn.Sequential(ConvUnit(128, 128, 3), nn.Conv2d(128, 6, 1))
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 1, 200, 200) in [0, 1] to logits (B, cells + 1), the last for nothing, and geometry (B, 6, H, W)."""
        p8 = self.to_8(self.to_4(self.to_2(images)))
        up = nn.functional.interpolate(self.to_16(p8), size=p8.shape[2:], mode="nearest")
        features = self.mix(torch.cat([p8, up], dim=1))
        maps = self.cells(features).float()
        nothing = -torch.logsumexp(maps[:, 1].flatten(1), dim=1, keepdim=True)
        geometry = self.geometry(features).float()
        sizes = geometry[:, 2:4] + torch.tensor([3.3, 3.7], device=geometry.device)[None, :, None, None]
        geometry = torch.cat([geometry[:, :2], sizes, geometry[:, 4:]], dim=1)
        return torch.cat([maps[:, 0].flatten(1), nothing], dim=1), geometry


class ExportedOriented(nn.Module):
    """The network with probabilities in place of logits, as its card's layout ``oriented_cells`` says."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (1, 1, 200, 200) to presence (1, cells + 1) and geometry (1, 6, H, W)."""
        logits, geometry = self.network(images)
        return logits.softmax(dim=1), geometry


@dataclass(frozen=True)
class OrientedRecipe:
    """Endless fresh spaceships; validation on ``validation_count`` with seeds that training never draws."""

    validation_count: int = 1000

    def network(self) -> nn.Module:
        """Return the untrained network."""
        return OrientedNetwork()

    def samples(self, rng: np.random.Generator) -> Iterator[Sample]:
        """Yield images and labels for ever."""
        while True:
            yield spaceship_sample(int(rng.integers(_VALIDATION_SEED)))

    def collate(self, samples: list[Sample]) -> tuple[Tensor, Tensor]:
        """Stack to images (B, 1, 200, 200) and labels (B, 5), NaN where there is no ship."""
        images = torch.from_numpy(np.stack([image for image, _ in samples]))[:, None]
        return images, torch.from_numpy(np.stack([label for _, label in samples])).float()

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy over cells, and L1 of the box in tolerances of the score, on the cells around the centre."""
        images, labels = batch
        logits, geometry = network(images)
        present = ~torch.isnan(labels[:, 0])
        place = (torch.nan_to_num(labels[:, :2]) - (STRIDE - 1) / 2) / STRIDE
        cell = place.round().clamp(0, _CELLS - 1).long()
        target = torch.where(present, cell[:, 1] * _CELLS + cell[:, 0], torch.full_like(cell[:, 0], _CELLS**2))
        cells = nn.functional.cross_entropy(logits, target)

        grid = torch.arange(_CELLS, device=images.device, dtype=torch.float32)
        dx = place[:, 0, None, None] - grid[None, None, :]
        dy = place[:, 1, None, None] - grid[None, :, None]
        near = ((dx.abs() < 1.6) & (dy.abs() < 1.6) & present[:, None, None]).float()
        box = torch.nan_to_num(labels[:, 2:], nan=1.0)
        constant = torch.stack([box[:, 1].log(), box[:, 2].log(), box[:, 0].sin(), box[:, 0].cos()], dim=1)
        expanded = constant[:, :, None, None].expand(-1, -1, _CELLS, _CELLS)
        wanted = torch.cat([dx.expand_as(near)[:, None], dy.expand_as(near)[:, None], expanded], dim=1)
        # One unit of loss is about the error that costs an IoU of 0.7.
        tolerance = torch.tensor([0.4, 0.4, 0.15, 0.15, 0.3, 0.3], device=images.device)[None, :, None, None]
        error = ((geometry - wanted).abs() / tolerance).sum(dim=1)
        regression = (error * near).sum() / near.sum().clamp(min=1.0)
        return {"cells": cells, "box": regression, "total": cells + 0.5 * regression}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the published score and heading accuracy on held-out seeds."""
        exported = ExportedOriented(network).eval()
        device = next(network.parameters()).device
        predictions, truths = [], []
        for start in range(0, self.validation_count, 50):
            samples = [spaceship_sample(_VALIDATION_SEED + start + i) for i in range(50)]
            images, _ = self.collate(samples)
            presence, geometry = (output.cpu().numpy() for output in exported(images.to(device)))
            predictions += [decode_oriented(p, g, STRIDE, 0.5) for p, g in zip(presence, geometry)]
            truths += [OrientedBox(*label) if not np.isnan(label[0]) else None for _, label in samples]
        score = score_oriented(predictions, truths)
        return {
            "score_iou07": score.score_iou07,
            "heading_within_15deg": score.heading_within_15deg,
            "average_precision": score.average_precision,
            "mean_iou": score.mean_iou,
        }


def exportable_oriented(run_dir: Path) -> Exportable:
    """Return a run's averaged network, ready to export."""
    network = load_average(run_dir, OrientedNetwork())
    card = ModelCard("oriented", "oriented_cells", labels=("spaceship",), input_wh=(IMAGE_SIZE, IMAGE_SIZE))
    return Exportable(ExportedOriented(network), card, ("presence", "geometry"), channels=1)
