"""Networks computed in parts: the same outputs, and no maps that are cut apart or joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from object_pose.training.networks.blocks import ConvUnit, CrossStage
from object_pose.training.onnx.channel_parts import compute_in_parts


class _Uneven(nn.Module):
    """Maps that are read twice or given as they are, 3x3 convolutions of joined maps, and parts of unequal width."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.wide = ConvUnit(3, 24), ConvUnit(24, 8, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.enter(images)
        few, many = maps.split([8, 16], dim=1)
        return self.wide(torch.cat([many, few], dim=1)), maps


def _parted(network: nn.Module, path: Path) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)  # equal ones would be stored once
    example = torch.rand((1, 3, 8, 8))
    axes = {"images": {0: "count"}}
    torch.onnx.export(network.eval(), (example,), str(path), input_names=["images"], dynamic_axes=axes, dynamo=False)
    before, after = onnx.load(str(path)), onnx.load(str(path))
    compute_in_parts(after)
    onnx.checker.check_model(after)
    return before, after


def _outputs(model: onnx.ModelProto) -> list[np.ndarray]:
    images = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"images": images}))


@pytest.mark.parametrize("depth", [1, 3])
def test_a_cross_stage_block_neither_splits_nor_joins_maps(depth: int, tmp_path: Path) -> None:
    network = nn.Sequential(ConvUnit(3, 16, 3), CrossStage(16, 32, depth, True))
    before, after = _parted(network, tmp_path / "model.onnx")
    stored = {tensor.name for tensor in after.graph.initializer}
    assert all(node.input[0] in stored for node in after.graph.node if node.op_type == "Split")
    assert not any(node.op_type == "Concat" for node in after.graph.node)
    for found, expected in zip(_outputs(after), _outputs(before), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert {tensor.name for tensor in before.graph.initializer} <= stored


def test_what_is_read_elsewhere_stays_whole(tmp_path: Path) -> None:
    before, after = _parted(_Uneven(), tmp_path / "model.onnx")
    assert [node.op_type for node in after.graph.node] == [node.op_type for node in before.graph.node]
    for found, expected in zip(_outputs(after), _outputs(before), strict=True):
        np.testing.assert_array_equal(found, expected)
