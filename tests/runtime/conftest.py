"""Small real ONNX files, made with numpy: what the tests of the runtime read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from networks import save_model
from object_pose.core.object_model import ObjectModel


@pytest.fixture
def constant_model(tmp_path: Path) -> Callable[..., Path]:
    """Make a network that gives ``outputs`` whatever its input ``images`` shows."""

    def make(
        outputs: list[np.ndarray],
        metadata: dict[str, str] | None = None,
        input_shape: tuple[int | str, ...] = (1, 3, 64, 96),
        input_type: int = TensorProto.FLOAT,
        input_count: int = 1,
        output_type: int = TensorProto.FLOAT,
    ) -> Path:
        nodes = [
            helper.make_node("Cast", ["images"], ["image"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        ]
        initializers = [numpy_helper.from_array(np.zeros(1, np.float32), "zero")]
        values = []
        for index, array in enumerate(outputs):
            initializers.append(numpy_helper.from_array(array.astype(np.float32), f"constant{index}"))
            nodes.append(helper.make_node("Add", [f"constant{index}", "nothing"], [f"sum{index}"]))
            nodes.append(helper.make_node("Cast", [f"sum{index}"], [f"output{index}"], to=output_type))
            values.append(helper.make_tensor_value_info(f"output{index}", output_type, array.shape))
        names = ["images", *(f"extra{index}" for index in range(1, input_count))]
        inputs = [helper.make_tensor_value_info(name, input_type, input_shape) for name in names]
        graph = helper.make_graph(nodes, "constant", inputs, values, initializers)
        return save_model(graph, tmp_path / "model.onnx", metadata)

    return make


@pytest.fixture
def mean_colour_model(tmp_path: Path) -> Path:
    """A network that gives the (1, 3) mean colour of an 8x8 image, its batch size left open."""
    node = helper.make_node("ReduceMean", ["images"], ["colour"], axes=[2, 3], keepdims=0)
    read = helper.make_tensor_value_info("images", TensorProto.FLOAT, ("batch", 3, 8, 8))
    gives = helper.make_tensor_value_info("colour", TensorProto.FLOAT, ("batch", 3))
    return save_model(helper.make_graph([node], "mean", [read], [gives]), tmp_path / "mean.onnx", {"made_by": "test"})


@pytest.fixture
def make_object() -> Callable[..., ObjectModel]:
    """Make an object: a 4 cm cube whose keypoints are its corners."""

    def make(name: str, **fields: object) -> ObjectModel:
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.02
        axes = np.concatenate([np.eye(3), -np.eye(3)])
        offsets = np.random.default_rng(0).uniform(-0.02, 0.02, (240, 3))
        normals = np.repeat(axes, 40, axis=0)
        points = np.where(normals != 0, normals * 0.02, offsets)
        return ObjectModel(name, corners, points, normals, np.zeros(3), np.full(3, 0.04), 0.0693, **fields)

    return make
