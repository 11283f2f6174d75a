"""Convolutional building blocks that the networks share, and how many values a network learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# The mirrorings of an image whose up and left mean nothing, as the axes that are flipped.
MIRRORINGS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))


class ConvUnit(nn.Sequential):
    """Convolution without bias, batch norm, SiLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.03),
            nn.SiLU(inplace=True),
        )


class SeparableUnit(nn.Sequential):
    """A kernel down and one across, through ``between`` channels, in place of a square one; batch norm, SiLU."""

    def __init__(self, channels_in: int, between: int, channels_out: int, kernel: int) -> None:
        half = kernel // 2
        super().__init__(
            nn.Conv2d(channels_in, between, (kernel, 1), padding=(half, 0), bias=False),
            nn.Conv2d(between, channels_out, (1, kernel), padding=(0, half), bias=False),
            nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.03),
            nn.SiLU(inplace=True),
        )


def separated(weight: Tensor, between: int) -> tuple[Tensor, Tensor]:
    """Return the kernels (M, I, K, 1) and (O, M, 1, K), one after the other, that come nearest to one (O, I, K, K)."""
    out, channels, rows, columns = weight.shape
    matrix = weight.permute(1, 2, 0, 3).reshape(channels * rows, out * columns)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    scale = values[:between].sqrt()
    down = (left[:, :between] * scale).T.reshape(-1, channels, rows, 1)
    across = (scale[:, None] * right[:between]).reshape(-1, out, 1, columns).transpose(0, 1)
    return down.contiguous(), across.contiguous()


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with a residual where asked."""

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvUnit(channels, channels // 2, 3), ConvUnit(channels // 2, channels, 3))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class CrossStage(nn.Module):
    """Cross-stage partial block: every bottleneck's output is kept and mixed at the end."""

    def __init__(self, channels_in: int, channels_out: int, depth: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.half = channels_out // 2
        self.enter = ConvUnit(channels_in, 2 * self.half)
        self.blocks = nn.ModuleList(Bottleneck(self.half, residual) for _ in range(depth))
        self.leave = ConvUnit((2 + depth) * self.half, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels_out, H, W)."""
        parts = list(self.enter(x).split(self.half, dim=1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        mixed: Tensor = self.leave(torch.cat(parts, dim=1))
        return mixed


class PyramidPooling(nn.Module):
    """Three chained 5x5 max pools: a wide receptive field at little cost."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvUnit(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = ConvUnit(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        mixed: Tensor = self.leave(torch.cat(parts, dim=1))
        return mixed


def mirrored(maps: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return maps (B, C, H, W) mirrored along one of ``MIRRORINGS``, which undoes itself."""
    return maps.flip(axes) if axes else maps


def turned(maps: Tensor, turn: bool) -> Tensor:
    """Return maps (..., H, W) turned by a quarter and mirrored, (..., W, H), or as they are; it undoes itself."""
    return maps.transpose(-2, -1) if turn else maps


def initialise(module: nn.Module) -> None:
    """He-normal weights for every convolution that follows with a rectifier-like unit."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@dataclass(frozen=True)
class PartSummary:
    """A part of a network: its name, its class, and how many of its values are learned and frozen."""

    name: str
    kind: str
    learned: int
    frozen: int


def summarise(network: nn.Module) -> list[PartSummary]:
    """Return a network's direct parts, and last the whole."""
    parts = [*network.named_children(), ("all", network)]
    return [PartSummary(name, type(part).__name__, *parameter_counts(part)) for name, part in parts]


def parameter_counts(network: nn.Module) -> tuple[int, int]:
    """Return how many values of a network are learned, and how many frozen."""
    learned = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return learned, sum(parameter.numel() for parameter in network.parameters()) - learned
