"""Learning on from an exported model: what was exported comes back, and learning starts where it ended."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from object_pose.core.errors import ConfigError
from object_pose.runtime.card import ModelCard
from object_pose.runtime.resources import find_model
from object_pose.runtime.roi_head import KEYPOINTS_KEY, packed, unpacked
from object_pose.simulation.generators.spaceship import spaceship_sample
from object_pose.training.loop import Trainer
from object_pose.training.networks.blocks import separated
from object_pose.training.networks.classifier import ClassifierNetwork, ExportedClassifier
from object_pose.training.networks.oriented import ExportedOriented, OrientedNetwork
from object_pose.training.networks.roi_head import RoiNetwork
from object_pose.training.networks.yolo import ExportedYolo, NanoYolo
from object_pose.training.onnx.export import Exportable, embed_roi_head, export_onnx
from object_pose.training.onnx.weights import load_onnx, recalibrate_batch_norm
from object_pose.training.tasks.roi_head import exportable_network, exported_roi_head
from tiny_task import LineRecipe, config


def _lived_in(network: nn.Module) -> nn.Module:
    """Give a network norms and weights as a training leaves them."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0.0, 0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.0, 0.2)
            elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                module.bias.normal_(0.0, 0.2)
    return network.eval()


def _exportable(network: nn.Module, shape: tuple[int, int, int, int], *outputs: str) -> Exportable:
    card = ModelCard("detect", "yolov8_detect", labels=("a", "b"), input_wh=(shape[3], shape[2]))
    return Exportable(network, card, outputs, shape[1])


def _outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        found = network.eval()(images)
    return [found] if isinstance(found, Tensor) else list(found)


_IMAGES, _WINDOWS = (1, 3, 64, 96), (1, 5, 80, 80)
# How a network is made, exported, and evaluated.
CASES = {
    "yolo": (
        lambda: NanoYolo(2, 8),
        lambda net: _exportable(ExportedYolo(net), _IMAGES, "found"),
        ExportedYolo,
        _IMAGES,
    ),
    "roi head": (
        lambda: RoiNetwork(2, 8),
        lambda net: exportable_network(net, ("a", "b"), 80),
        nn.Sequential,
        _WINDOWS,
    ),
    "classifier": (
        lambda: ClassifierNetwork(2, None, 6),
        lambda net: _exportable(ExportedClassifier(net), _IMAGES, "p", "a"),
        ExportedClassifier,
        _IMAGES,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_exported_network_comes_back_and_keeps_its_outputs_under_batch_norm_recalibration(
    case: str, tmp_path: Path
) -> None:
    make, exportable, wrap, shape = CASES[case]
    images = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    trained = _lived_in(make())
    path = tmp_path / "model.onnx"
    export_onnx(exportable(trained), path)
    network = make()
    layers = sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in network.modules())
    assert load_onnx(path, network) == layers
    expected = _outputs(wrap(trained), images)
    for found, wanted in zip(_outputs(wrap(network), images), expected):
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)

    network.eval()
    recalibrate_batch_norm(network, lambda: wrap(network)(images))
    for found, wanted in zip(_outputs(wrap(network), images), expected):
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    assert float(norm.running_mean.abs().sum()) > 0.0  # type: ignore[union-attr]


def test_a_bias_of_which_rows_are_taken_is_found_without_its_name(tmp_path: Path) -> None:
    trained, path = _lived_in(RoiNetwork(2, 8)), tmp_path / "model.onnx"
    export_onnx(exportable_network(trained, ("a", "b"), 80), path)
    model = onnx.load(str(path))
    entry = next(entry for entry in model.metadata_props if entry.key == KEYPOINTS_KEY)
    stage = onnx.load_from_string(unpacked(entry.value))
    bias = next(tensor for tensor in stage.graph.initializer if tensor.name == "network.votes.bias")
    reader = next(node for node in stage.graph.node if bias.name in node.input)
    bias.name, reader.input[0] = "onnx::Gather_1", "onnx::Gather_1"
    bias.dims.append(1)
    entry.value = packed(KEYPOINTS_KEY, stage.SerializeToString())[KEYPOINTS_KEY]
    onnx.save(model, str(path))
    network = RoiNetwork(2, 8)
    load_onnx(path, network)
    torch.testing.assert_close(network.votes.bias, trained.votes.bias)


