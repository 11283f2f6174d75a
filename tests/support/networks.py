"""Small real ONNX files that give the same outputs whatever they see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from object_pose.core import se3
from object_pose.core.camera import Camera
from object_pose.core.decoders import Layout
from object_pose.core.types import ObjectModel
from object_pose.runtime.card import ModelCard

_OPSET = 17
_IR_VERSION = 9
_SCORE = 0.9
_SIGMA_PX = 0.5


def save_model(graph: onnx.GraphProto, path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a graph as an ONNX file with metadata properties."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


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
    objects: Sequence[ObjectModel], camera: Camera, poses: Iterable[tuple[int, np.ndarray]], path: Path
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
    return save_constant_network(np.stack(columns, axis=1)[None], card.to_metadata(), camera.wh, path)


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
