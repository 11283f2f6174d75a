"""The classify task's training: rendered inspections, or a folder a class, in; classes and attention maps out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from object_pose.core.arrays import Image
from object_pose.core.errors import ConfigError
from object_pose.core.params import parameter
from object_pose.core.results.classification import normal_class, score_classes
from object_pose.core.vision.image import letterbox
from object_pose.io.datasets.class_folders import read_class_folders
from object_pose.io.datasets.samples import ClassDataset, require_usable
from object_pose.io.datasets.splitting import split_fold
from object_pose.io.images import read_image
from object_pose.runtime.card import ModelCard
from object_pose.simulation.generators.inspection import (
    LABELS,
    SEEDS_PER_LOT,
    inspection_sample,
    inspection_twins,
    lot_seeds,
    training_lots,
)
from object_pose.simulation.seeds import VALIDATION
from object_pose.tasks.classify import LAYOUT
from object_pose.training.checkpoint import load_average
from object_pose.training.data.augmentation import photometric
from object_pose.training.networks.blocks import turned
from object_pose.training.networks.classifier import (
    STRIDE,
    ClassifierNetwork,
    ExportedClassifier,
    ScoreCalibration,
    damage_evidence,
    fit_score_calibration,
)
from object_pose.training.onnx.export import Exportable

_BATCH = 16
_NEGATIVE_PLACES = 12.0  # so many undamaged places weigh as much as all damaged ones of an image
_CLEARLY_DAMAGED, _OF_MOST = 0.3, 0.6
_VALIDATED_OF_A_LOT = 8


@dataclass(frozen=True)
class ClassifyTrainingConfig:
    """What a classifier of whole images learns from, and how."""

    data: str = parameter("", "folder with a folder of images a class; '' for rendered springs and gears")
    folds: int = parameter(5, "folds that a folder's files are dealt into", minimum=2, maximum=100)
    fold: int = parameter(0, "fold that is held out for validation, -1 for none", minimum=-1, maximum=99)
    input_width: int = parameter(384, "width of the network's input, pixels", minimum=32, maximum=2048)
    input_height: int = parameter(288, "height of the network's input, pixels", minimum=32, maximum=2048)
    frozen_blocks: int = parameter(6, "first blocks of the encoder that do not learn", minimum=0, maximum=13)
    photometric: float = parameter(0.25, "strength of colour, blur and noise augmentation", minimum=0.0, maximum=2.0)
    reuse: int = parameter(8, "times that a rendered picture is used", minimum=1, maximum=1000)
    buffer: int = parameter(1200, "rendered pictures kept for reuse", minimum=1, maximum=100_000)
    lot_scenes: int = parameter(
        8, "scenes rendered of each lot of parts before the next", minimum=1, maximum=SEEDS_PER_LOT
    )
    validation_images: int = parameter(300, "rendered pictures for validation", minimum=10, maximum=100_000)
    flips: bool = parameter(False, "the model averages over four mirrorings of its image: four times the time")
    turns: bool = parameter(
        False, "pictures may lie any way: training and model also use quarter turns, twice the model's time"
    )

    def __post_init__(self) -> None:
        for name in ("input_width", "input_height"):
            if getattr(self, name) % 16:
                raise ConfigError(f"parameter '{name}' is {getattr(self, name)}", "it must be a multiple of 16")

    @property
    def input_wh(self) -> tuple[int, int]:
        """The network's input size."""
        return self.input_width, self.input_height


@dataclass(frozen=True)
class ClassSample:
    """An image at the network's size, its class, and where that shows.

    ``shown`` (h, w) float32 at the evidence's stride is the share of each place that shows it; NaN where not known.
    """

    image: Image
    class_id: int
    shown: NDArray[np.float32]


@dataclass(frozen=True)
class ClassBatch:
    """``images`` (B, 3, H, W) in [0, 1], ``class_ids`` (B,) and ``shown`` (B, h, w)."""

    images: Tensor
    class_ids: Tensor
    shown: Tensor


Source = Callable[[np.random.Generator], Iterator[ClassSample]]


