"""Inference engines behind one port: a model file in, arrays through."""

from __future__ import annotations

import functools
import importlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata, util
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import ConfigError, ModelError
from object_pose.core.params import parameter
from object_pose.core.vision.image import COARSEST_STRIDE
from object_pose.runtime import parts_file
from object_pose.runtime.card import METADATA_KEY, MOST_SIDE, ModelCard
from object_pose.runtime.cpus import available_cores
from object_pose.runtime.foreign import size_in_metadata

logger = logging.getLogger(__name__)

Batch = NDArray[np.float32]

ENGINES = ("onnxruntime", "openvino")  # the published figures are of the first
SIZE_INPUT = "orig_target_sizes"  # of DETR exports: width and height that their boxes are scaled to
_MOST_CHANNELS = 16
_MAX_THREADS = 4
ConfigT = TypeVar("ConfigT", bound="EngineConfig")
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class EngineConfig:
    """On what a model runs."""

    engine: str = parameter(
        "auto",
        "inference engine; auto takes the fastest that is installed in the nodes, and onnxruntime for files",
        choices=("auto", *ENGINES),
        read_only=True,
    )
    device: str = parameter(
        "auto", "where the network runs; auto takes a GPU that works", choices=("auto", "cpu", "cuda"), read_only=True
    )
    threads: int = parameter(
        0,
        "threads of the network; 0 takes the cores there are, but for one where objects are tracked beside, at most 4",
        minimum=0,
        maximum=256,
        read_only=True,
    )

    @property
    def thread_count(self) -> int:
        """Threads to use."""
        return self.threads or min(available_cores(), _MAX_THREADS)

    def leaving_a_core(self: ConfigT) -> ConfigT:
        """Return the configuration whose threads, where the user names none, leave a core to other work."""
        return replace(self, threads=self.threads or max(1, min(available_cores() - 1, _MAX_THREADS)))


class Engine(Protocol):
    """A loaded network: one float32 image batch in, arrays out. ``run`` may be called from several threads."""

    @property
    def name(self) -> str:
        """The engine and the kind of arithmetic or processor that it uses."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's metadata properties."""
        ...

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(1, C, H, W) of the input."""
        ...

    @property
    def takes_any_size(self) -> bool:
        """Whether an image may be of another height and width than ``input_shape``."""
        ...

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        ...

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs for one image."""
        ...

    def run(self, batch: Batch) -> list[Batch]:
        """Run the network on an image of a size that it takes; raises ``ModelError`` when the engine fails."""
        ...


def load_engine(path: str | Path, config: EngineConfig | None = None) -> Engine:
    """Open a model file once and run it once on zeros, so that the first image is as fast as the next.

    Raises ``ModelError`` for a file that is missing, damaged or not a one-image network, ``ConfigError`` for an engine
    or device that is not there.
    """
    config = config or EngineConfig()
    file = Path(path)
    check_model_file(file)
    if file.suffix == parts_file.SUFFIX:
        return parts_file.PartsEngine(file)
    return _engine_class(config)(file, config)


