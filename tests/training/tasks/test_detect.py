"""Training detectors from labelled photographs: boxes survive augmentation, the network learns, its export finds."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.core.errors import ConfigError, DataError
from object_pose.core.vision.boxes import box_iou
from object_pose.io.datasets.samples import LabelledBoxes
from object_pose.runtime.predictor import Predictor
from object_pose.training.config import TrainConfig
from object_pose.training.data.augmentation import DetectionSample, flipped, mosaic
from object_pose.training.data.sources import split_by_recording
from object_pose.training.loop import Trainer
from object_pose.training.networks.mobilenet import MobileNetV2
from object_pose.training.networks.yolo import (
    MobileNetBackbone,
    mobilenet_yolo,
)
from object_pose.training.onnx.export import export_onnx
from object_pose.training.tasks.detect import BoxRecipe, DetectTrainingConfig, detect_recipe, exportable_detect

SMALL = {"backbone": "nano", "input_width": 64, "input_height": 64, "crop_width": 64, "crop_height": 64}
SEEDS = st.integers(0, 2**32 - 1)


def _draw(rng: np.random.Generator, class_id: int) -> tuple[np.ndarray, np.ndarray]:
    """A 96x96 image with one rectangle, red or green by its class, and its box."""
    image = np.full((96, 96, 3), 20, dtype=np.uint8)
    low, size = rng.integers(4, 40, 2), rng.integers(24, 50, 2)
    high = low + size
    image[low[1] : high[1], low[0] : high[0], class_id] = 230
    return image, np.concatenate([low - 0.5, high - 0.5])


def _sample(seed: int, class_id: int) -> DetectionSample:
    image, box = _draw(np.random.default_rng(seed), class_id)
    return DetectionSample(image, box[None], np.array([class_id]), np.zeros((1, 0, 2)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images of two classes in YOLO's form."""
    root = tmp_path / "data"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("red\ngreen\n")
    for index in range(8):
        image, box = _draw(np.random.default_rng(index), index % 2)
        cv2.imwrite(str(root / f"images/film{index}_0.png"), image[..., ::-1])
        center, size = (box[:2] + box[2:] + 1) / 2 / 96, (box[2:] - box[:2]) / 96
        numbers = " ".join(f"{value:.6f}" for value in (*center, *size))
        (root / f"labels/film{index}_0.txt").write_text(f"{index % 2} {numbers}\n")
    return root


def _visible_box(image: np.ndarray, channel: int) -> np.ndarray:
    rows, columns = np.nonzero(image[..., channel] > 120)
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()])


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_mosaic_keeps_every_box_on_its_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = [_sample(seed + index, index % 3) for index in range(4)]
    joined = mosaic(samples, (128, 96), (0.5, 1.5), rng)
    assert joined.image.shape == (96, 128, 3)
    for box, class_id in zip(joined.boxes_xyxy, joined.class_ids):
        x0, y0, x1, y1 = np.clip(np.rint(box).astype(int) + np.array([-3, -3, 3, 3]), 0, [127, 95, 127, 95])
        around = joined.image[y0 : y1 + 1, x0 : x1 + 1].astype(int)
        pure = np.where((around.argmax(axis=2) == class_id)[..., None], around, 0)
        found = _visible_box(pure, class_id) + np.array([x0, y0, x0, y0])
        # Two windows may show the same class side by side, so the object may only seem larger, by the margin.
        assert (np.abs(found - box) <= 3.6).all()


@given(SEEDS)
def test_flipping_twice_changes_nothing_and_once_moves_the_box_with_its_object(seed: int) -> None:
    sample = _sample(seed, 1)
    once = flipped(sample)
    assert np.abs(_visible_box(once.image, 1) - once.boxes_xyxy[0]).max() <= 0.5
    twice = flipped(once)
    assert np.array_equal(twice.image, sample.image) and np.allclose(twice.boxes_xyxy, sample.boxes_xyxy)


def test_mosaics_end_before_the_training_does(folder: Path) -> None:
    recipe = detect_recipe(DetectTrainingConfig(data=str(folder), held_out=0.0, mosaic_share=1.0, **SMALL))

    def most_objects(done: float) -> int:
        samples = recipe.scheduled_samples(np.random.default_rng(0), itertools.repeat(done))
        return max(len(sample.class_ids) for sample in itertools.islice(samples, 30))

    assert most_objects(0.0) > 2
    assert most_objects(0.9) == 1


class QuickRecipe(BoxRecipe):
    """Batch norms that follow within a few steps what they otherwise average over hundreds."""

    def network(self) -> torch.nn.Module:
        """Return the network with quick norms."""
        network = super().network()
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 0.3
        return network