@dataclass(frozen=True)
class RenderedInspections:
    """Endless pictures of springs and gears, lot by lot; each is followed by ``reuse`` draws from a buffer."""

    input_wh: tuple[int, int]
    reuse: int
    capacity: int
    lot_scenes: int = SEEDS_PER_LOT

    def __call__(self, rng: np.random.Generator) -> Iterator[ClassSample]:
        """Yield samples for ever."""
        cv2.setNumThreads(1)
        kept: list[ClassSample] = []
        for lot in training_lots(rng):
            for seed in lot_seeds(lot)[: self.lot_scenes]:
                for drawn in inspection_twins(seed):
                    sample = _at_network_size(drawn.image, drawn.class_id, drawn.damage, self.input_wh)
                    if len(kept) < self.capacity:
                        kept.append(sample)
                    else:
                        kept[int(rng.integers(self.capacity))] = sample
                    for _ in range(self.reuse):
                        yield kept[int(rng.integers(len(kept)))]


@dataclass(frozen=True)
class FolderImages:
    """Endless shuffled passes over the images of a data set."""

    dataset: ClassDataset
    input_wh: tuple[int, int]

    def __call__(self, rng: np.random.Generator) -> Iterator[ClassSample]:
        """Yield samples for ever; raises ``DataError`` where a file can no longer be read."""
        cv2.setNumThreads(1)
        while True:
            for index in rng.permutation(len(self.dataset.samples)):
                labelled = self.dataset.samples[index]
                image = _jittered(read_image(labelled.path), rng)
                yield _at_network_size(image, labelled.class_id, None, self.input_wh)


def _jittered(image: Image, rng: np.random.Generator) -> Image:
    """Turn an image by up to 4 degrees and resample it at 0.9 to 1.1 of its size, filling with its own border."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((0.5 * width, 0.5 * height), rng.uniform(-4.0, 4.0), rng.uniform(0.9, 1.1))
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * (width, height)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def _at_network_size(
    image: Image, class_id: int, shown: NDArray[np.bool_] | None, input_wh: tuple[int, int]
) -> ClassSample:
    canvas, _ = letterbox(image, input_wh)
    places_wh = (input_wh[0] // STRIDE, input_wh[1] // STRIDE)
    if shown is None:
        return ClassSample(canvas, class_id, np.full(places_wh[::-1], np.nan, dtype=np.float32))
    mask, _ = letterbox(shown.astype(np.uint8) * 255, input_wh)
    mask[canvas_padding(image, input_wh)] = 0
    share = cv2.resize(mask, places_wh, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255.0)
    return ClassSample(canvas, class_id, share)


def canvas_padding(image: Image, input_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels (H, W) of the network's canvas lie outside the image."""
    return letterbox(np.full(image.shape[:2], 255, dtype=np.uint8), input_wh)[0] != 255


def augmented(sample: ClassSample, strength: float, rng: np.random.Generator) -> ClassSample:
    """Mirror a sample in either direction by chance, and change its light, colour and sharpness."""
    image, shown = sample.image, sample.shown
    if rng.random() < 0.5:
        image, shown = image[:, ::-1], shown[:, ::-1]
    if rng.random() < 0.5:
        image, shown = image[::-1], shown[::-1]
    image = photometric(image, rng, strength) if strength > 0.0 else image
    return replace(sample, image=np.ascontiguousarray(image), shown=np.ascontiguousarray(shown))