def check_model_file(path: Path) -> None:
    """Raise ``ModelError`` where there is no file, an empty one, or a Git LFS pointer in its place."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"model file {path} {problem}", "object-pose models lists the models that are installed")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise ModelError(f"model file {path} is empty", "copy or download it again")
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"model file {path} is a Git LFS pointer, not the model", "run git lfs pull")


def load_embedded_engine(path: Path, data: bytes, config: EngineConfig) -> Engine:
    """Open a network that travels inside the model file ``path``; it takes any number of images at a time.

    Raises ``ModelError`` where it is damaged.
    """
    return _engine_class(config)(path, config, data)


class Stage(Protocol):
    """A network that reads what another one gave: arrays of equal length in, as many arrays out as it has outputs."""

    def run(self, *inputs: NDArray[np.generic]) -> list[Batch]:
        """Run the network; raises ``ModelError`` when the engine fails."""
        ...


def load_stage(path: Path, data: bytes, config: EngineConfig) -> Stage:
    """Open a further network that travels inside the model file ``path``; raises ``ModelError`` where it is damaged."""
    return (OpenVinoStage if _engine_name(config) == "openvino" else OnnxRuntimeStage)(path, config, data)


class OnnxRuntimeStage:
    """A stage with ONNX Runtime, set up as ``OnnxRuntimeEngine`` is."""

    def __init__(self, path: Path, config: EngineConfig, embedded: bytes) -> None:
        self._session = _onnxruntime_session(path, config, embedded)
        self._names = [item.name for item in self._session.get_inputs()]

    def run(self, *inputs: NDArray[np.generic]) -> list[Batch]:
        """Run the network; see ``Stage``."""
        try:
            return list(self._session.run(None, dict(zip(self._names, inputs, strict=True))))
        except Exception as error:  # ONNX Runtime's errors share no base class but this one
            raise ModelError(f"the network failed: {_first_line(error)}") from error


class OpenVinoStage:
    """A stage with OpenVINO, set up as ``OpenVinoEngine`` is."""

    def __init__(self, path: Path, config: EngineConfig, embedded: bytes) -> None:
        self._model = _openvino_compiled(_openvino_model(path, embedded), config)

    def run(self, *inputs: NDArray[np.generic]) -> list[Batch]:
        """Run the network; see ``Stage``."""
        return _openvino_outputs(self._model, dict(enumerate(inputs)))


def _engine_class(config: EngineConfig) -> type[OnnxRuntimeEngine | OpenVinoEngine]:
    return OpenVinoEngine if _engine_name(config) == "openvino" else OnnxRuntimeEngine


def _engine_name(config: EngineConfig) -> str:
    """Return the engine that was chosen; without a choice ONNX Runtime, or OpenVINO where that alone is installed."""
    if config.engine != "auto":
        return config.engine
    is_alone = util.find_spec("onnxruntime") is None and util.find_spec("openvino") is not None
    return "openvino" if is_alone else "onnxruntime"


class OnnxRuntimeEngine:
    """ONNX Runtime, with its threads capped and not spinning, so that it leaves cores to its neighbours."""

    def __init__(self, path: Path, config: EngineConfig, embedded: bytes | None = None) -> None:
        self._session = _onnxruntime_session(path, config, embedded)
        try:
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
            inputs = [_Input(item.name, tuple(item.shape), item.type) for item in self._session.get_inputs()]
            self.output_names = tuple(item.name for item in self._session.get_outputs())
        except Exception as error:  # names may be no text
            raise _unreadable(path, error) from error
        self.name = f"onnxruntime {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"
        self._image, self._takes_size = _image_input(path, inputs)
        self.input_shape = _input_shape(path, self._image, self.metadata)
        self.takes_any_size = not all(isinstance(size, int) for size in self._image.chw[2:])
        self.output_shapes = _warm_up(self, path)

    def run(self, batch: Batch) -> list[Batch]:
        """Run the network; see ``Engine``."""
        try:
            outputs = self._session.run(None, _feed(batch, self._image, self._takes_size))
        except Exception as error:  # as above
            raise ModelError(f"the network failed: {_first_line(error)}") from error
        return [_as_float32(output) for output in outputs]


class OpenVinoEngine:
    """OpenVINO on the CPU; on chips with bf16 it computes in bf16, which is its default.

    It compiles a network for one size of image.
    """

    takes_any_size = False

    def __init__(self, path: Path, config: EngineConfig, embedded: bytes | None = None) -> None:
        if config.device == "cuda":
            raise ConfigError("engine 'openvino' has no device 'cuda'", "use engine 'onnxruntime'")
        model = _openvino_model(path, embedded)
        self.metadata = _openvino_metadata(model)
        inputs = [
            _Input(
                item.get_any_name(),
                _openvino_shape(item.get_partial_shape()),
                item.get_element_type().get_type_name(),
            )
            for item in model.inputs
        ]
        self._image, self._takes_size = _image_input(path, inputs)
        self.input_shape = _input_shape(path, self._image, self.metadata)
        if embedded is None:
            shapes = {self._image.name: self._image.own_shape(self.input_shape)}
            model.reshape(shapes | ({SIZE_INPUT: (1, 2)} if self._takes_size else {}))
        self.output_names = tuple(item.get_any_name() for item in model.outputs)
        self._model = _openvino_compiled(model, config)
        self.name = f"openvino {self._model.get_property('INFERENCE_PRECISION_HINT').get_type_name()}"
        self.output_shapes = _warm_up(self, path)

    def run(self, batch: Batch) -> list[Batch]:
        """Run the network; see ``Engine``."""
        return _openvino_outputs(self._model, _feed(batch, self._image, self._takes_size))


def _onnxruntime_session(path: Path, config: EngineConfig, embedded: bytes | None) -> Any:
    """Open a network, in ``embedded`` or else the file; raises ``ModelError`` where it cannot be read."""
    _check_one_onnxruntime()
    runtime = _import("onnxruntime", "pip install 'object-pose[cpu]' or 'object-pose[gpu]', not both")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = config.thread_count
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = _providers(config.device, runtime.get_available_providers())
    try:
        session = runtime.InferenceSession(embedded or str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors share no base class but this one
        raise _unreadable(path, error) from error
    _check_providers(config.device, session.get_providers())
    return session


def _openvino_core() -> Any:
    return _only_core(_import("openvino", "pip install 'object-pose[openvino]'"))


@functools.cache
def _only_core(openvino: Any) -> Any:
    """Return the one core of the process: each sets a signal stack of its own, and frees one that is in use."""
    return openvino.Core()


def _openvino_model(path: Path, embedded: bytes | None) -> Any:
    try:
        return _openvino_core().read_model(embedded or str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error


def _openvino_compiled(model: Any, config: EngineConfig) -> Any:
    hints = {"INFERENCE_NUM_THREADS": config.thread_count, "PERFORMANCE_HINT": "LATENCY"}
    return _openvino_core().compile_model(model, "CPU", hints)


def _openvino_outputs(model: Any, feed: Mapping[Any, NDArray[np.generic]]) -> list[Batch]:
    try:
        results = model.create_infer_request().infer(feed, share_inputs=True)
    except RuntimeError as error:
        raise ModelError(f"the network failed: {_first_line(error)}") from error
    return [_as_float32(np.asarray(results[index])) for index in range(len(results))]


def _check_one_onnxruntime() -> None:
    """Raise ``ConfigError`` where both wheels are installed, which overwrite each other's files."""
    if all(_is_installed(name) for name in ("onnxruntime", "onnxruntime-gpu")):
        raise ConfigError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install one of them",
        )