def test_learns_eight_images_and_its_export_finds_their_objects(folder: Path, tmp_path: Path) -> None:
    config = DetectTrainingConfig(data=str(folder), held_out=0.0, photometric=0.0, mosaic_share=0.0, **SMALL)
    recipe = detect_recipe(config)
    recipe = QuickRecipe(**{field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)})
    training = TrainConfig(
        steps=60,
        batch_size=8,
        learning_rate=3e-3,
        warmup_steps=10,
        ema_decay=0.8,
        workers=0,
        threads=1,
        precision="fp32",
        device="cpu",
    )
    Trainer(recipe, training, tmp_path / "run").run()

    exportable = exportable_detect(tmp_path / "run", config)
    assert export_onnx(exportable, tmp_path / "small.onnx") < 1e-3
    detector = Predictor(tmp_path / "small.onnx")
    assert detector.card.labels == ("red", "green")
    overlaps = []
    for sample in (_sample(index, index % 2) for index in range(8)):
        found = detector.predict(np.kron(sample.image, np.ones((2, 2, 1), dtype=np.uint8)))
        assert found.class_ids[0] == sample.class_ids[0]
        overlaps.append(box_iou((found.boxes_xyxy[:1] - 0.5) / 2, sample.boxes_xyxy)[0, 0])
    assert np.mean(overlaps) > 0.6


@pytest.mark.parametrize(
    ("scales", "sides", "reason"),
    [
        ("1.0, 0.5", "", "do not fit together"),
        ("1.0, 0.5, 0.25", "60, 40", "do not fit together"),
        ("1.5", "", "do not fit together"),
        ("1.0, half", "60", "takes numbers"),
        ("1.0, 0.4", "60", "multiples of 32"),
    ],
)
def test_scales_that_make_no_sense_are_refused(scales: str, sides: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DetectTrainingConfig(input_width=128, input_height=128, scales=scales, scale_sides=sides)
    assert reason in f"{caught.value} {caught.value.hint}"


def test_a_coco_file_trains_as_well(folder: Path) -> None:
    document = {
        "images": [{"id": 5, "file_name": "images/film0_0.png", "width": 96, "height": 96}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 9, "bbox": [24, 12, 36, 48]}],
        "categories": [{"id": 9, "name": "part"}],
    }
    (folder / "boxes.json").write_text(json.dumps(document))
    config = DetectTrainingConfig(data=str(folder / "boxes.json"), images=str(folder), held_out=0.0, **SMALL)
    recipe = detect_recipe(config)
    assert recipe.labels == ("part",)
    sample = next(recipe.source(np.random.default_rng(0)))  # 96 pixels become 64 * 1.5
    assert np.allclose(sample.boxes_xyxy, [[23.5, 11.5, 59.5, 59.5]])


def test_frames_of_one_recording_stay_together() -> None:
    names = [
        f"film{film}_{frame:04d}_jpg.rf.{film}{frame:x}.jpg" for film in range(40) for frame in range(film % 7 + 1)
    ]
    samples = [LabelledBoxes(Path(name), (9, 9), np.zeros((0, 4)), np.zeros(0, dtype=np.int64)) for name in names]
    learned, held_out = split_by_recording(samples, 0.2)
    films = [{sample.path.name.split("_")[0] for sample in part} for part in (learned, held_out)]
    assert not films[0] & films[1]
    assert len(learned) + len(held_out) == len(samples)
    assert 0.15 * len(samples) <= len(held_out) <= 0.2 * len(samples)


def test_faulty_data_are_named_and_left_out_only_on_request(folder: Path) -> None:
    (folder / "labels/film3_0.txt").write_text("0 0.5 0.5 0.4 0.4\n7 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match=r"film3_0\.txt:2.*class id 7"):
        detect_recipe(DetectTrainingConfig(data=str(folder), **SMALL))
    recipe = detect_recipe(DetectTrainingConfig(data=str(folder), held_out=0.0, skip_faulty=True, **SMALL))
    assert recipe.labels == ("red", "green")
    with pytest.raises(ConfigError, match="no data set"):
        detect_recipe(DetectTrainingConfig())


def test_frozen_blocks_compute_the_same_and_stay_as_they_are() -> None:
    torch.manual_seed(0)
    encoder = MobileNetV2()
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2.0)
    whole = MobileNetBackbone(copy.deepcopy(encoder), 0).eval()
    frozen = MobileNetBackbone(copy.deepcopy(encoder), 4).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for mine, theirs in zip(whole.encoder(images), frozen.encoder(images)):
            assert torch.allclose(mine, theirs, atol=1e-4)

    network = mobilenet_yolo(3, frozen_blocks=4).train()
    encoder = network.backbone.encoder
    before = copy.deepcopy(encoder.state_dict())
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(images).logits.mean().backward()
    optimizer.step()
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("blocks.13.") for name in changed)
    assert not any(name.startswith(("stem.", "blocks.0.", "blocks.3.")) or "running" in name for name in changed)
    assert sum(parameter.numel() for parameter in network.parameters()) < 3_500_000
