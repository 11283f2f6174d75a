"""Weights of exported models as a start of training: the way back from an export.

An export folds each batch norm into the convolution before it. Here the convolution gets the folded weights and its
norm is set to change nothing; ``recalibrate_batch_norm`` then gives them the statistics of samples, at the same
outputs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from object_pose.core.errors import ConfigError, ModelError
from object_pose.runtime.roi_head import ROI_HEAD_KEY, STAGE_KEYS, unpacked
from object_pose.training.networks.blocks import SeparableUnit, separated
from object_pose.training.onnx.ensemble import members

_LAYERS = ("Conv", "Gemm")
# A layer of which an export takes some rows only; its weight keeps its name.
_SELECTED, _WEIGHT = "Gather", re.compile(r"^network\.(.+)\.weight$")
# What ``ExportedX`` calls the network it wraps; the graph counts further calls of it.
_WRAPPED = re.compile(r"^network(_\d+)?$")


@dataclass(frozen=True)
class _Layer:
    """A convolution or linear layer of a graph, and the end of its name in the network, as far as the graph tells."""

    name: tuple[str, ...]
    weight: Tensor
    bias: Tensor | None


def load_onnx(path: Path, network: nn.Module, leave_out: Sequence[str] = ()) -> int:
    """Copy an exported model's weights into ``network`` and return how many of its layers were found.

    Those that ``leave_out`` names stay as they are. A file may hold several networks, a detector and its RoI head or
    the members of an ensemble: that one is taken that shares the most layers, and of members on several encoders the
    one on this network's. Raises ``ConfigError`` where the file cannot be read or shares no layer.
    """
    matches = [(graphs, _match(graphs, network)) for graphs in _networks(path)]
    graphs, found = max(matches, key=lambda match: (len(match[1]), _known(match[1], network)))
    if not found:
        raise ConfigError(f"the model {path} shares no layer with this network", "name a model of the same task")
    for name in leave_out:
        found.pop(name, None)
    norms, parameters = _following_norms(network), dict(network.named_parameters())
    with torch.no_grad():
        for name, layer in found.items():
            _fill(network.get_submodule(name), norms.get(name), layer)
        for name, value in itertools.chain.from_iterable(map(_scalars, graphs)):
            parameter = None if name.rpartition(".")[0] in leave_out else parameters.get(name)
            if parameter is not None and parameter.shape == value.shape:
                parameter.copy_(value)
    return len(found)


def kernel_size(path: Path, name: str) -> tuple[int, ...]:
    """Return the height and width of a convolution's kernel in an exported model.

    Raises ``ConfigError`` where the file cannot be read or has no layer of that name.
    """
    for graph in itertools.chain.from_iterable(_networks(path)):
        for layer in _layers(graph):
            if layer.name == tuple(name.split(".")):
                return tuple(layer.weight.shape[2:])
    raise ConfigError(f"the model {path} has no layer '{name}'", "name a model of the same task")


@torch.no_grad()
def recalibrate_batch_norm(network: nn.Module, run: Callable[[], None]) -> None:
    """Give each batch norm the statistics of what it sees while ``run`` uses the network, at the same outputs."""
    was_training = network.training
    network.eval()
    with _watched(network) as seen:
        run()
    network.train(was_training)
    for norm, sums in seen.items():
        mean = sums.total / sums.count
        variance = (sums.squares / sums.count - mean**2).clamp(min=1e-6)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias += scale * (mean - norm.running_mean)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


@dataclass
class _Sums:
    total: Tensor
    squares: Tensor
    count: int


@contextmanager
def _watched(network: nn.Module) -> Iterator[dict[nn.BatchNorm2d, _Sums]]:
    """Sum up, within it, what the batch norms of a network are given, a sum a channel."""
    seen: dict[nn.BatchNorm2d, _Sums] = {}

    def watch(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        values = inputs[0].float().transpose(0, 1).flatten(1)
        sums = seen.setdefault(norm, _Sums(torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0]), 0))
        sums.total += values.sum(dim=1)
        sums.squares += values.square().sum(dim=1)
        sums.count += values.shape[1]

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(watch) for norm in norms]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _networks(path: Path) -> list[list[onnx.GraphProto]]:
    """Return the graphs of each network in a file: one, or those of its stages."""
    try:
        model = onnx.load(str(path))
        networks = [model, *_inside(model, (ROI_HEAD_KEY,))]
        stages = [[stage.graph for stage in _inside(item, STAGE_KEYS)] for item in networks]
        return [[graph, *further] for item, further in zip(networks, stages) for graph in members(item)]
    except (OSError, DecodeError, ModelError) as error:
        raise ConfigError(f"the model {path} cannot be read", "name a file that 'export' wrote, or a run") from error


def _inside(model: onnx.ModelProto, keys: Sequence[str]) -> list[onnx.ModelProto]:
    """Return the networks that a model's metadata carry under some keys."""
    texts = {entry.key: entry.value for entry in model.metadata_props}
    return [onnx.load_from_string(unpacked(texts[key])) for key in keys if key in texts]