def _is_installed(distribution: str) -> bool:
    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False


def _import(module: str, hint: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"the inference engine '{module}' is not installed", hint) from error


def _unreadable(path: Path, error: Exception) -> ModelError:
    missing = re.search(r"(\S+?)(\(-?\d+\))? is not a registered function/op", str(error))
    if missing is not None:
        return ModelError(
            f"model file {path} needs the operator {missing[1]}, which is not part of ONNX",
            "export it without plugins, such as those of TensorRT",
        )
    if "OpConversionFailure" in str(error):
        found = re.findall(r"ONNX node '<Node\((\w+)\)|found for operations: (.+)", str(error))
        operators = ", ".join(sorted({first or second for first, second in found}))
        return ModelError(f"engine 'openvino' cannot run model file {path} ({operators})", "use engine 'onnxruntime'")
    return ModelError(
        f"model file {path} cannot be read: it is truncated, or not an ONNX model of a known version",
        _first_line(error),
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _providers(device: str, available: list[str]) -> list[str]:
    if device == "cpu" or (device == "auto" and _CUDA not in available):
        return [_CPU]
    if _CUDA not in available:
        raise ConfigError(
            f"device 'cuda' is not available: this onnxruntime has {', '.join(available)}",
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
        )
    return [_CUDA, _CPU]


def _check_providers(device: str, actual: list[str]) -> None:
    """ONNX Runtime falls back to the CPU without an error, so look at what it took."""
    if device == "cuda" and _CUDA not in actual:
        raise ConfigError("device 'cuda' could not be used", "are the CUDA driver and libraries installed?")
    logger.info("the network runs on %s", actual[0])


@dataclass(frozen=True)
class _Input:
    """An input of a network, its type in the engine's own word; open sizes are names or None."""

    name: str
    shape: tuple[Any, ...]
    type_name: str

    @property
    def dtype(self) -> type[np.generic] | None:
        """What it reads: floats from 0 to 1, or bytes from 0 to 255; None where it reads neither."""
        return _IMAGE_TYPES.get(self.type_name)

    @property
    def has_channels_last(self) -> bool:
        """Whether it reads (1, H, W, 3) or (H, W, 3)."""
        return len(self.shape) in (3, 4) and self.shape[-1] == 3 and self.shape[-3] not in (1, 3)

    @property
    def chw(self) -> tuple[Any, ...]:
        """Its shape as (1, C, H, W); torchvision's detectors read one image (C, H, W)."""
        shape = (1, *self.shape) if len(self.shape) == 3 else self.shape
        return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 and self.has_channels_last else shape

    def own_shape(self, input_shape: tuple[int, int, int, int]) -> tuple[int, ...]:
        """Return the shape of (1, C, H, W) as the file has it."""
        batch, channels, height, width = input_shape
        shape = (batch, height, width, channels) if self.has_channels_last else input_shape
        return shape[4 - len(self.shape) :]

    def feed(self, batch: Batch) -> NDArray[np.generic]:
        """Return an image batch as the network reads it."""
        values = np.rint(batch * 255.0) if self.dtype is np.uint8 else batch
        if self.has_channels_last:
            values = np.ascontiguousarray(np.moveaxis(values, 1, -1))
        return (values[0] if len(self.shape) == 3 else values).astype(self.dtype, copy=False)


_IMAGE_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "f32": np.float32,
    "tensor(float16)": np.float16,
    "f16": np.float16,
    "tensor(uint8)": np.uint8,
    "u8": np.uint8,
}


