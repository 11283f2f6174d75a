"""Exported graphs in the form that ONNX Runtime computes fastest on a CPU: no channels are cut apart or joined.

It keeps channels in blocks and unpacks them wherever some are copied. A convolution whose output is split becomes one
for each part, and a 1x1 convolution of joined maps becomes a sum of one for each. Their weights stay whole in the file,
split by a node that is computed when the file is opened, so that they can be read and averaged as before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, helper, numpy_helper

_OUTPUT_AXIS, _INPUT_AXIS = 0, 1  # of a convolution's weights
_CHANNEL_AXIS = 1


def compute_in_parts(model: onnx.ModelProto) -> None:
    """Change a model's graph to that form; its outputs stay the same but for the order of the sums."""
    graph = model.graph
    for split in [node for node in graph.node if node.op_type == "Split"]:
        if unit := _split_unit(graph, split):
            _replace(graph, [*unit, split], _unit_for_each_part(unit, split))
    channels = _channels(model)
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        concat = _only_concat(graph, conv)
        if concat and all(name in channels for name in concat.input):
            _replace(
                graph, [concat, conv], _sum_of_parts(graph, conv, concat, [channels[name] for name in concat.input])
            )


def _split_unit(graph: GraphProto, split: NodeProto) -> tuple[NodeProto, ...]:
    """Return the convolution, sigmoid and product (SiLU) whose output alone ``split`` reads, or nothing."""
    product = _maker(graph, split.input[0])
    if not product or product.op_type != "Mul" or _readers(graph, product.output[0]) != [split]:
        return ()
    makers = [_maker(graph, name) for name in product.input]
    units = {node.op_type: node for node in makers if node}
    if units.keys() != {"Conv", "Sigmoid"}:
        return ()
    conv, sigmoid = units["Conv"], units["Sigmoid"]
    is_alone = len(_readers(graph, conv.output[0])) == 2 and _readers(graph, sigmoid.output[0]) == [product]
    is_whole = _is_plain(graph, conv) and _attribute(split, "axis", 0) == _CHANNEL_AXIS and len(split.input) == 2
    return (conv, sigmoid, product) if is_alone and is_whole and list(sigmoid.input) == list(conv.output) else ()


def _unit_for_each_part(unit: Sequence[NodeProto], split: NodeProto) -> list[NodeProto]:
    """Return a convolution with SiLU for each output of ``split``."""
    conv, sigmoid, product = unit
    count = len(split.output)
    weights, biases = ([f"{conv.name}_{kind}_{part}" for part in range(count)] for kind in ("weight", "bias"))
    nodes = [
        helper.make_node("Split", [name, split.input[1]], parts, f"{parts[0]}/Split", axis=_OUTPUT_AXIS)
        for name, parts in zip(conv.input[1:], (weights, biases))
    ]
    for part, output in enumerate(split.output):
        maps, gates = f"{conv.name}_maps_{part}", f"{conv.name}_gates_{part}"
        nodes.append(_part_of(conv, part, [conv.input[0], weights[part], biases[part]], maps))
        nodes.append(helper.make_node("Sigmoid", [maps], [gates], f"{sigmoid.name}_{part}"))
        nodes.append(helper.make_node("Mul", [maps, gates], [output], f"{product.name}_{part}"))
    return nodes


def _only_concat(graph: GraphProto, conv: NodeProto) -> NodeProto | None:
    """Return the node that joins what a 1x1 convolution, and nothing else, reads; None where there is none."""
    concat = _maker(graph, conv.input[0])
    if not concat or concat.op_type != "Concat" or _readers(graph, concat.output[0]) != [conv]:
        return None
    is_small = _is_plain(graph, conv) and _attribute(conv, "kernel_shape", []) == [1, 1]
    return concat if is_small and _attribute(concat, "axis", 0) == _CHANNEL_AXIS else None


def _sum_of_parts(graph: GraphProto, conv: NodeProto, concat: NodeProto, channels: Sequence[int]) -> list[NodeProto]:
    """Return the sum of a convolution for each input of ``concat``, of so many channels; the first has the bias."""
    sizes = f"{conv.name}_channels"
    graph.initializer.append(numpy_helper.from_array(np.array(channels, dtype=np.int64), sizes))
    weights = [f"{conv.name}_weight_{part}" for part in range(len(channels))]
    nodes = [helper.make_node("Split", [conv.input[1], sizes], weights, f"{weights[0]}/Split", axis=_INPUT_AXIS)]
    total = ""
    for part, maps in enumerate(concat.input):
        is_first, is_last = part == 0, part == len(channels) - 1
        output = f"{conv.name}_maps_{part}"
        nodes.append(_part_of(conv, part, [maps, weights[part], *(conv.input[2:] if is_first else ())], output))
        if not is_first:
            so_far = conv.output[0] if is_last else f"{conv.name}_sum_{part}"
            nodes.append(helper.make_node("Add", [output, total], [so_far], f"{conv.name}_sum_{part}"))
            output = so_far
        total = output
    return nodes


def _part_of(conv: NodeProto, part: int, inputs: Sequence[str], output: str) -> NodeProto:
    """Return a convolution as ``conv`` with other weights; the name of its layer, the part before the slash, stays."""
    node = helper.make_node("Conv", inputs, [output], f"{conv.name}_{part}")
    node.attribute.extend(conv.attribute)
    return node


def _is_plain(graph: GraphProto, conv: NodeProto) -> bool:
    """Whether a convolution has weights of its own, with a bias, and no groups."""
    stored = {tensor.name for tensor in graph.initializer}
    return len(conv.input) == 3 and set(conv.input[1:]) <= stored and _attribute(conv, "group", 1) == 1


def _channels(model: onnx.ModelProto) -> dict[str, int]:
    """Return the number of channels of each map (N, C, H, W) of which it is known."""
    found = {}
    for value in onnx.shape_inference.infer_shapes(model).graph.value_info:
        sizes = value.type.tensor_type.shape.dim
        if len(sizes) == 4 and sizes[_CHANNEL_AXIS].dim_value:
            found[value.name] = sizes[_CHANNEL_AXIS].dim_value
    return found


def _maker(graph: GraphProto, name: str) -> NodeProto | None:
    return next((node for node in graph.node if name in node.output), None)


def _readers(graph: GraphProto, name: str) -> list[NodeProto | None]:
    """Return the nodes that read a value, and None for the caller of the network."""
    readers: list[NodeProto | None] = [node for node in graph.node if name in node.input]
    return [*readers, *(None for output in graph.output if output.name == name)]


def _attribute(node: NodeProto, name: str, default: object) -> object:
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def _replace(graph: GraphProto, old: Sequence[NodeProto], new: Sequence[NodeProto]) -> None:
    """Put nodes into the place of the last of others."""
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes += new if node == old[-1] else () if node in old else (node,)
    del graph.node[:]
    graph.node.extend(nodes)
