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
from object_pose.simulation.generators.aerial.canvas import METRES_PER_PIXEL
from object_pose.simulation.generators.aerial.places import sample_place
from object_pose.simulation.generators.aerial.tile import sample as aerial_sample
from object_pose.simulation.seeds import TRAINING, VALIDATION
from object_pose.tasks.segment import LAYOUT, RESOLUTION_UNIT_M, SEGMENT
from object_pose.training.checkpoint import load_average
from object_pose.training.data.augmentation import photometric, reused
from object_pose.training.networks.pretrained import ENCODERS, pretrained_encoder, untrained_encoder
from object_pose.training.networks.unet import STRIDE, ExportedUNet, UNet
from object_pose.training.onnx.export import Exportable

LABELS = ("building",)
_DICE_WEIGHT = 0.5
_RESOLUTION_WEIGHT = 0.05
# Share of a window's side that a tile fills at least, where its zoom is chosen.
_LEAST_FILL = 0.8
_BLURRED_BELOW = 0.8  # zoom
_LARGEST_TILE = 4  # of the input's side
_BATCH = 8
_PICTURES = 4


@dataclass(frozen=True)
class SegmentTrainingConfig:
    """What a network of masks learns from, and how."""

    data: str = parameter("", "folder with images/ and masks/; '' for rendered aerial tiles alone")
    rendered_share: float = parameter(0.3, "share of rendered tiles beside those of 'data'", minimum=0.0, maximum=1.0)
    places_share: float = parameter(
        0.0,
        "share of the rendered tiles that show many kinds of place at 0.05 to 0.4 m a pixel; the others have 0.075 m",
        minimum=0.0,
        maximum=1.0,
    )
    metres_per_pixel: float = parameter(
        0.0, "ground resolution of the tiles of 'data', 0 where it is not known", minimum=0.0, maximum=10.0
    )
    folds: int = parameter(4, "folds that a folder's tiles are dealt into, by column", minimum=2, maximum=100)
    fold: int = parameter(-1, "fold that is held out for validation, -1 for none", minimum=-1, maximum=99)
    input_size: int = parameter(256, "side of the windows that are learned from, pixels", minimum=64, maximum=2048)
    smallest_zoom: float = parameter(0.7, "least size of things, of theirs in the data", minimum=0.1, maximum=1.0)
    largest_zoom: float = parameter(1.4, "greatest size of things, likewise", minimum=1.0, maximum=8.0)
    photometric: float = parameter(0.4, "strength of colour, blur and noise augmentation", minimum=0.0, maximum=2.0)
    pretrained: str = parameter("imagenet", "the encoder and what taught it; it never learns", choices=ENCODERS)
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
    """An image (H, W, 3), its mask (H, W), 0 or 255, and its ground resolution, 0 where it is unknown."""

    image: Image
    mask: Image
    metres_per_pixel: float = 0.0


Source = Callable[[np.random.Generator], Iterator[MaskSample]]


@dataclass(frozen=True)
class RenderedTiles:
    """Endless rendered tiles, each used ``reuse`` times, from a buffer of ``capacity`` tiles.

    The share ``places`` of them shows many kinds of place.
    """

    reuse: int
    capacity: int
    places: float = 0.0

    def __call__(self, rng: np.random.Generator) -> Iterator[MaskSample]:
        """Return samples for ever."""
        cv2.setNumThreads(1)
        fresh = (
            _rendered(TRAINING.draw(rng), self.places > 0 and rng.random() < self.places) for _ in itertools.count()
        )
        return reused(fresh, self.reuse, self.capacity, rng)


@dataclass(frozen=True)
class DiskTiles:
    """Endless shuffled passes over pairs of files, those larger than ``largest_wh`` made smaller."""

    dataset: MaskDataset
    largest_wh: tuple[int, int]
    metres_per_pixel: float = 0.0

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
        sample = MaskSample(image, np.where(mask, np.uint8(255), np.uint8(0)), self.metres_per_pixel)
        box = Letterbox.fit((image.shape[1], image.shape[0]), self.largest_wh)
        if box.content_wh[0] >= image.shape[1]:
            return sample
        small = cv2.resize(image, box.content_wh, interpolation=cv2.INTER_AREA)
        small_mask = cv2.resize(sample.mask, box.content_wh, interpolation=cv2.INTER_NEAREST)
        resolution = self.metres_per_pixel * image.shape[1] / box.content_wh[0]
        return MaskSample(np.asarray(small, dtype=np.uint8), np.asarray(small_mask, dtype=np.uint8), resolution)


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
    # Things may look smaller as long as the tile fills most of the window.
    fills = min(1.0, _LEAST_FILL * max(config.input_wh) / min(sample.mask.shape))
    smallest = min(max(config.smallest_zoom, fills), config.largest_zoom)
    zoom = np.exp(rng.uniform(*np.log([smallest, config.largest_zoom])))
    quarter_turns = int(rng.integers(4))
    turn = quarter_turns * np.pi / 2 + (rng.uniform(-0.3, 0.3) if rng.random() < 0.5 else 0.0)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    linear = zoom * np.array([[np.cos(turn) * mirror, -np.sin(turn)], [np.sin(turn) * mirror, np.cos(turn)]])
    middle = (np.array(sample.mask.shape[::-1]) - 1) / 2
    slack = np.abs(np.array(sample.mask.shape[::-1]) * zoom - config.input_wh) / 2
    target = (np.array(config.input_wh) - 1) / 2 + rng.uniform(-slack, slack)
    matrix = np.column_stack([linear, target - linear @ middle])
    border = cv2.BORDER_REFLECT_101
    source = cv2.GaussianBlur(sample.image, (0, 0), 0.4 / zoom) if zoom < _BLURRED_BELOW else sample.image
    image = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)
    mask = cv2.warpAffine(sample.mask, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)
    mask = np.where(mask >= 128, np.uint8(255), np.uint8(0))
    if config.photometric > 0:
        image = photometric(np.asarray(image, dtype=np.uint8), rng, config.photometric)
    return MaskSample(np.asarray(image, dtype=np.uint8), mask, sample.metres_per_pixel / zoom)


