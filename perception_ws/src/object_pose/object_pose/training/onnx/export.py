"""Networks to ONNX files that carry their card, checked number by number against torch before they are kept."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import nn

from object_pose.core.errors import ConfigError, ModelError
from object_pose.io.files import replacing
from object_pose.runtime.card import ModelCard
from object_pose.runtime.roi_head import ROI_HEAD_KEY, STAGE_KEYS, packed, unpacked
from object_pose.training.networks.blocks import parameter_counts
from object_pose.training.onnx.channel_parts import compute_in_parts

logger = logging.getLogger(__name__)
CLASS_IDS = "class_ids"
_OPSET = 17
_GREATEST_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Stage:
    """A further network of a model, which travels in its metadata under ``key`` and reads ``inputs``.

    They are outputs of earlier stages by name, or ``CLASS_IDS``: a class for each item of the batch.
    """

    key: str
    network: nn.Module
    inputs: tuple[str, ...]
    output_names: tuple[str, ...]


@dataclass(frozen=True)
class Exportable:
    """A trained network with its card; it reads ``images`` (1, channels, H, W) at the card's size.

    ``batched`` networks take any number of images, those of ``any_size`` images of any multiple of their stride;
    ``output_axes`` names the axes of each output that then vary. ``stages`` are further networks of a batched one.
    """

    network: nn.Module
    card: ModelCard
    output_names: tuple[str, ...]
    channels: int = 3
    batched: bool = False
    any_size: bool = False
    output_axes: tuple[dict[int, str], ...] = ()
    stages: tuple[Stage, ...] = field(default=())


def export_onnx(exportable: Exportable, path: Path) -> float:
    """Write one ONNX file with card and stages in its metadata; return the largest relative difference of its outputs.

    Raises ``ModelError`` when torch and ONNX Runtime disagree by more than a thousandth; the file appears only when
    they agree.
    """
    width, height = exportable.card.input_wh
    generator = torch.Generator().manual_seed(0)
    count = 3 if exportable.batched else 1
    example = torch.rand((count, exportable.channels, height, width), generator=generator)
    network = exportable.network.eval().float()
    with replacing(path) as temporary:
        _write(network, {"images": example}, exportable.output_names, _dynamic_axes(exportable), temporary)
        card = dataclasses.replace(exportable.card, parameters=parameter_counts(network)[0])
        if exportable.batched:
            _compute_in_parts(temporary)
        _attach(temporary, card.to_metadata())
        difference = max(_parity(network, temporary, {"images": images}) for images in _examples(exportable, example))
        difference = max(difference, _attach_stages(exportable, example, temporary))
        if not difference < _GREATEST_DIFFERENCE:
            raise ModelError(f"torch and ONNX differ by {difference:.2e} of the output's range", "the export is broken")
    logger.info("wrote %s, parity %.1e", path, difference)
    return difference


def _compute_in_parts(path: Path) -> None:
    """Give the graph the form in which several images take a tenth less time; one large image takes as long in both."""
    model = onnx.load(str(path))
    compute_in_parts(model)
    onnx.save(model, str(path))


def difference_from_torch(exportable: Exportable, path: Path) -> float:
    """Return the largest relative difference between a trained network's outputs and those of its exported file."""
    width, height = exportable.card.input_wh
    generator = torch.Generator().manual_seed(0)
    example = torch.rand((1, exportable.channels, height, width), generator=generator)
    return _parity(exportable.network.eval().float(), path, {"images": example})


def _write(
    network: nn.Module,
    examples: dict[str, torch.Tensor],
    output_names: Sequence[str],
    dynamic_axes: dict[str, dict[int, str]],
    path: Path,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(examples.values()),
            str(path),
            input_names=list(examples),
            output_names=list(output_names),
            dynamic_axes=dynamic_axes,
            opset_version=_OPSET,
            dynamo=False,
        )


@torch.no_grad()
def _attach_stages(exportable: Exportable, example: torch.Tensor, path: Path) -> float:
    """Write the further stages into a model's metadata; return their largest relative difference."""
    classes = len(exportable.card.labels)
    known = dict(zip(exportable.output_names, exportable.network(example) if exportable.stages else ()))
    known[CLASS_IDS] = torch.arange(len(example)) % classes
    difference = 0.0
    for stage in exportable.stages:
        examples = {name: known[name] for name in stage.inputs}
        network, axes = stage.network.eval().float(), {name: {0: "count"} for name in (*examples, *stage.output_names)}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "stage.onnx"
            _write(network, examples, stage.output_names, axes, file)
            one = {name: value[:1] for name, value in examples.items()}
            difference = max(difference, _parity(network, file, examples), _parity(network, file, one))
            _attach(path, packed(stage.key, file.read_bytes()))
        outputs = network(*examples.values())
        known |= dict(zip(stage.output_names, [outputs] if isinstance(outputs, torch.Tensor) else outputs))
    return difference


