"""Networks to ONNX files that carry their card, checked number by number against torch before they are kept."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from object_pose.core.errors import ModelError
from object_pose.runtime.card import ModelCard

logger = logging.getLogger(__name__)
_OPSET = 17


def export_onnx(
    network: nn.Module, card: ModelCard, output_names: tuple[str, ...], path: Path, channels: int = 3
) -> float:
    """Write ``network`` as one ONNX file with ``card`` in its metadata; return the largest relative difference.

    The input is ``images`` (1, channels, H, W) at the card's size. Raises ``ModelError`` when torch and ONNX Runtime
    disagree by more than a thousandth; the file appears only when they agree.
    """
    width, height = card.input_wh
    generator = torch.Generator().manual_seed(0)
    example = torch.rand((1, channels, height, width), generator=generator)
    network = network.eval().float()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(temporary),
            input_names=["images"],
            output_names=list(output_names),
            opset_version=_OPSET,
            dynamo=False,
        )
    _attach_card(temporary, card)
    difference = _parity(network, temporary, example)
    if not difference < 1e-3:
        temporary.unlink()
        raise ModelError(f"torch and ONNX differ by {difference:.2e} of the output's range", "the export is broken")
    os.replace(temporary, path)
    logger.info("wrote %s, parity %.1e", path, difference)
    return difference


def _attach_card(path: Path, card: ModelCard) -> None:
    model = onnx.load(str(path))
    for key, value in card.to_metadata().items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@torch.no_grad()
def _parity(network: nn.Module, path: Path, example: torch.Tensor) -> float:
    outputs = network(example)
    expected = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    actual = session.run(None, {"images": example.numpy()})
    differences = [
        float(np.abs(a - e.numpy()).max() / max(float(np.abs(e.numpy()).max()), 1e-6)) for a, e in zip(actual, expected)
    ]
    return max(differences)
