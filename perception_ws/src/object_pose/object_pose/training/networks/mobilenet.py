"""Encoders of inverted residuals: MobileNetV2 (Sandler 2018) and EfficientNet-Lite0 (Google 2020).

Detectors, masks and classifiers see with them. Each is cut where its features get coarser than 32 pixels or wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@dataclass(frozen=True)
class _Stage:
    """Blocks in a row, the first of which has the ``stride``."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int = 3


class _Pad(nn.Module):
    """TensorFlow's 'same' padding of a convolution of stride 2: a pixel more at the right and the bottom."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.before, self.after = (kernel - 2) // 2, (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Pad (B, C, H, W) to (B, C, H + kernel - 2, W + kernel - 2)."""
        return nn.functional.pad(x, (self.before, self.after, self.before, self.after))


def _unit(channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, active: bool) -> nn.Sequential:
    padding = kernel // 2 if stride == 1 else 0
    layers: list[nn.Module] = [_Pad(kernel)] if stride == 2 else []
    layers.append(nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False))
    layers.append(nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01))
    if active:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a residual where the shape stays."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int, kernel: int = 3) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.expand = _unit(channels_in, hidden, 1, 1, 1, True) if expansion > 1 else nn.Identity()
        self.depthwise = _unit(hidden, hidden, kernel, stride, hidden, True)
        self.project = _unit(hidden, channels_out, 1, 1, 1, False)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels_out, H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Encoder(nn.Module):
    """An encoder; its taps are the features at strides 2, 4, 8, 16 and 32, with ``tap_channels``."""

    stages: ClassVar[tuple[_Stage, ...]]
    tap_channels: ClassVar[tuple[int, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(3, 32, 3, 2, 1, True)
        blocks: list[InvertedResidual] = []
        channels = 32
        for stage in self.stages:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, stage.channels, stride, stage.expansion, stage.kernel))
                channels = stage.channels
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) RGB in [0, 1] to the five taps, finest first."""
        x = self.stem(images * 2.0 - 1.0)
        taps: list[Tensor] = []
        for block in self.blocks:
            y = block(x)
            if y.shape[2] != x.shape[2]:
                taps.append(x)
            x = y
        return [*taps, x]


class MobileNetV2(Encoder):
    """MobileNetV2 up to block 13."""

    stages = (
        _Stage(1, 16, 1, 1),
        _Stage(6, 24, 2, 2),
        _Stage(6, 32, 3, 2),
        _Stage(6, 64, 4, 2),
        _Stage(6, 96, 3, 1),
        _Stage(6, 160, 1, 2),
    )
    tap_channels = (16, 24, 32, 96, 160)


class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0 up to block 12."""

    stages = (
        _Stage(1, 16, 1, 1),
        _Stage(6, 24, 2, 2),
        _Stage(6, 40, 2, 2, 5),
        _Stage(6, 80, 3, 2),
        _Stage(6, 112, 3, 1, 5),
        _Stage(6, 192, 2, 2, 5),
    )
    tap_channels = (16, 24, 40, 112, 192)


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place: for parts in evaluation mode that never learn."""
    for unit in [part for part in module.modules() if isinstance(part, nn.Sequential)]:
        for index, (layer, norm) in enumerate(zip(list(unit), list(unit)[1:])):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                unit[index], unit[index + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
