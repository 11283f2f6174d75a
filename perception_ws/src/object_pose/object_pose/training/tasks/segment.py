"""The segment task's training: rendered aerial tiles, and pairs of image and mask from disk, in; a mask out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from object_pose.core.arrays import Image
from object_pose.core.errors import ConfigError
from object_pose.core.params import parameter
from object_pose.core.results.segmentation import Segmentation
from object_pose.core.vision.drawing import draw_mask, side_by_side
from object_pose.core.vision.image import Letterbox
from object_pose.io.datasets.mask_pairs import read_mask, read_mask_pairs
from object_pose.io.datasets.samples import MaskDataset, MaskPair, require_usable
from object_pose.io.datasets.splitting import split_tiles
from object_pose.io.images import read_image
from object_pose.runtime.card import ModelCard
from object_pose.simulation.generators.aerial.tile import sample as aerial_sample
from object_pose.simulation.seeds import TRAINING, VALIDATION
from object_pose.tasks.segment import LAYOUT, SEGMENT
from object_pose.training.checkpoint import load_average
from object_pose.training.data.augmentation import photometric, reused
from object_pose.training.networks.unet import STRIDE, ExportedUNet, UNet
from object_pose.training.onnx.export import Exportable

LABELS = ("building",)
_DICE_WEIGHT = 0.5
_BATCH = 8
_PICTURES = 4


@dataclass(frozen=True)
class SegmentTrainingConfig:
    """What a network of masks learns from, and how."""

    data: str = parameter("", "folder with images/ and masks/; '' for rendered aerial tiles alone")
    rendered_share: float = parameter(0.3, "share of rendered tiles beside those of 'data'", minimum=0.0, maximum=1.0)
    folds: int = parameter(4, "folds that a folder's tiles are dealt into, by column", minimum=2, maximum=100)
    fold: int = parameter(-1, "fold that is held out for validation, -1 for none", minimum=-1, maximum=99)
    input_size: int = parameter(256, "side of the network's input, pixels", minimum=64, maximum=2048)
    smallest_zoom: float = parameter(0.7, "least size of things, of theirs in the data", minimum=0.1, maximum=1.0)
    largest_zoom: float = parameter(1.4, "greatest size of things, likewise", minimum=1.0, maximum=8.0)
    photometric: float = parameter(0.4, "strength of colour, blur and noise augmentation", minimum=0.0, maximum=2.0)
    flips: bool = parameter(False, "the model averages over four mirrorings of its image: four times the time")
    reuse: int = parameter(3, "times that a rendered tile is used", minimum=1, maximum=1000)
    buffer: int = parameter(300, "rendered tiles kept for reuse", minimum=1, maximum=100_000)
    validation_tiles: int = parameter(100, "rendered tiles for validation", minimum=4, maximum=100_000)

    def __post_init__(self) -> None:
        if self.input_size % STRIDE:
            raise ConfigError(f"parameter 'input_size' is {self.input_size}", f"it must be a multiple of {STRIDE}")

    @property
    def input_wh(self) -> tuple[int, int]:
        """The network's input size."""
        return self.input_size, self.input_size


@dataclass(frozen=True)
class MaskSample:
    """An image (H, W, 3) and its mask (H, W), 0 or 255."""

    image: Image
    mask: Image


Source = Callable[[np.random.Generator], Iterator[MaskSample]]


@dataclass(frozen=True)
class RenderedTiles:
    """Endless rendered tiles, each used ``reuse`` times, from a buffer of ``capacity`` tiles."""

    reuse: int
    capacity: int

    def __call__(self, rng: np.random.Generator) -> Iterator[MaskSample]:
        """Return samples for ever."""
        cv2.setNumThreads(1)
        fresh = (MaskSample(*aerial_sample(TRAINING.draw(rng))) for _ in itertools.count())
        return reused(fresh, self.reuse, self.capacity, rng)