@dataclass(frozen=True)
class SegmentRecipe:
    """Trains a U-Net on a source of tiles; ``validation`` gives what was held out."""

    config: SegmentTrainingConfig
    source: Source
    validation: Callable[[], list[MaskSample]]

    def network(self) -> nn.Module:
        """Return the network before training, its encoder pretrained."""
        return UNet(pretrained_encoder(self.config.pretrained))

    def samples(self, rng: np.random.Generator) -> Iterator[MaskSample]:
        """Yield augmented samples for ever."""
        for sample in self.source(rng):
            yield augmented(sample, self.config, rng)

    def collate(self, samples: list[MaskSample]) -> tuple[Tensor, Tensor, Tensor]:
        """Stack to images (B, 3, H, W) and masks (B, 1, H, W) uint8, and metres a pixel (B, 1)."""
        images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
        masks = torch.from_numpy(np.stack([sample.mask for sample in samples]))[:, None]
        resolutions = torch.tensor([[sample.metres_per_pixel] for sample in samples], dtype=torch.float32)
        return images, masks, resolutions

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Return the pixels' cross-entropy plus the batch's Dice loss, whatever the share of buildings.

        To that comes the error of the resolution in octaves, where it is known.
        """
        images, masks, resolutions = batch[0].float() / 255.0, batch[1].float() / 255.0, batch[2]
        logits, octaves = network(images)
        entropy = nn.functional.binary_cross_entropy_with_logits(logits, masks)
        probability = logits.sigmoid()
        dice = 1 - (2 * (probability * masks).sum() + 1) / (probability.sum() + masks.sum() + 1)
        known = (resolutions > 0).float()
        true_octaves = torch.log2(resolutions.clamp(min=1e-3) / RESOLUTION_UNIT_M)
        error = nn.functional.smooth_l1_loss(octaves, true_octaves, reduction="none", beta=0.5)
        resolution = (error * known).sum() / known.sum().clamp(min=1.0)
        total = entropy + _DICE_WEIGHT * dice + _RESOLUTION_WEIGHT * resolution
        return {"entropy": entropy, "dice": dice, "resolution": resolution, "total": total}

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
        exported = ExportedUNet(network).eval()
        device = next(network.parameters()).device
        results: list[Segmentation] = []
        for start in range(0, len(samples), _BATCH):
            chunk = samples[start : start + _BATCH]
            prepared = [SEGMENT.prepare(sample.image, self.config.input_wh) for sample in chunk]
            images = torch.from_numpy(np.concatenate([item.batch for item in prepared])).to(device)
            outputs = exported(images.contiguous(memory_format=torch.channels_last))[0].cpu().numpy()
            results += [
                SEGMENT.decode([output[None]], item, LABELS, SEGMENT.options) for output, item in zip(outputs, prepared)
            ]
        return results


def segment_recipe(config: SegmentTrainingConfig) -> SegmentRecipe:
    """Return the recipe for rendered tiles, or for a folder of pairs with a share of rendered ones.

    Validation is on the fold that is held out, on rendered tiles where there is none. Raises ``DataError`` where the
    folder cannot be learned from.
    """
    rendered = RenderedTiles(config.reuse, config.buffer, config.places_share)
    rendered_validation = partial(_rendered_validation, config.validation_tiles, config.places_share)
    if not config.data:
        return SegmentRecipe(config, rendered, rendered_validation)
    dataset = require_usable(read_mask_pairs(config.data))
    kept, held_out = split_tiles(dataset, config.folds, config.fold)
    width, height = config.input_wh
    disk: Source = DiskTiles(kept, (_LARGEST_TILE * width, _LARGEST_TILE * height), config.metres_per_pixel)
    source = MixedTiles(disk, rendered, config.rendered_share) if config.rendered_share > 0 else disk
    if not held_out.samples:
        return SegmentRecipe(config, source, rendered_validation)
    return SegmentRecipe(config, source, partial(_read_all, held_out))


def _rendered(seed: int, is_place: bool) -> MaskSample:
    if is_place:
        tile = sample_place(seed)
        return MaskSample(tile.image, tile.mask, tile.metres_per_pixel)
    return MaskSample(*aerial_sample(seed), METRES_PER_PIXEL)


@lru_cache(maxsize=1)
def _rendered_validation(count: int, places_share: float) -> list[MaskSample]:
    places = round(count * places_share)
    return [_rendered(seed, index < places) for index, seed in enumerate(VALIDATION.seeds(count))]


def _read_all(dataset: MaskDataset) -> list[MaskSample]:
    pairs = dataset.samples
    return [
        MaskSample(read_image(pair.image_path), np.where(read_mask(pair.mask_path), np.uint8(255), np.uint8(0)))
        for pair in pairs
    ]


def exportable_segment(run_dir: Path, config: SegmentTrainingConfig) -> Exportable:
    """Return a run's averaged network, ready to export: images may be twice as large as the training's windows."""
    exported = ExportedUNet(load_average(run_dir, UNet(untrained_encoder(config.pretrained))))
    width, height = config.input_wh
    card = ModelCard("segment", LAYOUT, labels=LABELS, input_wh=(2 * width, 2 * height))
    axes: tuple[dict[int, str], ...] = ({2: "height", 3: "width"}, {})
    return Exportable(exported, card, ("probability", "resolution"), any_size=True, output_axes=axes)
