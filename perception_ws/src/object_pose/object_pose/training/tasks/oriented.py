"""Learning oriented boxes: the loss and the spaceship recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from object_pose.core.results.oriented import SCORE_THRESHOLD, OrientedBox, decode_oriented, score_oriented
from object_pose.runtime.card import ModelCard
from object_pose.simulation.generators.spaceship import IMAGE_SIZE, spaceship_sample
from object_pose.simulation.seeds import TRAINING, VALIDATION
from object_pose.tasks.oriented import LAYOUT
from object_pose.training.checkpoint import load_average
from object_pose.training.networks.oriented import STRIDE, ExportedOriented, OrientedNetwork, changed, changes_between
from object_pose.training.onnx.export import Exportable

_CELLS = IMAGE_SIZE // STRIDE
# One unit of loss is about the error at which the IoU is 0.7: offsets in cells, log sizes, sine and cosine.
_CELL_TOLERANCE = (0.4, 0.4, 0.15, 0.15, 0.3, 0.3)
# The same of a change, and the deviation of first boxes: shares of the box, radians, log sizes.
_CHANGE_TOLERANCE = (0.08, 0.08, 0.15, 0.1, 0.1)
_START_SPREAD = (0.07, 0.05, 0.1, 0.11, 0.11)
# The contours that are compared take about 20 MB an image.
_VALIDATION_BATCH = 10
Sample = tuple[NDArray[np.float32], NDArray[np.float64]]


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
            yield spaceship_sample(TRAINING.draw(rng))

    def collate(self, samples: list[Sample]) -> tuple[Tensor, Tensor]:
        """Stack to images (B, 1, 200, 200) and labels (B, 5), NaN where there is no ship.

        Yaw turns as the network has it, which is the other way than in labels: see ``decode_oriented``.
        """
        images = torch.from_numpy(np.stack([image for image, _ in samples]))[:, None]
        labels = torch.from_numpy(np.stack([label for _, label in samples])).float()
        return images, labels * torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0])

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy over cells, L1 of the box on the cells around the centre, and of the refined boxes."""
        assert isinstance(network, OrientedNetwork)
        images, labels = batch
        present = ~torch.isnan(labels[:, 0])
        logits, geometry = network(images)
        cells, box = _cell_losses(logits, geometry, labels, present)
        refined = _refinement_loss(network, images[present], labels[present])
        return {"cells": cells, "box": box, "refined": refined, "total": cells + 0.5 * box + 0.5 * refined}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the published score and heading accuracy on held-out seeds."""
        assert isinstance(network, OrientedNetwork)
        device = next(network.parameters()).device
        exported = ExportedOriented(network).to(device).eval()
        predictions, truths = [], []
        for start in range(0, self.validation_count, _VALIDATION_BATCH):
            samples = [spaceship_sample(seed) for seed in VALIDATION.seeds(_VALIDATION_BATCH, start)]
            images, _ = self.collate(samples)
            rows = exported(images.to(device)).cpu().numpy()
            predictions += [decode_oriented(row, SCORE_THRESHOLD) for row in rows]
            truths += [OrientedBox(*label) if not np.isnan(label[0]) else None for _, label in samples]
        score = score_oriented(predictions, truths)
        return {
            "score_iou07": score.score_iou07,
            "heading_within_15deg": score.heading_within_15deg,
            "average_precision": score.average_precision,
            "mean_iou": score.mean_iou,
        }


def _cell_losses(logits: Tensor, geometry: Tensor, labels: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    place = (torch.nan_to_num(labels[:, :2]) - (STRIDE - 1) / 2) / STRIDE
    cell = place.round().clamp(0, _CELLS - 1).long()
    target = torch.where(present, cell[:, 1] * _CELLS + cell[:, 0], torch.full_like(cell[:, 0], _CELLS**2))
    cells = nn.functional.cross_entropy(logits, target)

    grid = torch.arange(_CELLS, device=labels.device, dtype=torch.float32)
    dx = place[:, 0, None, None] - grid[None, None, :]
    dy = place[:, 1, None, None] - grid[None, :, None]
    near = ((dx.abs() < 1.6) & (dy.abs() < 1.6) & present[:, None, None]).float()
    box = torch.nan_to_num(labels[:, 2:], nan=1.0)
    constant = torch.stack([box[:, 1].log(), box[:, 2].log(), box[:, 0].sin(), box[:, 0].cos()], dim=1)
    expanded = constant[:, :, None, None].expand(-1, -1, _CELLS, _CELLS)
    wanted = torch.cat([dx.expand_as(near)[:, None], dy.expand_as(near)[:, None], expanded], dim=1)
    tolerance = torch.tensor(_CELL_TOLERANCE, device=labels.device)[None, :, None, None]
    error = ((geometry - wanted).abs() / tolerance).sum(dim=1)
    return cells, (error * near).sum() / near.sum().clamp(min=1.0)


def _refinement_loss(network: OrientedNetwork, images: Tensor, truths: Tensor) -> Tensor:
    """Return the error of the refiner from boxes that deviate about as much as the cells' do."""
    spread = torch.tensor(_START_SPREAD, device=images.device)
    scale = torch.exp(torch.empty(len(truths), 1, device=images.device).uniform_(-1.2, 0.8))
    starts = changed(truths, scale * spread * torch.randn_like(truths))
    changes = network.refiner(images, starts)
    tolerance = torch.tensor(_CHANGE_TOLERANCE, device=images.device)
    error = ((changes - changes_between(starts, truths)).abs() / tolerance).sum(dim=1)
    return error.sum() / max(len(truths), 1)


def exportable_oriented(run_dir: Path) -> Exportable:
    """Return a run's averaged network, ready to export."""
    network = OrientedNetwork()
    load_average(run_dir, network)
    card = ModelCard("oriented", LAYOUT, labels=("spaceship",), input_wh=(IMAGE_SIZE, IMAGE_SIZE))
    return Exportable(ExportedOriented(network), card, ("box",), channels=1)
