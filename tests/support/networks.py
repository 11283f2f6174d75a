"""Small real ONNX files: networks that say the same whatever they see, and a RoI head that does look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.object_model import ObjectModel
from object_pose.core.vision.decoders import Layout
from object_pose.core.vision.roi import COLOR_CHANNELS, RELIEF_CHANNELS
from object_pose.runtime.card import ModelCard
from object_pose.runtime.roi_head import LAYOUT, ROI_HEAD_KEY, packed

_OPSET = 17
_IR_VERSION = 9
_SCORE = 0.9
_SIGMA_PX = 0.5
_WINDOW = 16


def save_model(graph: onnx.GraphProto, path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a graph as an ONNX file with metadata properties."""
    onnx.save(_model(graph, metadata or {}), str(path))
    return path


def _model(graph: onnx.GraphProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return model


def save_constant_network(
    output: np.ndarray, metadata: Mapping[str, str], input_wh: tuple[int, int], path: Path
) -> Path:
    """Write a network from RGB images of ``input_wh`` to one constant output."""
    width, height = input_wh
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["detections"], value=numpy_helper.from_array(output.astype(np.float32)))],
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, height, width))],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, output.shape)],
    )
    return save_model(graph, path, metadata)


def save_pose_model(
    objects: Sequence[ObjectModel],
    camera: Camera,
    poses: Iterable[tuple[int, np.ndarray]],
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a pose model that finds objects at the same (class id, T_camera_object) in every image of ``camera``."""
    columns = [_candidate(objects, camera, class_id, transform) for class_id, transform in poses]
    card = ModelCard(
        task="pose",
        layout=Layout.OBJECT_POSE_KEYPOINTS,
        labels=tuple(model.name for model in objects),
        input_wh=camera.wh,
        keypoint_count=8,
        objects=tuple(objects),
        name=path.stem,
        version="1",
    )
    output = np.stack(columns, axis=1)[None]
    return save_constant_network(output, card.to_metadata() | dict(metadata or {}), camera.wh, path)


def relief_head(labels: tuple[str, ...], keypoint_count: int = 8) -> dict[str, str]:
    """Return the metadata that give a model a RoI head which reads colour and relief.

    Its probabilities and keypoints follow the means of its five channels, so that each of them shows; its mask is of
    what was measured.
    """
    channels, classes = COLOR_CHANNELS + RELIEF_CHANNELS, len(labels)
    rng = np.random.default_rng(0)
    constants = {
        "class_weights": 0.5 * rng.normal(size=(channels, classes + 1)),
        "class_bias": np.append(np.full(classes, 2.0), 0.0),  # objects rather than none
        "keypoint_weights": 0.2 * rng.normal(size=(channels, classes * keypoint_count * 3)),
        "keypoint_shape": np.array([-1, classes, 1, keypoint_count, 3]),
        "share_weights": np.zeros((channels, classes)),
        "share_shape": np.array([-1, classes, 1]),
        "sigma": np.array([0.0, 0.0, 0.01]),
        "is_place": np.array([1.0, 1.0, 0.0]),
        "measured": np.array(channels - 1),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["means", "class_weights", "class_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("MatMul", ["means", "keypoint_weights"], ["flat"]),
        helper.make_node("Reshape", ["flat", "keypoint_shape"], ["raw"]),
        helper.make_node("Mul", ["raw", "is_place"], ["places"]),
        helper.make_node("Add", ["places", "sigma"], ["keypoints"]),
        helper.make_node("MatMul", ["means", "share_weights"], ["share_logits"]),
        helper.make_node("Reshape", ["share_logits", "share_shape"], ["of_one"]),
        helper.make_node("Softmax", ["of_one"], ["shares"], axis=2),
        helper.make_node("Gather", ["images", "measured"], ["masks"], axis=1),
    ]
    shapes = {
        "probabilities": ("count", classes + 1),
        "keypoints": ("count", classes, 1, keypoint_count, 3),
        "shares": ("count", classes, 1),
        "masks": ("count", _WINDOW, _WINDOW),
    }
    graph = helper.make_graph(
        nodes,
        "relief_head",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("count", channels, _WINDOW, _WINDOW))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(_single(value), name) for name, value in constants.items()],
    )
    card = ModelCard("roi_head", LAYOUT, labels, (_WINDOW, _WINDOW), keypoint_count)
    data = _model(graph, card.to_metadata()).SerializeToString()
    return packed(ROI_HEAD_KEY, data)


def _single(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if np.issubdtype(value.dtype, np.floating) else value.astype(np.int64)


def _candidate(
    objects: Sequence[ObjectModel], camera: Camera, class_id: int, T_camera_object: np.ndarray
) -> np.ndarray:
    model = objects[class_id]
    pose = model.symmetry.canonical(T_camera_object)
    pixels = camera.project(se3.apply(pose, model.keypoints_object))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    probabilities = _SCORE * (np.arange(len(objects)) == class_id)
    keypoints = np.column_stack([pixels, np.full(len(pixels), _SIGMA_PX)]).ravel()
    return np.concatenate([(low + high) / 2, high - low, probabilities, keypoints])