def _image_input(path: Path, inputs: list[_Input]) -> tuple[_Input, bool]:
    """Return the input that reads the image, and whether another one, of DETR exports, reads its size."""
    images = [item for item in inputs if item.name != SIZE_INPUT]
    if len(images) != 1:
        raise ModelError(f"model file {path} has {len(inputs)} inputs, expected one image")
    if images[0].dtype is None:
        hint = "export it in full or half precision"
        raise ModelError(f"model file {path} reads {images[0].type_name}, expected float32, float16 or uint8", hint)
    return images[0], len(inputs) > 1


def _feed(batch: Batch, image: _Input, takes_size: bool) -> dict[Any, NDArray[np.generic]]:
    feed = {image.name: image.feed(batch)}
    if takes_size:
        feed[SIZE_INPUT] = np.array([batch.shape[:1:-1]], dtype=np.int64)
    return feed


def _as_float32(output: NDArray[np.generic]) -> Batch:
    """Return outputs of other precision and class numbers as float32, in which all of ours are exact."""
    if not isinstance(output, np.ndarray):
        raise ModelError("the network gives sequences or maps, expected arrays", "export it without them")
    is_known = np.issubdtype(output.dtype, np.floating) or np.issubdtype(output.dtype, np.integer)
    return output.astype(np.float32, copy=False) if is_known else output  # type: ignore[return-value]


def _input_shape(path: Path, image: _Input, metadata: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Return (1, C, H, W); the batch may be left open in the file, height and width where its metadata tell them."""
    shape = image.chw
    if len(shape) == 4 and not all(isinstance(size, int) for size in shape[2:]):
        usual = _usual_size(path, metadata)
        shape = (*shape[:2], *(size if isinstance(size, int) else own or size for size, own in zip(shape[2:], usual)))
    fixed = [isinstance(size, int) and size > 0 for size in shape]
    if len(shape) != 4 or not all(fixed[1:]):
        raise ModelError(
            f"model file {path} has an input of shape {list(shape)}, expected (1, C, H, W)",
            "export it with a fixed image size",
        )
    if fixed[0] and shape[0] != 1:
        raise ModelError(f"model file {path} reads {shape[0]} images at a time, expected 1", "export it with batch 1")
    if max(shape[2:]) > MOST_SIDE or shape[1] > _MOST_CHANNELS:
        largest = f"{_MOST_CHANNELS} channels of {MOST_SIDE}x{MOST_SIDE}"
        raise ModelError(f"model file {path} has an input of shape {list(shape)}, expected at most {largest}")
    return 1, int(shape[1]), int(shape[2]), int(shape[3])


def _usual_size(path: Path, metadata: Mapping[str, str]) -> tuple[int, int] | tuple[None, None]:
    """Return the height and width that metadata tell of a network that takes any size; None where they tell none."""
    try:
        if METADATA_KEY in metadata:
            (width, height), source = ModelCard.from_metadata(metadata).input_wh, "card says"
        elif "imgsz" in metadata:
            (height, width), source = size_in_metadata(metadata), "metadata say"
        else:
            return None, None
    except ModelError as error:
        raise ModelError(f"model file {path}: {error.message}", error.hint) from error
    if width % COARSEST_STRIDE or height % COARSEST_STRIDE:
        problem = f"the network reads images of multiples of {COARSEST_STRIDE}, its {source} {width}x{height}"
        raise ModelError(f"model file {path}: {problem}")
    return height, width


def _warm_up(engine: OnnxRuntimeEngine | OpenVinoEngine, path: Path) -> tuple[tuple[int, ...], ...]:
    """Run once on zeros and return the outputs' shapes."""
    outputs = engine.run(np.zeros(engine.input_shape, dtype=np.float32))
    for output in outputs:
        if output.dtype != np.float32:
            raise ModelError(f"model file {path} gives {output.dtype}, expected float32", "export it in full precision")
    return tuple(output.shape for output in outputs)


def _openvino_shape(shape: Any) -> tuple[int | None, ...]:
    return tuple(size.get_length() if size.is_static else None for size in shape)


def _openvino_metadata(model: Any) -> dict[str, str]:
    """OpenVINO keeps an ONNX file's metadata under ``framework``, and drops the section when it is empty."""
    framework = model.get_rt_info()["framework"] if model.has_rt_info(["framework"]) else {}
    return {key: value.astype(str) for key, value in framework.items()}
