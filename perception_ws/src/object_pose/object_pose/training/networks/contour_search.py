"""Starts of the contour fit that no network has to find: every position, heading and size near a box is compared.

The image is reduced to cells of two by two pixels. A template says how many of a cell's pixels a contour of a heading
and a size covers on average, over positions within the cell and over the headings, sizes and tails that it stands for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from object_pose.simulation.generators.spaceship import ASPECT, IMAGE_SIZE, NOISE_LEVEL, TAIL, WIDTHS
from object_pose.training.networks.contour_fit import LINE_SHARE, contour_pixels

_CELL = 2
# Templates reach so many cells around their middle, and their middles lie so many cells around the box's.
_HALF = 18
_REACH = 8
# Templates: headings a quarter turn, widths and aspects a heading, and contours that each is the mean of.
_HEADINGS, _WIDTHS, _ASPECTS = 9, 4, 3
_DRAWN = 64
# The best template of each such part of a quarter turn is a start.
_SECTORS = 3


class ContourSearch(nn.Module):
    """Compares the image with templates of contours by convolution; nothing in it is learned."""

    templates: Tensor
    shapes: Tensor

    def __init__(self) -> None:
        super().__init__()
        templates, shapes = _templates()
        self.register_buffer("templates", templates, persistent=False)
        self.register_buffer("shapes", shapes, persistent=False)

    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Return the best box of each twelfth of the turn (B, 12, 5) near boxes (B, 5) of images (B, 1, S, S)."""
        middle = ((boxes[:, :2] - 0.5 * (_CELL - 1)) / _CELL).round()
        views = [_patches(images, middle)]
        for _ in range(3):
            views.append(views[-1].transpose(2, 3).flip(2))
        covered = torch.cat([self.templates, (self.templates * (1.0 / LINE_SHARE - 1.0)).log1p()], dim=1)
        side = 2 * _REACH + 1
        scores = nn.functional.conv2d(torch.cat(views), covered).reshape(4, len(images), _SECTORS, -1)
        # What differs in the last bit only is a tie, of which the first counts.
        best = (scores * 64.0).round().argmax(dim=3)
        sector = torch.arange(_SECTORS, device=best.device) * (len(self.shapes) // _SECTORS)
        shapes = self.shapes[sector + torch.div(best, side * side, rounding_mode="floor")]
        x = (best % side - _REACH) * _CELL
        y = (torch.div(best, side, rounding_mode="floor") % side - _REACH) * _CELL
        middle = middle * _CELL + 0.5 * (_CELL - 1)
        found = []
        for turns in range(4):
            dx, dy = ((x, y), (-y, x), (-x, -y), (y, -x))[turns]
            place = torch.stack([dx[turns], dy[turns]], dim=2) + middle[:, None]
            yaw, sizes = shapes[turns, ..., :1] + 0.5 * math.pi * turns, shapes[turns, ..., 1:]
            found.append(torch.cat([place, yaw, sizes], dim=2))
        return torch.cat(found, dim=1)


def _patches(images: Tensor, middle: Tensor) -> Tensor:
    """Return what cells around the middle ones (B, 2) say, (B, 2, N, N): dim pixels' evidence and bright pixels.

    Where a contour covers a small share w of a cell's pixels, a dim pixel v is 1 + w (2v - 1) times as likely.
    """
    bright = (images >= NOISE_LEVEL).float()
    dim = (2.0 * images - 1.0) * (1.0 - bright)
    cells = nn.functional.avg_pool2d(torch.cat([dim, bright], dim=1), _CELL) * _CELL**2
    margin = _HALF + _REACH
    cells = nn.functional.pad(cells, (margin, margin, margin, margin))
    reach = torch.arange(2 * margin + 1, device=images.device)
    column, row = (middle.clamp(0, IMAGE_SIZE // _CELL - 1).long()[:, i, None] + reach for i in (0, 1))
    places = row[:, :, None] * cells.shape[3] + column[:, None, :]
    return cells.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, 2, -1)).reshape(-1, 2, *places.shape[1:])


def _templates() -> tuple[Tensor, Tensor]:
    """Return the shares (T, 1, K, K) of cells that contours cover, and their mean yaw, width and height (T, 3)."""
    generator = torch.Generator().manual_seed(0)
    drawn = (_HEADINGS, _WIDTHS, _ASPECTS, _DRAWN)

    def spread(axis: int) -> Tensor:
        """Return values in [0, 1], uniform within each part of an axis."""
        part = torch.arange(drawn[axis]).reshape([-1 if i == axis else 1 for i in range(4)])
        return (part + torch.rand(drawn, generator=generator)) / drawn[axis]

    yaw = spread(0) * 0.5 * math.pi
    width = WIDTHS[0] - 0.5 + spread(1) * (WIDTHS[1] - WIDTHS[0] + 1.0)
    height = width * (ASPECT[0] + ASPECT[1] * torch.distributions.Normal(0.0, 1.0).icdf(spread(2).clamp(0.01, 0.99)))
    tail = TAIL[0] + TAIL[1] * torch.randn(drawn, generator=generator)
    x, y = (_CELL * (_HALF + torch.rand(drawn, generator=generator)) - 0.5 for _ in range(2))
    pixels, drawn_there = contour_pixels(torch.stack([x, y, yaw, width, height, tail.abs()], dim=-1).flatten(0, 2))
    cells = torch.div(pixels, _CELL, rounding_mode="floor")
    side = 2 * _HALF + 1
    inside = drawn_there & (cells >= 0).all(dim=-1) & (cells < side).all(dim=-1)
    places = cells[..., 1] * side + cells[..., 0]
    covered = torch.zeros(len(places), side * side)
    covered.scatter_add_(1, (places * inside).flatten(1).long(), inside.float().flatten(1))
    shares = (covered / (_DRAWN * _CELL**2)).reshape(-1, 1, side, side)
    return shares, torch.stack([yaw, width, height], dim=-1).mean(dim=3).flatten(0, 2)
