"""Engines: a good file runs, a bad one is refused in one sentence that names it."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from object_pose.core.errors import ConfigError, ModelError
from object_pose.runtime.engine import EngineConfig, load_engine

OUTPUT = [np.ones((1, 6, 10), np.float32)]


def test_a_model_runs_and_tells_its_shapes(mean_colour_model):
    engine = load_engine(mean_colour_model, EngineConfig(device="cpu", threads=1))
    batch = np.zeros((1, 3, 8, 8), np.float32)
    batch[:, 1] = 0.5
    (colour,) = engine.run(batch)
    np.testing.assert_allclose(colour, [[0.0, 0.5, 0.0]])
    assert engine.input_shape == (1, 3, 8, 8)
    assert engine.output_shapes == ((1, 3),)
    assert engine.metadata["made_by"] == "test"


@pytest.mark.parametrize(
    ("cores", "named", "alone", "beside"), [(1, 0, 1, 1), (2, 0, 2, 1), (4, 0, 4, 3), (32, 0, 4, 4), (4, 4, 4, 4)]
)
def test_a_network_takes_the_cores_there_are_or_leaves_one(monkeypatch, cores, named, alone, beside):
    monkeypatch.setattr("object_pose.runtime.engine.available_cores", lambda: cores)
    config = EngineConfig(threads=named)
    assert (config.thread_count, config.leaving_a_core().thread_count) == (alone, beside)


def test_openvino_gives_the_same(mean_colour_model):
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    batch = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    engines = [load_engine(mean_colour_model, EngineConfig(engine=name)) for name in ("onnxruntime", "openvino")]
    for name in ("input_shape", "output_shapes", "metadata"):
        assert getattr(engines[0], name) == getattr(engines[1], name)
    np.testing.assert_allclose(engines[0].run(batch)[0], engines[1].run(batch)[0], atol=2e-2)


def test_what_only_onnxruntime_can_run_is_said(tmp_path):
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    network = helper.make_graph(
        [helper.make_node("Thing", ["images"], ["output"], domain="com.example")],
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])],
    )
    path = tmp_path / "model.onnx"
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(network, opset_imports=versions), path)
    with pytest.raises(ModelError, match=r"engine 'openvino' cannot run .*model\.onnx \(com\.example\.Thing\)"):
        load_engine(path, EngineConfig(engine="openvino"))


_SIGNAL_AFTER_MODELS = """
import gc, signal, sys
from pathlib import Path
from object_pose.runtime.engine import EngineConfig, load_engine
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first, second = (load_engine(Path(sys.argv[1]), EngineConfig(engine="openvino")) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
signal.raise_signal(signal.SIGUSR1)
"""


def test_signals_are_handled_after_models_of_openvino_are_gone(mean_colour_model):
    """Cores free the stack on which the thread handles signals: Ctrl-C ended the process without a word."""
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    words = [sys.executable, "-X", "faulthandler", "-c", _SIGNAL_AFTER_MODELS, str(mean_colour_model)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_metadata_that_are_no_text_are_refused(mean_colour_model):
    content = mean_colour_model.read_bytes()
    assert content.count(b"made_by") == 1
    mean_colour_model.write_bytes(content.replace(b"made_by", b"made\xffby"))
    with pytest.raises(ModelError, match="cannot be read"):
        load_engine(mean_colour_model)


def test_a_batch_of_the_wrong_shape_is_an_error_not_a_crash(mean_colour_model):
    with pytest.raises(ModelError, match="the network failed"):
        load_engine(mean_colour_model).run(np.zeros((1, 3, 9, 9), np.float32))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"this is a text file, not a network\n" * 50, "cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "cannot be read"),
    ],
)
def test_files_that_are_no_models(tmp_path, content, problem):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=problem) as raised:
        load_engine(path)
    assert str(path) in str(raised.value)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="is a folder"):
        load_engine(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_model_is_refused(constant_model, share):
    path = constant_model([np.random.default_rng(0).random((1, 34, 500))])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match="cannot be read") as raised:
        load_engine(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"input_count": 2}, "has 2 inputs"),
        ({"input_shape": (1, 3, "height", "width")}, r"shape \[1, 3, 'height', 'width'\]"),
        ({"input_shape": (64, 64)}, r"shape \[64, 64\]"),
        ({"input_shape": (4, 3, 64, 64)}, "4 images at a time"),
        ({"input_type": TensorProto.INT64}, "reads tensor.int64., expected float32, float16 or uint8"),
        ({"output_type": TensorProto.BOOL}, "gives bool"),
    ],
)
def test_networks_that_cannot_be_fed(constant_model, options, problem):
    path = constant_model(OUTPUT, **options)
    with pytest.raises(ModelError, match=problem) as raised:
        load_engine(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("half", [{"input_type": TensorProto.FLOAT16}, {"output_type": TensorProto.FLOAT16}])
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_half_precision_is_read_and_given_as_float32(constant_model, half, name):
    pytest.importorskip(name)
    engine = load_engine(constant_model([np.full((1, 3), 0.5)], **half), EngineConfig(engine=name))
    (output,) = engine.run(np.zeros(engine.input_shape, np.float32))
    assert output.dtype == np.float32 and output.tolist() == [[0.5, 0.5, 0.5]]


def test_an_engine_that_is_not_installed_is_named(mean_colour_model, monkeypatch):
    for module in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=f"'{module}' is not installed.*pip install"):
            load_engine(mean_colour_model, EngineConfig(engine=module))


def test_two_onnxruntime_wheels_are_refused(mean_colour_model, monkeypatch, tmp_path):
    for name in ("onnxruntime", "onnxruntime-gpu"):
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"both installed.*pip uninstall onnxruntime onnxruntime-gpu"):
        load_engine(mean_colour_model)


def test_cuda_that_is_not_there_is_refused_and_auto_takes_the_cpu(mean_colour_model):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ConfigError, match="'cuda' is not available"):
        load_engine(mean_colour_model, EngineConfig(device="cuda"))
    assert load_engine(mean_colour_model, EngineConfig(device="auto")).output_shapes == ((1, 3),)
