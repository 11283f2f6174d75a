"""ONNX files and model cards as fuzz inputs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.fuzz_kinds.kind import Kind, picture
from benchmarks.fuzz_mutation import Files, mutated_bytes, mutated_content
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.object_model import ObjectModel
from object_pose.core.vision.decoders import Layout
from object_pose.runtime.card import METADATA_KEY, ModelCard
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.tasks.registry import task_of_card

_SIDE = 32  # of the small networks' input


def pose_card() -> ModelCard:
    """Return the card of a pose model of one part."""
    corners = np.array([[x, y, z] for x in (-0.1, 0.1) for y in (-0.1, 0.1) for z in (-0.1, 0.1)])
    symmetry = Symmetry(np.diag([-1.0, -1.0, 1.0, 1.0])[None], np.array([0.0, 0.0, 1.0]))
    part = ObjectModel(
        "cube", corners, corners, corners / 0.1732, np.zeros(3), np.full(3, 0.2), 0.35, symmetry, corners
    )
    layout = Layout.OBJECT_POSE_KEYPOINTS
    return ModelCard("pose", layout, ("cube",), (_SIDE, _SIDE), keypoint_count=8, objects=(part,), name="cube")


def _card_seeds() -> list[Files]:
    cards = [pose_card(), ModelCard("detect", Layout.YOLOV8_DETECT, ("cat", "dog"), (_SIDE, _SIDE))]
    return [{"card.json": card.to_metadata()[METADATA_KEY].encode()} for card in cards]


def _read_card(folder: Path) -> None:
    text = (folder / "card.json").read_text(errors="replace")
    card = ModelCard.from_metadata({METADATA_KEY: text})
    task_of_card(card.task, card.layout)
    card.to_metadata()


def _network(
    outputs: Mapping[str, np.ndarray[Any, Any]],
    metadata: Mapping[str, str],
    shape: Sequence[Any] = (1, 3, _SIDE, _SIDE),
) -> Files:
    """Return a network whose outputs are always the same."""
    nodes, infos = [], []
    for name, values in outputs.items():
        tensor = numpy_helper.from_array(values.astype(np.float32))
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape))
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "constant", inputs, infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata))
    return {"model.onnx": model.SerializeToString()}


def _model_seeds() -> list[Files]:
    names = "{0: 'cat', 1: 'dog'}"
    candidate = np.concatenate([[16, 16, 9, 9, 0.9], np.tile([16.0, 16.0, 0.5], 8)])[None, :, None]
    common = {"names": names, "imgsz": "[32, 32]", "stride": "32"}
    keypoints = common | {"task": "pose", "kpt_shape": "[2, 3]"}
    dynamic = ("batch", 3, "height", "width")
    one_class = common | {"names": "['roof']", "task": "segment"}
    masks = {"out": np.full((1, 5 + 32, 21), 0.6), "protos": np.full((1, 32, 8, 8), 0.1)}
    detr = {"labels": np.zeros((1, 9)), "boxes": np.full((1, 9, 4), 8.0), "scores": np.full((1, 9), 0.5)}
    counted = {"num_dets": np.ones((1, 1)), "det_boxes": np.full((1, 9, 4), 8.0)}
    counted |= {"det_scores": np.full((1, 9), 0.5), "det_classes": np.ones((1, 9))}
    return [
        _network({"out": candidate}, pose_card().to_metadata()),
        _network({"out": np.full((1, 12, 21), 0.6)}, keypoints),
        _network({"out": np.full((1, 20, 10), 0.5)}, keypoints | {"kpt_shape": "[2, 2]", "end2end": "True"}),
        _network({"out": np.full((1, 6, 21), 0.6)}, common | {"task": "detect"}, dynamic),
        _network({"out": np.full((1, 20, 6), 0.5)}, {"names": '["cat", "dog"]'}),
        _network({"out": np.full((1, 7, 21), 0.6)}, common | {"task": "obb"}),
        _network(masks, one_class),
        _network({"out": np.full((1, 21, 7), 0.6)}, {"names": names}),
        _network(detr, {"names": names}),
        _network({"dets": np.full((1, 9, 4), 0.5), "labels": np.full((1, 9, 3), 0.5)}, {"names": names}),
        _network({"output": np.array([[0, 4, 4, 20, 20, 1, 0.9]])}, {"names": names}),
        _network({"boxes": np.full((3, 4), 9.0), "labels": np.ones(3), "scores": np.ones(3)}, {"names": names}),
        _network(counted, {"names": names}, (1, _SIDE, _SIDE, 3)),
    ]


def _spoilt_model(rng: random.Random, seeds: Sequence[Files]) -> Files:
    """Change the bytes of a model, or its metadata."""
    content = rng.choice(seeds)["model.onnx"]
    model = onnx.load_from_string(content)
    if not model.metadata_props or rng.random() < 0.4:
        return {"model.onnx": mutated_bytes(rng, content)}
    item = rng.choice(model.metadata_props)
    item.value = mutated_content(rng, item.value.encode()).decode(errors="replace")
    return {"model.onnx": model.SerializeToString()}


def _read_model(folder: Path) -> None:
    predictor = Predictor(folder / "model.onnx", PredictorConfig(device="cpu", threads=1))
    predictor.predict(picture())


KINDS = {
    "card": Kind(200, _card_seeds, _read_card),
    "model": Kind(20, _model_seeds, _read_model, _spoilt_model),
}
