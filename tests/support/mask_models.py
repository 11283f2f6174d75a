"""Untrained mask models as files."""

from __future__ import annotations

from pathlib import Path

import torch

from object_pose.runtime.card import ModelCard
from object_pose.tasks.segment import LAYOUT
from object_pose.training.networks.unet import ExportedUNet, UNet
from object_pose.training.onnx.export import Exportable, export_onnx


def save_mask_model(path: Path, seed: int, label: str = "building") -> Path:
    """Export a U-Net with the weights of a seed; the greater it is, the more belongs to the class."""
    torch.manual_seed(seed)
    network = UNet().eval()
    with torch.no_grad():
        assert network.mask.bias is not None
        network.mask.bias += seed - 1.0
    card = ModelCard("segment", LAYOUT, labels=(label,), input_wh=(128, 128), licence=f"licence {seed}")
    axes: tuple[dict[int, str], ...] = ({2: "height", 3: "width"}, {})
    names = ("probability", "resolution")
    export_onnx(Exportable(ExportedUNet(network), card, names, any_size=True, output_axes=axes), path)
    return path
