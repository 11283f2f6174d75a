"""Models that answer together: one file with several networks of one interface, whose outputs are averaged.

What networks on different encoders get wrong differs, above all where none has learned (docs/decisions/0019).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, NodeProto, compose, helper

from object_pose.core.errors import ConfigError
from object_pose.io.files import replacing

_MEMBER = re.compile(r"^member(\d+)\|")


def write_ensemble(paths: Sequence[Path], path: Path) -> None:
    """Write the model whose outputs are the mean of some models'; its card is the first's.

    Raises ``ConfigError`` where they do not read and give the same, or are ensembles themselves.
    """
    models = [onnx.load(str(item)) for item in paths]
    for model, name in zip(models, paths):
        if len(members(model)) > 1:
            raise ConfigError(f"{name} is an ensemble already", "name the models that it was made of")
        if _interface(model) != _interface(models[0]):
            raise ConfigError(f"{name} reads or gives something else than {paths[0]}", "name models of one task")
    joined = _joined(models)
    onnx.checker.check_model(joined)
    with replacing(path) as temporary:
        onnx.save(joined, str(temporary))


def members(model: ModelProto) -> list[GraphProto]:
    """Return the graphs of an ensemble's members as they were, or the model's own graph where it is no ensemble."""
    graphs: dict[str, GraphProto] = {}
    for node in model.graph.node:
        if found := _MEMBER.match(node.name):
            kept = NodeProto()
            kept.CopyFrom(node)
            kept.name = node.name[found.end() :]
            for names in (kept.input, kept.output):
                names[:] = [_MEMBER.sub("", name) for name in names]
            graphs.setdefault(found[1], GraphProto()).node.append(kept)
    for tensor in model.graph.initializer:
        if (found := _MEMBER.match(tensor.name)) and found[1] in graphs:
            own = graphs[found[1]].initializer.add()
            own.CopyFrom(tensor)
            own.name = tensor.name[found.end() :]
    return list(graphs.values()) or [model.graph]


def _joined(models: Sequence[ModelProto]) -> ModelProto:
    graphs = [compose.add_prefix(model, f"member{index}|").graph for index, model in enumerate(models)]
    inputs, outputs = models[0].graph.input, models[0].graph.output
    shared = [
        helper.make_node("Identity", [given.name], [own.name])
        for graph in graphs
        for given, own in zip(inputs, graph.input)
    ]
    means = [
        helper.make_node("Mean", [graph.output[index].name for graph in graphs], [output.name])
        for index, output in enumerate(outputs)
    ]
    nodes = [*shared, *(node for graph in graphs for node in graph.node), *means]
    joined = ModelProto()
    joined.CopyFrom(models[0])
    joined.graph.CopyFrom(helper.make_graph(nodes, models[0].graph.name, inputs, outputs))
    joined.graph.initializer.extend(tensor for graph in graphs for tensor in graph.initializer)
    return joined


def _interface(model: ModelProto) -> list[tuple[str, str]]:
    """Return the names and types of what a model reads and gives, and the version of its operators."""
    values = [(value.name, str(value.type)) for value in (*model.graph.input, *model.graph.output)]
    return [*values, *((item.domain, str(item.version)) for item in model.opset_import)]
