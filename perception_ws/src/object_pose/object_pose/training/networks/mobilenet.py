"""MobileNetV2 (Sandler 2018) up to block 13, as the encoder of detectors, masks and classifiers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# (expansion, channels, blocks, stride) of each stage, as published.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 1, 2))


class _Pad(nn.Module):
    """TensorFlow's 'same' padding of a strided 3x3: one pixel at the right and the bottom only."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad (B, C, H, W) to (B, C, H + 1, W + 1)."""
        return nn.functional.pad(x, (0, 1, 0, 1))


def _unit(channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, active: bool) -> nn.Sequential:
    padding = kernel // 2 if stride == 1 else 0
    layers: list[nn.Module] = [_Pad()] if stride == 2 else []
    layers.append(nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False))
    layers.append(nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01))
    if active:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a residual where the shape stays."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.expand = _unit(channels_in, hidden, 1, 1, 1, True) if expansion > 1 else nn.Identity()
        self.depthwise = _unit(hidden, hidden, 3, stride, hidden, True)
        self.project = _unit(hidden, channels_out, 1, 1, 1, False)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels_out, H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """The encoder up to block 13; ``taps`` are the features at strides 2, 4, 8, 16 and 32."""

    tap_channels = (16, 24, 32, 96, 160)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(3, 32, 3, 2, 1, True)
        blocks: list[InvertedResidual] = []
        channels = 32
        for expansion, width, count, stride in _STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(channels, width, stride if index == 0 else 1, expansion))
                channels = width
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


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place: for parts in evaluation mode that never learn."""
    for unit in [part for part in module.modules() if isinstance(part, nn.Sequential)]:
        for index, (layer, norm) in enumerate(zip(list(unit), list(unit)[1:])):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                unit[index], unit[index + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