@dataclass(frozen=True)
class ClassifyRecipe:
    """Trains a classifier on a source of samples; ``validation`` gives what was held out, and may be slow."""

    labels: tuple[str, ...]
    config: ClassifyTrainingConfig
    source: Source
    validation: Callable[[], list[ClassSample]]

    def network(self) -> nn.Module:
        """Return the network before training, its encoder pretrained."""
        normal = normal_class(self.labels)
        return ClassifierNetwork(len(self.labels), normal, self.config.frozen_blocks, pretrained=True)

    def samples(self, rng: np.random.Generator) -> Iterator[ClassSample]:
        """Yield augmented samples for ever."""
        for sample in self.source(rng):
            yield augmented(sample, self.config.photometric, rng)

    def collate(self, samples: list[ClassSample]) -> ClassBatch:
        """Stack samples into one batch."""
        images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
        return ClassBatch(
            images.float() / 255.0,
            torch.tensor([sample.class_id for sample in samples]),
            torch.from_numpy(np.stack([sample.shown for sample in samples])),
        )

    def loss(self, network: nn.Module, batch: ClassBatch) -> dict[str, Tensor]:
        """Cross-entropy of the image's class and, where it is known what a place shows, of each place."""
        if self.config.turns and bool(torch.rand(()) < 0.5):
            batch = replace(batch, images=turned(batch.images, True), shown=turned(batch.shown, True))
        logits, evidence = network(batch.images)
        image_loss = nn.functional.cross_entropy(logits, batch.class_ids)
        known = ~torch.isnan(batch.shown)
        if not bool(known.any()):
            return {"image": image_loss, "total": image_loss}
        places = damage_evidence(evidence, normal_class(self.labels))[:, 0]
        shown = torch.nan_to_num(batch.shown)
        # A small damage may fill no place as much as a large one does.
        clearly = (_OF_MOST * shown.amax(dim=(1, 2), keepdim=True)).clamp(max=_CLEARLY_DAMAGED)
        positive, negative = known & (shown > 0.0) & (shown >= clearly), known & (shown == 0.0)
        each = nn.functional.binary_cross_entropy_with_logits(places, positive.float(), reduction="none")
        # Each damaged image has the same weight, however many places its damage fills.
        found = (each * positive).sum(dim=(1, 2)) / positive.sum(dim=(1, 2)).clamp(min=1)
        damaged = positive.any(dim=2).any(dim=1).sum().clamp(min=1)
        places_loss = found.sum() / damaged + (each * negative).sum() / (_NEGATIVE_PLACES * len(each))
        return {"image": image_loss, "places": places_loss, "total": image_loss + places_loss}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the figures of ``core.classification.score_classes`` on the held-out images; none without any."""
        samples = self.validation()
        if not samples:
            return {}
        network.eval()
        device = next(network.parameters()).device
        rows, losses = [], []
        for start in range(0, len(samples), _BATCH):
            batch = self.collate(samples[start : start + _BATCH])
            logits = network(batch.images.to(device))[0].cpu()
            losses.append(nn.functional.cross_entropy(logits, batch.class_ids, reduction="sum"))
            rows.append(logits.softmax(dim=1).numpy())
        true = np.array([sample.class_id for sample in samples])
        figures = score_classes(np.concatenate(rows), true, self.labels)
        return {"image": float(torch.stack(losses).sum()) / len(samples)} | figures


@dataclass(frozen=True)
class _RenderedValidation:
    """Held-out rendered pictures of many lots; drawn anew at each call, as a recipe travels to the data processes."""

    count: int
    input_wh: tuple[int, int]

    def __call__(self) -> list[ClassSample]:
        # Pictures of one lot succeed or fail together; making a lot costs as much as some pictures of it.
        stride = SEEDS_PER_LOT // _VALIDATED_OF_A_LOT
        drawn = (inspection_sample(seed) for seed in VALIDATION.seeds(self.count, step=stride))
        return [_at_network_size(image, class_id, None, self.input_wh) for image, class_id in drawn]


@dataclass(frozen=True)
class _FolderValidation:
    dataset: ClassDataset
    input_wh: tuple[int, int]

    def __call__(self) -> list[ClassSample]:
        return [
            _at_network_size(read_image(item.path), item.class_id, None, self.input_wh) for item in self.dataset.samples
        ]


def classify_recipe(config: ClassifyTrainingConfig) -> ClassifyRecipe:
    """Return the recipe for a folder of classes, or for rendered inspections where none is named."""
    if not config.data:
        source = RenderedInspections(config.input_wh, config.reuse, config.buffer, config.lot_scenes)
        validation = _RenderedValidation(config.validation_images, config.input_wh)
        return ClassifyRecipe(LABELS, config, source, validation)
    dataset = require_usable(read_class_folders(config.data))
    kept, held_out = split_fold(dataset, config.folds, config.fold)
    folder = FolderImages(kept, config.input_wh)
    return ClassifyRecipe(dataset.labels, config, folder, _FolderValidation(held_out, config.input_wh))


def exportable_classify(run_dir: Path, config: ClassifyTrainingConfig) -> Exportable:
    """Return a run's averaged network, ready to export; calibrated where what it was validated on is rendered.

    What is held out of a folder is not used: users measure the model on it.
    """
    labels = read_class_folders(config.data).labels if config.data else LABELS
    network = ClassifierNetwork(len(labels), normal_class(labels), config.frozen_blocks)
    load_average(run_dir, network)
    card = ModelCard("classify", LAYOUT, labels=labels, input_wh=config.input_wh)
    exported = ExportedClassifier(network, config.flips, config.turns)
    if not config.data:
        exported.calibration = _calibration(exported, classify_recipe(config))
    return Exportable(exported, card, ("probabilities", "attention"))


def _calibration(exported: ExportedClassifier, recipe: ClassifyRecipe) -> ScoreCalibration:
    batch = recipe.collate(recipe.validation())
    with torch.no_grad():
        logits = torch.cat([exported.evidence(image[None])[0] for image in batch.images])
    return fit_score_calibration(logits, batch.class_ids)