def test_a_shipped_model_with_its_second_look_comes_back() -> None:
    path, network = find_model("oriented.onnx"), OrientedNetwork()
    assert load_onnx(path, network) == 50
    image, _ = spaceship_sample(1_900_000_001)
    (expected,) = onnxruntime.InferenceSession(str(path)).run(None, {"images": image[None, None]})
    (found,) = _outputs(ExportedOriented(network), torch.from_numpy(image[None, None]))
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=2e-3, atol=2e-2)


def test_a_network_that_reads_more_channels_starts_blind_to_them(tmp_path: Path) -> None:
    small, wide = _lived_in(nn.Sequential(nn.Conv2d(3, 4, 3))), nn.Sequential(nn.Conv2d(5, 4, 3))
    images = torch.rand(2, 5, 8, 8)
    path = tmp_path / "model.onnx"
    torch.onnx.export(small, (images[:, :3],), str(path), input_names=["images"], dynamo=False)
    assert load_onnx(path, wide) == 1
    torch.testing.assert_close(wide(images), small(images[:, :3]))


def test_of_a_file_with_two_networks_the_fitting_one_is_taken(tmp_path: Path) -> None:
    yolo, crops = _lived_in(NanoYolo(2, 8)), _lived_in(RoiNetwork(2, 8))
    path, head = tmp_path / "model.onnx", tmp_path / "head.onnx"
    export_onnx(_exportable(ExportedYolo(yolo), _IMAGES, "detections"), path)
    export_onnx(exportable_network(crops, ("a", "b"), 80), head)
    embed_roi_head(path, head)
    found = RoiNetwork(2, 8)
    load_onnx(path, found)
    torch.testing.assert_close(found.classes.weight, crops.classes.weight)


def test_a_head_of_before_is_exported_again_as_it_is_and_a_new_one_begins_near_it(tmp_path: Path) -> None:
    old, detector, head = _lived_in(RoiNetwork(2, 8, separable=False)), tmp_path / "model.onnx", tmp_path / "head.onnx"
    square = old.mixed[0]
    assert isinstance(square, nn.Conv2d)
    with torch.no_grad():  # of few channels between a kernel down and one across, so that nothing is lost
        down, across = separated(square.weight, 16)
        square.weight.copy_(torch.einsum("mikx,omyl->oikl", down, across))
    export_onnx(_exportable(ExportedYolo(_lived_in(NanoYolo(2, 8))), _IMAGES, "detections"), detector)
    export_onnx(exportable_network(old, ("a", "b"), 80), head)
    embed_roi_head(detector, head)
    windows, class_ids = torch.rand(2, 5, 80, 80), torch.tensor([0, 1])
    expected = old(windows, class_ids).keypoints
    again = exported_roi_head(detector).network.network
    torch.testing.assert_close(again.eval()(windows, class_ids).keypoints, expected, rtol=2e-3, atol=2e-3)
    new = RoiNetwork(2, 8)
    assert load_onnx(detector, new) == sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in new.modules())
    torch.testing.assert_close(new.eval()(windows, class_ids).keypoints, expected, rtol=2e-3, atol=2e-3)


def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    torch.onnx.export(nn.Sequential(nn.Conv2d(1, 3, 1)), (torch.rand(1, 1, 4, 4),), str(path), dynamo=False)
    with pytest.raises(ConfigError, match=r"model\.onnx shares no layer"):
        load_onnx(path, NanoYolo(2, 8))
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ConfigError, match=r"model\.onnx cannot be read"):
        load_onnx(path, NanoYolo(2, 8))


def test_a_training_starts_from_an_exported_model(tmp_path: Path) -> None:
    line = nn.Linear(1, 1)
    nn.init.constant_(line.weight, 2.5)
    path = tmp_path / "line.onnx"
    torch.onnx.export(line, (torch.rand(1, 1),), str(path), input_names=["images"], dynamo=False)
    trainer = Trainer(LineRecipe(), config(1, initial=str(path)), tmp_path / "run")
    assert float(trainer.network.weight.detach()) == pytest.approx(2.5)