def _examples(exportable: Exportable, example: torch.Tensor) -> list[torch.Tensor]:
    """Return what torch and ONNX must agree on: also fewer images, or a larger one, where the network takes any."""
    if exportable.any_size:
        return [example, torch.cat([example, example.flip(3)], dim=3)]
    return [example, example[:1]] if exportable.batched else [example]


def _dynamic_axes(exportable: Exportable) -> dict[str, dict[int, str]]:
    if exportable.any_size:
        return {"images": {2: "height", 3: "width"}} | dict(zip(exportable.output_names, exportable.output_axes))
    names = ("images", *exportable.output_names) if exportable.batched else ()
    return {name: {0: "count"} for name in names}


def average_models(paths: Sequence[Path], path: Path) -> None:
    """Write the model whose weights are the mean of some models' that were trained on from one another.

    Such a mean is more accurate than each of them (Wortsman et al. 2022). RoI heads inside are averaged, too; card and
    graph are of the first. Raises ``ConfigError`` where the models are not of one network.
    """
    mean = _averaged([onnx.load(str(item)) for item in paths], paths)
    with replacing(path) as temporary:
        onnx.save(mean, str(temporary))


def _averaged(models: Sequence[onnx.ModelProto], paths: Sequence[Path]) -> onnx.ModelProto:
    """Return the first model with the mean of all models' weights, those of the networks inside included."""
    weights = [{tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer} for model in models]
    for other, name in zip(weights, paths):
        shapes, expected = ({key: value.shape for key, value in item.items()} for item in (other, weights[0]))
        if shapes != expected:
            raise ConfigError(f"{name} is of another network than {paths[0]}", "name exports of runs of one task")
    for tensor in models[0].graph.initializer:
        if np.issubdtype(weights[0][tensor.name].dtype, np.floating):
            mean = np.mean([item[tensor.name] for item in weights], axis=0, dtype=np.float64)
            tensor.CopyFrom(numpy_helper.from_array(mean.astype(weights[0][tensor.name].dtype), tensor.name))
    keys = ROI_HEAD_KEY, *STAGE_KEYS
    inside = [{entry.key: entry for entry in item.metadata_props if entry.key in keys} for item in models]
    for key, entry in inside[0].items():
        if all(key in item for item in inside):
            networks = [onnx.load_from_string(unpacked(item[key].value)) for item in inside]
            entry.value = packed(key, _averaged(networks, paths).SerializeToString())[key]
    onnx.checker.check_model(models[0])
    return models[0]


def embed_roi_head(detector: Path, head: Path) -> None:
    """Put an exported RoI head into a detector's file, where the runtime looks for it."""
    _attach(detector, packed(ROI_HEAD_KEY, head.read_bytes()))


def copy_roi_head(source: Path, detector: Path) -> bool:
    """Give a detector the RoI head that another model file carries; return whether it carries one."""
    texts = [entry.value for entry in onnx.load(str(source)).metadata_props if entry.key == ROI_HEAD_KEY]
    if texts:
        _attach(detector, {ROI_HEAD_KEY: texts[0]})
    return bool(texts)


def roi_head_card(source: Path) -> ModelCard:
    """Return the card of the RoI head that a model file carries; raises ``ConfigError`` where it carries none."""
    texts = {entry.key: entry.value for entry in onnx.load(str(source)).metadata_props}
    if ROI_HEAD_KEY not in texts:
        raise ConfigError(f"{source} has no RoI head", "name a model that was exported with --roi-head, or a run")
    head = onnx.load_from_string(unpacked(texts[ROI_HEAD_KEY]))
    return ModelCard.from_metadata({entry.key: entry.value for entry in head.metadata_props})


def replace_card(path: Path, card: ModelCard) -> None:
    """Give an exported model another card, as when its metric becomes known."""
    _attach(path, card.to_metadata())


def _attach(path: Path, metadata: dict[str, str]) -> None:
    model = onnx.load(str(path))
    present = {entry.key: entry for entry in model.metadata_props}
    for key, value in metadata.items():
        entry = present.get(key) or model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))


@torch.no_grad()
def _parity(network: nn.Module, path: Path, examples: dict[str, torch.Tensor]) -> float:
    outputs = network(*examples.values())
    expected = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    actual = session.run(None, {name: value.numpy() for name, value in examples.items()})
    differences = [
        float(np.abs(a - e.numpy()).max() / max(float(np.abs(e.numpy()).max()), 1e-6)) for a, e in zip(actual, expected)
    ]
    return max(differences)
