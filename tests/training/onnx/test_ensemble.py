"""Models that answer together: their mean, where a training goes on from, and what cannot be put together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml

from mask_models import save_mask_model
from object_pose.core.errors import ConfigError
from object_pose.runtime.predictor import Predictor, load_card
from object_pose.runtime.resources import find_model
from object_pose.training.networks.unet import UNet
from object_pose.training.onnx.ensemble import members
from object_pose.training.onnx.weights import load_onnx
from object_pose.workflows.export import CardText, export_ensemble
from object_pose.workflows.recipe import read_recipe


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("members")
    return [save_mask_model(folder / f"{name}.onnx", seed) for seed, name in enumerate(("first", "second"))]


@pytest.fixture(scope="module")
def ensemble(models: list[Path]) -> Path:
    path = models[0].with_name("together.onnx")
    export_ensemble(models, path, text=CardText(metric="not measured"))
    return path


def _answers(path: Path, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [np.asarray(answer) for answer in session.run(None, {"images": images})]


@pytest.mark.parametrize("wh", [(64, 96), (128, 128)])
def test_an_ensemble_answers_with_the_mean_at_any_size(models: list[Path], ensemble: Path, wh: tuple[int, int]) -> None:
    images = np.random.default_rng(0).random((1, 3, *wh), dtype=np.float32)
    alone = [_answers(path, images) for path in models]
    assert np.abs(alone[0][0] - alone[1][0]).mean() > 0.05
    for index, answer in enumerate(_answers(ensemble, images)):
        np.testing.assert_allclose(answer, np.mean([own[index] for own in alone], axis=0), atol=1e-6)


def test_its_card_is_the_first_ones_with_all_parameters(models: list[Path], ensemble: Path) -> None:
    card, own = load_card(ensemble), [load_card(path) for path in models]
    assert (card.name, card.metric, card.licence) == ("together", "not measured", "licence 0")
    assert card.parameters == sum(item.parameters for item in own) > 0
    assert Predictor(ensemble).predict(np.zeros((70, 90, 3), np.uint8)).probability.shape == (70, 90)


def test_its_members_come_back_as_they_were(models: list[Path], ensemble: Path) -> None:
    found = members(onnx.load(str(ensemble)))
    for path, graph in zip(models, found, strict=True):
        own = onnx.load(str(path)).graph
        assert list(graph.node) == list(own.node)
        assert {item.name: item for item in graph.initializer} == {item.name: item for item in own.initializer}
        assert members(onnx.load(str(path))) == [own]


@pytest.mark.parametrize("index", [0, 1])
def test_training_goes_on_from_the_member_on_the_same_encoder(models: list[Path], ensemble: Path, index: int) -> None:
    torch.manual_seed(index)
    started = UNet()  # a frozen encoder as that member has it, and an untrained decoder
    torch.nn.init.zeros_(started.mask.weight)
    expected = UNet()
    assert load_onnx(ensemble, started) == load_onnx(models[index], expected) > 50
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(started.state_dict()[name], value)


def test_what_does_not_answer_the_same_question_is_refused(models: list[Path], ensemble: Path, tmp_path: Path) -> None:
    output = tmp_path / "none.onnx"
    with pytest.raises(ConfigError, match="is of the task oriented"):
        export_ensemble([models[0], find_model("oriented.onnx")], output)
    with pytest.raises(ConfigError, match="know other classes"):
        export_ensemble([models[0], save_mask_model(tmp_path / "other.onnx", 0, "road")], output)
    with pytest.raises(ConfigError, match=r"is an ensemble already.*name the models that it was made of"):
        export_ensemble([models[0], ensemble], output)
    with pytest.raises(ConfigError, match="one model is no ensemble"):
        export_ensemble(models[:1], output)
    assert not output.exists()


def test_a_recipe_ends_with_an_ensemble_of_what_it_exports(tmp_path: Path) -> None:
    stages: list[dict[str, object]] = [
        {"name": "network", "train": "segment"},
        {"name": "one", "export": "network"},
        {"name": "two", "export": "network"},
        {"name": "buildings", "ensemble": ["one", "two"]},
    ]
    recipe = tmp_path / "buildings.yaml"
    recipe.write_text(yaml.safe_dump({"stages": stages}))
    assert read_recipe(recipe).stages[-1].name == "buildings"
    recipe.write_text(yaml.safe_dump({"stages": [*stages[:3], {"name": "buildings", "ensemble": ["one", "three"]}]}))
    with pytest.raises(ConfigError, match=r"'buildings' needs a stage 'three' before it.*use: one, two"):
        read_recipe(recipe)