def _match(graphs: Sequence[onnx.GraphProto], network: nn.Module) -> dict[str, _Layer]:
    """Return each layer of a network's graphs under its name in ``network``.

    A graph leaves out the containers whose forward is never called, so the name that lacks the fewest is the layer's.
    A square kernel becomes two where the network has a ``SeparableUnit`` in its place.
    """
    units = {name: module for name, module in network.named_modules() if isinstance(module, SeparableUnit)}
    free = {name: module for name, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    found: dict[str, _Layer] = {}
    layers = (part for graph in graphs for layer in _layers(graph) for part in _in_parts(layer, units))
    for layer in layers:
        fitting = [
            name
            for name, module in free.items()
            if tuple(name.split("."))[-len(layer.name) :] == layer.name and _fits(module, layer.weight)
        ]
        if fitting:
            name = min(fitting, key=lambda candidate: candidate.count("."))
            found[name] = layer
            del free[name]
    return found


def _known(found: Mapping[str, _Layer], network: nn.Module) -> int:
    """Return how many of the layers have the network's own weights already, as a frozen encoder's do."""
    own = ((network.get_submodule(name).weight, layer.weight) for name, layer in found.items())
    return sum(
        isinstance(weight, Tensor) and weight.shape == other.shape and torch.allclose(weight, other, 1e-3, 1e-6)
        for weight, other in own
    )


def _in_parts(layer: _Layer, units: Mapping[str, SeparableUnit]) -> Iterator[_Layer]:
    """Yield a layer, or the two of one of ``units`` that come nearest to its square kernel."""
    names = {name: (*name.split("."), "0")[-len(layer.name) :] for name in units}
    unit = next((units[name] for name, end in names.items() if end == layer.name), None)
    if unit is None or layer.weight.ndim != 4 or min(layer.weight.shape[2:]) == 1:
        yield layer
        return
    first, second = unit[0], unit[1]
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
    down, across = separated(layer.weight, first.out_channels)
    yield _Layer(layer.name, down, None)
    yield _Layer((*layer.name[:-1], "1"), across, layer.bias)


def _fits(module: nn.Module, weight: Tensor) -> bool:
    """Whether a layer can hold the weight; a convolution may read more channels, which count for nothing at first."""
    own = module.weight
    assert isinstance(own, Tensor)
    if own.shape == weight.shape:
        return True
    is_wider = isinstance(module, nn.Conv2d) and own.ndim == weight.ndim and own.shape[1] > weight.shape[1]
    return is_wider and own[:, : weight.shape[1]].shape == weight.shape


def _layers(graph: onnx.GraphProto) -> Iterator[_Layer]:
    """Yield the layers in the order of their first use; a layer used again comes once."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    # A layer that is computed in parts is stored as a whole.
    splits = [node for node in graph.node if node.op_type == "Split" and node.input[0] in tensors]
    tensors |= {part: tensors[node.input[0]] for node in splits for part in node.output}
    taken: set[str] = set()
    for node in graph.node:
        if node.op_type == _SELECTED and (name := _WEIGHT.match(node.input[0])):
            bias = tensors.get(f"network.{name[1]}.bias") or _selected_bias(graph, tensors, node.input[0])
            yield _Layer(
                tuple(name[1].split(".")),
                _tensor(tensors[node.input[0]]),
                None if bias is None else _tensor(bias).flatten(),
            )
        if node.op_type not in _LAYERS or len(node.input) < 2 or node.input[1] not in tensors:
            continue
        if tensors[node.input[1]].name not in taken:
            taken.add(tensors[node.input[1]].name)
            bias = _tensor(tensors[node.input[2]]) if len(node.input) > 2 and node.input[2] in tensors else None
            yield _Layer(_name(node.name), _tensor(tensors[node.input[1]]), bias)


def _selected_bias(
    graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto], weight: str
) -> onnx.TensorProto | None:
    """Return what a graph of before takes rows of beside a weight: its bias (N, 1), which has lost its name."""
    beside = (node.input[0] for node in graph.node if node.op_type == _SELECTED and node.input[0] != weight)
    found = (tensors[name] for name in beside if name in tensors)
    return next((tensor for tensor in found if list(tensor.dims) == [tensors[weight].dims[0], 1]), None)


def _name(node: str) -> tuple[str, ...]:
    """Read '/network/to_2/to_2.0/to_2.0.0/Conv' as to_2.0.0: a sequence's member repeats the sequence's own name."""
    scopes = [scope for scope in node.strip("/").split("/")[:-1] if not _WRAPPED.match(scope)]
    kept = [
        scope for scope, inner in zip(scopes, [*scopes[1:], ""]) if not inner.startswith(f"{scope}.")
    ]  # the innermost of nested sequences holds the whole name
    return tuple(".".join(re.sub(r"_\d+$", "", scope) if "." in scope else scope for scope in kept).split("."))


def _scalars(graph: onnx.GraphProto) -> Iterator[tuple[str, Tensor]]:
    """Yield what is learned outside of layers, which keeps its name in the graph."""
    for tensor in graph.initializer:
        if tensor.name.startswith("network."):
            yield tensor.name.removeprefix("network."), _tensor(tensor)


def _tensor(value: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(value).copy())


def _following_norms(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Return the batch norm that directly follows each convolution in a sequence, by the convolution's name."""
    norms = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            members = list(module.named_children())
            for (first, _), (_, second) in itertools.pairwise(members):
                if isinstance(second, nn.BatchNorm2d):
                    norms[f"{name}.{first}" if name else first] = second
    return norms


def _fill(module: nn.Module, norm: nn.BatchNorm2d | None, layer: _Layer) -> None:
    assert isinstance(module, (nn.Conv2d, nn.Linear))
    module.weight.zero_()
    module.weight[:, : layer.weight.shape[1]] = layer.weight
    if norm is None:
        if module.bias is not None and layer.bias is not None:
            module.bias.copy_(layer.bias)
        return
    assert norm.running_mean is not None and norm.running_var is not None
    norm.weight.fill_(1.0)
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)
    norm.bias.zero_()
    if layer.bias is not None:
        norm.bias.copy_(layer.bias)
