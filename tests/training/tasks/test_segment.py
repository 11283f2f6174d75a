"""Learning masks: folds, augmentation that keeps image and mask together, a frozen encoder, export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from object_pose.core.errors import ConfigError
from object_pose.io.datasets.samples import MaskDataset, MaskPair
from object_pose.io.datasets.splitting import (
    split_tiles,
    tile_column,
)
from object_pose.io.images import write_image
from object_pose.runtime.card import ModelCard
from object_pose.runtime.predictor import Predictor
from object_pose.simulation.generators.aerial.tile import sample as aerial_sample
from object_pose.tasks.segment import LAYOUT
from object_pose.training.networks.unet import ExportedUNet, UNet
from object_pose.training.onnx.export import Exportable, export_onnx
from object_pose.training.tasks.segment import (
    LABELS,
    DiskTiles,
    MaskSample,
    RenderedTiles,
    SegmentRecipe,
    SegmentTrainingConfig,
    augmented,
    segment_recipe,
)

SMALL = SegmentTrainingConfig(input_size=64, smallest_zoom=0.8, photometric=0.0)


def _tiles(*names: str) -> MaskDataset:
    return MaskDataset(tuple(MaskPair(Path("images", name), Path("masks", name)) for name in names))


def _recipe(samples: list[MaskSample]) -> SegmentRecipe:
    return SegmentRecipe(SMALL, lambda rng: iter(samples), lambda: samples)


def test_every_tile_is_held_out_once_and_never_with_its_column_in_training() -> None:
    dataset = _tiles(*(f"{x}-{y}.png" for x in (8, 9, 10, 11, 30, 31) for y in range(3)))
    seen: list[MaskPair] = []
    for fold in range(4):
        kept, held_out = split_tiles(dataset, 4, fold)
        columns = [{tile_column(pair.image_path) for pair in part.samples} for part in (kept, held_out)]
        assert not columns[0] & columns[1]
        assert len(kept.samples) + len(held_out.samples) == len(dataset.samples)
        seen += held_out.samples
    assert sorted(seen, key=str) == sorted(dataset.samples, key=str)
    assert split_tiles(dataset, 4, -1) == (dataset, _tiles())
    assert tile_column(Path("21-1238424-1046544.png")) == "1238424"


def test_folds_that_do_not_exist_or_are_empty_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        split_tiles(_tiles("1-1.png", "2-1.png"), 4, 4)
    with pytest.raises(ConfigError, match="empty"):
        split_tiles(_tiles("1-1.png", "2-1.png"), 4, 3)


def test_image_and_mask_stay_together_in_every_augmentation() -> None:
    rng = np.random.default_rng(0)
    _, mask = aerial_sample(2)
    sample = MaskSample(np.repeat(mask[..., None], 3, axis=2), mask)
    covers = []
    for _ in range(30):
        moved = augmented(sample, SMALL, rng)
        assert moved.mask.shape == (64, 64) and set(np.unique(moved.mask)) <= {0, 255}
        np.testing.assert_array_equal(moved.image[..., 0] >= 128, moved.mask > 0)
        covers.append((moved.mask > 0).mean())
    assert np.std(covers) > 0.05


def test_a_rendered_tile_is_used_as_often_as_it_is_paid_for() -> None:
    drawn = iter(RenderedTiles(reuse=4, capacity=3)(np.random.default_rng(0)))
    tiles = [next(drawn) for _ in range(16)]
    assert len({id(tile) for tile in tiles}) == 4


def test_the_decoder_learns_two_tiles_and_the_encoder_stays() -> None:
    torch.manual_seed(0)
    samples = []
    for seed in (2, 5):
        image, mask = aerial_sample(seed)
        samples.append(MaskSample(np.ascontiguousarray(image[:64, :64]), mask[:64, :64]))
    recipe = _recipe(samples)
    network = UNet()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    batch = recipe.collate(samples)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(40):
        parts = recipe.loss(network.train(), batch)
        optimizer.zero_grad()
        parts["total"].backward()
        optimizer.step()
        losses.append(float(parts["total"].detach()))
    assert losses[-1] < 0.4 * losses[0]
    assert all(torch.equal(before[name], value) for name, value in network.encoder.state_dict().items())
    assert recipe.validate(network)["accuracy"] > 0.6
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) < 1_000_000


def test_the_loss_is_least_at_the_truth() -> None:
    truth = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    truth[:, :, :4] = 255
    right, recipe = (truth > 0) * 40.0 - 20.0, _recipe([])

    def total(logits: torch.Tensor, octaves: float, metres_per_pixel: float) -> float:
        outputs, resolutions = (logits, torch.full((2, 1), octaves)), torch.full((2, 1), metres_per_pixel)
        return float(recipe.loss(lambda images: outputs, (truth, truth, resolutions))["total"])  # type: ignore[arg-type, return-value]

    perfect = total(right, 1.0, 0.2)
    assert perfect == pytest.approx(0.0, abs=1e-3)
    assert total(right.roll(1, dims=2), 1.0, 0.2) > 1.0 > total(right, -1.0, 0.2) > perfect + 0.01
    # A resolution that nobody knows costs nothing, whatever the network says.
    assert total(right, 3.0, 0.0) == pytest.approx(perfect, abs=1e-6)


def test_a_start_from_a_model_without_a_view_of_the_whole_gives_what_that_one_gave() -> None:
    torch.manual_seed(0)
    network, image = UNet().eval(), torch.rand(1, 3, 64, 64)
    before = network(image)[0]
    assert float(network(image)[1].detach()) == 0.0
    with torch.no_grad():
        network.scene.bias += 0.5
    assert (network(image)[0] - before).abs().max() > 1e-3


def test_a_zoomed_tile_has_another_resolution() -> None:
    tile = MaskSample(*aerial_sample(2), metres_per_pixel=0.1)
    config = SegmentTrainingConfig(input_size=64, smallest_zoom=0.5, largest_zoom=2.0, photometric=0.0)
    drawn = [augmented(tile, config, np.random.default_rng(seed)).metres_per_pixel for seed in range(40)]
    assert 0.05 <= min(drawn) < 0.07 and 0.15 < max(drawn) <= 0.2
    # A window is never much larger than the tile that fills it.
    wide = SegmentTrainingConfig(input_size=256, smallest_zoom=0.1, largest_zoom=2.0, photometric=0.0)
    assert max(augmented(tile, wide, np.random.default_rng(s)).metres_per_pixel for s in range(40)) <= 0.1 / 0.8


def test_the_exported_model_agrees_with_torch_and_sees_mirror_images_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    card = ModelCard("segment", LAYOUT, labels=LABELS, input_wh=(128, 128))
    axes: tuple[dict[int, str], ...] = ({2: "height", 3: "width"}, {})
    names = ("probability", "resolution")
    exportable = Exportable(ExportedUNet(UNet()), card, names, any_size=True, output_axes=axes)
    assert export_onnx(exportable, tmp_path / "model.onnx") < 1e-4
    predictor, (image, _) = Predictor(tmp_path / "model.onnx"), aerial_sample(2)
    found, mirrored = (predictor.predict(item[:64, :64]).probability for item in (image, image[:64, :64][::-1, ::-1]))
    assert found.std() > 1e-4
    np.testing.assert_allclose(mirrored[::-1, ::-1], found, atol=1e-5)


def test_a_folder_of_pairs_is_learned_from_without_its_held_out_fold(tmp_path: Path) -> None:
    for x in range(4):
        image, mask = aerial_sample(x)
        write_image(tmp_path / "images" / f"{x}-7.png", image)
        write_image(tmp_path / "masks" / f"{x}-7.png", np.repeat(mask[..., None], 3, axis=2))
    recipe = segment_recipe(SegmentTrainingConfig(data=str(tmp_path), fold=1, rendered_share=0.0))
    assert isinstance(recipe.source, DiskTiles)
    assert [pair.image_path.stem for pair in recipe.source.dataset.samples] == ["0-7", "2-7", "3-7"]
    (held_out,) = recipe.validation()
    np.testing.assert_array_equal(held_out.image, aerial_sample(1)[0])
    np.testing.assert_array_equal(held_out.mask, aerial_sample(1)[1])
    assert next(recipe.samples(np.random.default_rng(0))).image.shape == (256, 256, 3)


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 32"):
        SegmentTrainingConfig(input_size=100)
