"""Small real classifiers of bright and dark images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from networks import save_model
from object_pose.runtime.card import ModelCard
from object_pose.tasks.classify import LAYOUT

LABELS = ("bright", "dark")
SIDE = 32


def save_classifier(path: Path, steepness: float, labels: tuple[str, str] = LABELS) -> Path:
    """Write a network that tells bright from dark; wrongly where ``steepness`` is negative."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "middle"], ["offset"]),
        helper.make_node("Reshape", ["offset", "column"], ["scalar"]),
        helper.make_node("Mul", ["scalar", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("Identity", ["no_attention"], ["attention"]),
    ]
    constants = {
        "middle": np.array([0.5], dtype=np.float32),
        "column": np.array([1, 1], dtype=np.int64),
        "weights": np.array([[steepness, -steepness]], dtype=np.float32),
        "no_attention": np.zeros((1, 1, 4, 4), dtype=np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, (1, 2)),
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, (1, 1, 4, 4)),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    card = ModelCard("classify", LAYOUT, labels, (SIDE, SIDE), name=path.stem, licence="Apache-2.0")
    return save_model(graph, path, card.to_metadata())