@dataclass(frozen=True)
class DiskTiles:
    """Endless shuffled passes over pairs of files, resampled as the network's letterbox would."""

    dataset: MaskDataset
    input_wh: tuple[int, int]

    def __call__(self, rng: np.random.Generator) -> Iterator[MaskSample]:
        """Yield samples for ever; raises ``DataError`` where a file can no longer be read."""
        cv2.setNumThreads(1)
        kept: dict[int, MaskSample] = {}
        while True:
            for index in rng.permutation(len(self.dataset.samples)):
                if index not in kept:
                    kept[index] = self._read(self.dataset.samples[index])
                yield kept[index]

    def _read(self, pair: MaskPair) -> MaskSample:
        image, mask = read_image(pair.image_path), read_mask(pair.mask_path)
        box = Letterbox.fit((image.shape[1], image.shape[0]), self.input_wh)
        shrinks = box.content_wh[0] < image.shape[1]
        small = cv2.resize(image, box.content_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        small_mask = cv2.resize(mask.astype(np.uint8) * 255, box.content_wh, interpolation=cv2.INTER_NEAREST)
        return MaskSample(np.asarray(small, dtype=np.uint8), np.asarray(small_mask, dtype=np.uint8))


@dataclass(frozen=True)
class MixedTiles:
    """Samples of ``first``, and with the probability ``share`` of ``second``."""

    first: Source
    second: Source
    share: float

    def __call__(self, rng: np.random.Generator) -> Iterator[MaskSample]:
        """Yield samples for ever."""
        first, second = self.first(rng), self.second(rng)
        while True:
            yield next(second if rng.random() < self.share else first)


def augmented(sample: MaskSample, config: SegmentTrainingConfig, rng: np.random.Generator) -> MaskSample:
    """Return a window of the network's size: turned, mirrored, zoomed and moved; then light and colour change.

    What lies outside the image is mirrored in, in picture and mask alike.
    """
    width, height = config.input_wh
    zoom = np.exp(rng.uniform(*np.log([config.smallest_zoom, config.largest_zoom])))
    quarter_turns = int(rng.integers(4))
    turn = quarter_turns * np.pi / 2 + (rng.uniform(-0.3, 0.3) if rng.random() < 0.5 else 0.0)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    linear = zoom * np.array([[np.cos(turn) * mirror, -np.sin(turn)], [np.sin(turn) * mirror, np.cos(turn)]])
    middle = (np.array(sample.mask.shape[::-1]) - 1) / 2
    slack = np.abs(np.array(sample.mask.shape[::-1]) * zoom - config.input_wh) / 2
    target = (np.array(config.input_wh) - 1) / 2 + rng.uniform(-slack, slack)
    matrix = np.column_stack([linear, target - linear @ middle])
    border = cv2.BORDER_REFLECT_101
    image = cv2.warpAffine(sample.image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)
    mask = cv2.warpAffine(sample.mask, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)
    mask = np.where(mask >= 128, np.uint8(255), np.uint8(0))
    if config.photometric > 0:
        image = photometric(np.asarray(image, dtype=np.uint8), rng, config.photometric)
    return MaskSample(np.asarray(image, dtype=np.uint8), mask)


@dataclass(frozen=True)
class SegmentRecipe:
    """Trains a U-Net's decoder on a source of tiles; ``validation`` gives what was held out."""

    config: SegmentTrainingConfig
    source: Source
    validation: Callable[[], list[MaskSample]]

    def network(self) -> nn.Module:
        """Return the network before training, its encoder pretrained."""
        return UNet(pretrained=True)

    def samples(self, rng: np.random.Generator) -> Iterator[MaskSample]:
        """Yield augmented samples for ever."""
        for sample in self.source(rng):
            yield augmented(sample, self.config, rng)

    def collate(self, samples: list[MaskSample]) -> tuple[Tensor, Tensor]:
        """Stack to images (B, 3, H, W) in [0, 1] and masks (B, 1, H, W), 0 or 1."""
        images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
        masks = torch.from_numpy(np.stack([sample.mask for sample in samples]))[:, None]
        return images.float() / 255.0, masks.float() / 255.0

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Return the pixels' cross-entropy plus the batch's Dice loss, whatever the share of buildings."""
        images, masks = batch
        logits = network(images)
        entropy = nn.functional.binary_cross_entropy_with_logits(logits, masks)
        probability = logits.sigmoid()
        dice = 1 - (2 * (probability * masks).sum() + 1) / (probability.sum() + masks.sum() + 1)
        return {"entropy": entropy, "dice": dice, "total": entropy + _DICE_WEIGHT * dice}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the pooled figures on the held-out tiles."""
        samples = self.validation()
        truths = [sample.mask > 0 for sample in samples]
        return SEGMENT.score(self._segmented(network, samples), truths, LABELS)

    @torch.no_grad()
    def pictures(self, network: nn.Module) -> dict[str, NDArray[np.uint8]]:
        """Return RGB, truth and prediction of some held-out tiles."""
        samples = self.validation()[:_PICTURES]
        pictures = {}
        for index, (sample, result) in enumerate(zip(samples, self._segmented(network, samples))):
            predicted = draw_mask(sample.image, result.mask)
            parts = [("RGB", sample.image), ("truth", draw_mask(sample.image, sample.mask > 0))]
            pictures[f"tile_{index}"] = side_by_side([*parts, ("prediction", predicted)])
        return pictures

    def _segmented(self, network: nn.Module, samples: list[MaskSample]) -> list[Segmentation]:
        exported = ExportedUNet(network, self.config.flips).eval()
        device = next(network.parameters()).device
        results: list[Segmentation] = []
        for start in range(0, len(samples), _BATCH):
            chunk = samples[start : start + _BATCH]
            prepared = [SEGMENT.prepare(sample.image, self.config.input_wh) for sample in chunk]
            images = torch.from_numpy(np.concatenate([item.batch for item in prepared])).to(device)
            outputs = exported(images.contiguous(memory_format=torch.channels_last)).cpu().numpy()
            results += [
                SEGMENT.decode([output[None]], item, LABELS, SEGMENT.options) for output, item in zip(outputs, prepared)
            ]
        return results


def segment_recipe(config: SegmentTrainingConfig) -> SegmentRecipe:
    """Return the recipe for rendered tiles, or for a folder of pairs with a share of rendered ones.

    Validation is on the fold that is held out, on rendered tiles where there is none. Raises ``DataError`` where the
    folder cannot be learned from.
    """
    rendered = RenderedTiles(config.reuse, config.buffer)
    if not config.data:
        return SegmentRecipe(config, rendered, partial(_rendered_validation, config.validation_tiles))
    dataset = require_usable(read_mask_pairs(config.data))
    kept, held_out = split_tiles(dataset, config.folds, config.fold)
    disk: Source = DiskTiles(kept, config.input_wh)
    source = MixedTiles(disk, rendered, config.rendered_share) if config.rendered_share > 0 else disk
    if not held_out.samples:
        return SegmentRecipe(config, source, partial(_rendered_validation, config.validation_tiles))
    return SegmentRecipe(config, source, partial(_read_all, held_out))


@lru_cache(maxsize=1)
def _rendered_validation(count: int) -> list[MaskSample]:
    return [MaskSample(*aerial_sample(seed)) for seed in VALIDATION.seeds(count)]


def _read_all(dataset: MaskDataset) -> list[MaskSample]:
    pairs = dataset.samples
    return [
        MaskSample(read_image(pair.image_path), np.where(read_mask(pair.mask_path), np.uint8(255), np.uint8(0)))
        for pair in pairs
    ]


def exportable_segment(run_dir: Path, config: SegmentTrainingConfig) -> Exportable:
    """Return a run's averaged network, ready to export."""
    network = load_average(run_dir, UNet())
    card = ModelCard("segment", LAYOUT, labels=LABELS, input_wh=config.input_wh)
    return Exportable(ExportedUNet(network, config.flips), card, ("probability",))
