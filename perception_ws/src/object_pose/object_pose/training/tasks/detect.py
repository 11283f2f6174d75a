"""The detect task's training: labelled photographs in, a YOLO of boxes out; and how every YOLO here learns."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from object_pose.core.errors import ConfigError
from object_pose.core.params import parameter
from object_pose.core.results.detections import Detections
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.decoders import DecodeOptions, Layout, OutputFormat, decode
from object_pose.core.vision.drawing import draw_detections, side_by_side
from object_pose.core.vision.image import COARSEST_STRIDE, to_batch
from object_pose.io.datasets.opening import read_boxes
from object_pose.io.datasets.samples import BoxDataset, require_usable
from object_pose.runtime.card import ModelCard
from object_pose.tasks.detect import DETECT
from object_pose.training.checkpoint import load_average
from object_pose.training.data.augmentation import (
    DetectionSample,
    Source,
    disturbed,
    erased,
    flipped,
    mosaic,
    only,
    random_crop,
)
from object_pose.training.data.sources import (
    DiskSource,
    letterboxed,
    split_by_recording,
)
from object_pose.training.networks.detection_loss import DetectionLossWeights, DetectionTargets, detection_loss
from object_pose.training.networks.pretrained import STARTS
from object_pose.training.networks.yolo import ExportedYolo, NanoYolo, Scale, Yolo, check_sizes, mobilenet_yolo
from object_pose.training.onnx.export import Exportable

logger = logging.getLogger(__name__)
_MOSAIC_SHRINK = 0.7
_PICTURES = 6
_ERASED_OBJECTS = 0.5  # the chance of each, where some are erased


@dataclass(frozen=True)
class DetectionBatch:
    """``images`` (B, 3, H, W) uint8 RGB and their padded targets."""

    images: Tensor
    targets: DetectionTargets


@dataclass(frozen=True)
class DetectionRecipe:
    """Trains ``NanoYolo`` on ``source``; crops of ``crop_wh`` at ``scale_range`` output pixels an image pixel.

    ``validation`` are held-out samples at full size, resampled to ``input_wh`` without augmentation. Of an
    ``erased_share`` of the samples some objects are erased, as the second pass does with occluders.
    """

    class_count: int
    keypoint_count: int
    source: Source
    validation: Sequence[DetectionSample]
    crop_wh: tuple[int, int]
    scale_range: tuple[float, float]
    loss_weights: DetectionLossWeights = field(default_factory=DetectionLossWeights)
    patch_probability: float = 0.2
    photometric_strength: float = 0.4
    erased_share: float = 0.0
    uneven_light: float = 0.0

    def network(self) -> nn.Module:
        """Return the untrained network."""
        return NanoYolo(self.class_count, self.keypoint_count)

    def samples(self, rng: np.random.Generator) -> Iterator[DetectionSample]:
        """Yield augmented crops for ever."""
        for sample in self.source(rng):
            if rng.random() < self.erased_share:
                gone = rng.random(len(sample.class_ids)) < _ERASED_OBJECTS
                sample = only(erased(sample, gone, rng), ~gone)
            yield self.disturbed(random_crop(sample, self.crop_wh, self.scale_range, rng), rng)

    def disturbed(self, crop: DetectionSample, rng: np.random.Generator) -> DetectionSample:
        """Return a crop as another camera would have seen it."""
        strengths = self.patch_probability, self.photometric_strength, self.uneven_light
        return replace(crop, image=disturbed(crop.image, rng, *strengths))

    def collate(self, samples: list[DetectionSample]) -> DetectionBatch:
        """Stack images and pad targets to the largest number of objects, at least one."""
        images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
        most = max(1, *(len(sample.class_ids) for sample in samples))
        targets = DetectionTargets(
            boxes_xyxy=_padded([sample.boxes_xyxy for sample in samples], most),
            class_ids=_padded([sample.class_ids for sample in samples], most).long(),
            keypoints=_padded([sample.keypoints for sample in samples], most),
            valid=_padded([np.ones(len(sample.class_ids)) for sample in samples], most).bool(),
        )
        return DetectionBatch(images, targets)

    def loss(self, network: nn.Module, batch: DetectionBatch) -> dict[str, Tensor]:
        """Return the loss parts of one batch."""
        images = batch.images.to(memory_format=torch.channels_last).float() / 255.0
        return detection_loss(network(images), batch.targets, self.loss_weights)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return recall and precision at score 0.3 and box IoU 0.5, and the median keypoint error in pixels."""
        assert isinstance(network, Yolo)
        exported = ExportedYolo(network).eval()
        form = OutputFormat(Layout.OBJECT_POSE_KEYPOINTS, self.class_count, self.keypoint_count)
        options = DecodeOptions(score_threshold=0.3)
        device = next(network.parameters()).device
        counts = np.zeros(3)
        errors: list[NDArray[np.float64]] = []
        for sample in self.validation:
            tensor = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255.0
            detections = decode(form, exported(tensor.to(device)).float().cpu().numpy(), options)
            hits, keypoint_errors = _match(detections, sample)
            counts += (hits, len(detections), len(sample.class_ids))
            errors += keypoint_errors
        found, detected, present = counts
        return {
            "recall": found / max(present, 1),
            "precision": found / max(detected, 1),
            "keypoint_error_px": float(np.median(np.concatenate(errors))) if errors and self.keypoint_count else 0.0,
        }


def _padded(arrays: list[NDArray[np.generic]], length: int) -> Tensor:
    result = np.zeros((len(arrays), length, *arrays[0].shape[1:]), dtype=np.float32)
    for row, array in zip(result, arrays):
        row[: len(array)] = array
    return torch.from_numpy(result)


def _match(detections: Detections, sample: DetectionSample) -> tuple[int, list[NDArray[np.float64]]]:
    """Greedy matching by score: number of objects found and the keypoint errors (K,) of each."""
    free = np.ones(len(sample.class_ids), dtype=bool)
    errors: list[NDArray[np.float64]] = []
    for i in np.argsort(-detections.scores):
        iou = box_iou(detections.boxes_xyxy[i : i + 1], sample.boxes_xyxy)[0]
        iou[(sample.class_ids != detections.class_ids[i]) | ~free] = 0.0
        if len(iou) and iou.max() >= 0.5:
            best = int(iou.argmax())
            free[best] = False
            errors.append(np.linalg.norm(detections.keypoints[i] - sample.keypoints[best], axis=1))
    return len(errors), errors


@dataclass(frozen=True)
class DetectTrainingConfig:
    """What a detector of boxes learns from, and how."""

    data: str = parameter("", "labelled boxes: a YOLO folder, a COCO file or a folder with one")
    images: str = parameter("", "folder of a COCO file's images, where they do not lie beside it")
    labels: str = parameter("", "class names, commas between, where a YOLO folder has none")
    skip_faulty: bool = parameter(False, "learn from what is sound where the data set has errors")
    held_out: float = parameter(0.08, "share of the images kept for validation, by recording", minimum=0.0, maximum=0.5)
    backbone: str = parameter(
        "mobilenet", "'mobilenet' is pretrained, 'nano' knows nothing", choices=("mobilenet", "nano")
    )
    pretrained: str = parameter(
        "open_images", "what mobilenet knows: people and objects of Open Images, or ImageNet's classes", choices=STARTS
    )
    frozen_blocks: int = parameter(
        14, "first blocks of mobilenet that do not learn: all with few images, 4 with many", minimum=0, maximum=14
    )
    input_width: int = parameter(320, "width of the exported network's input, pixels", minimum=64, maximum=2048)
    input_height: int = parameter(320, "height of the exported network's input, pixels", minimum=64, maximum=2048)
    crop_width: int = parameter(256, "width of a training crop, pixels", minimum=64, maximum=2048)
    crop_height: int = parameter(256, "height of a training crop, pixels", minimum=64, maximum=2048)
    smallest_zoom: float = parameter(
        0.6, "least size of objects in crops, of theirs in the input", minimum=0.1, maximum=1.0
    )
    largest_zoom: float = parameter(1.5, "greatest size of objects in crops, likewise", minimum=0.2, maximum=4.0)
    mosaic_share: float = parameter(0.5, "share of samples made of four images", minimum=0.0, maximum=1.0)
    mosaic_end: float = parameter(0.85, "share of the training after which no mosaic is made", minimum=0.0, maximum=1.0)
    balance: float = parameter(
        0.0, "images with classes that fewer than this share of them have come more often", minimum=0.0, maximum=1.0
    )
    copy_paste: float = parameter(
        0.0, "share of images that get objects of others, of rare classes above all", minimum=0.0, maximum=1.0
    )
    photometric: float = parameter(0.4, "strength of colour, blur and noise augmentation", minimum=0.0, maximum=2.0)
    flips: bool = parameter(False, "the model averages over the image and its mirror image: twice the time")
    scales: str = parameter(
        "1.0", "sizes at which the model sees an image, as shares of the input, the finest first, commas between"
    )
    scale_sides: str = parameter("", "side, in pixels of the input, below which each scale but the last finds boxes")

    def __post_init__(self) -> None:
        check_sizes(self, ("input_width", "input_height", "crop_width", "crop_height"))
        for scale in self.input_scales:
            if any((size * scale.share) % COARSEST_STRIDE for size in self.input_wh):
                raise ConfigError(
                    f"a share of {scale.share} of {self.input_width}x{self.input_height} in 'scales' is no size",
                    f"both sides of it must be multiples of {COARSEST_STRIDE}",
                )

    @property
    def input_wh(self) -> tuple[int, int]:
        """The exported network's input size."""
        return self.input_width, self.input_height

    @property
    def input_scales(self) -> tuple[Scale, ...]:
        """The exported network's scales."""
        shares, sides = _numbers("scales", self.scales), _numbers("scale_sides", self.scale_sides)
        if len(sides) != len(shares) - 1 or not all(0.0 < share <= 1.0 for share in shares) or sides != sorted(sides):
            raise ConfigError(
                f"scales '{self.scales}' and scale_sides '{self.scale_sides}' do not fit together",
                "name shares of at most 1, finest first, and rising sides, one fewer",
            )
        return tuple(Scale(*values) for values in zip(shares, [0.0, *sides], [*sides, math.inf]))


@dataclass(frozen=True)
class BoxRecipe(DetectionRecipe):
    """Trains a YOLO of boxes alone on photographs: crops and, until ``mosaic_end`` of the training, mosaics."""

    labels: tuple[str, ...] = ()
    backbone: str = "nano"
    pretrained: str = STARTS[0]
    frozen_blocks: int = 0
    mosaic_share: float = 0.5
    mosaic_end: float = 0.85
    flips: bool = False
    scales: tuple[Scale, ...] = (Scale(),)

    def network(self) -> nn.Module:
        """Return the network before training, its backbone pretrained where it can be."""
        return _network(self.backbone, self.class_count, self.frozen_blocks, self.pretrained)

    def scheduled_samples(self, rng: np.random.Generator, done: Iterator[float]) -> Iterator[DetectionSample]:
        """Yield augmented crops and mosaics, one for each of ``done``."""
        source = self.source(rng)
        low, high = self.scale_range
        for share in done:
            if share < self.mosaic_end and rng.random() < self.mosaic_share:
                four = [self._mirrored(next(source), rng) for _ in range(4)]
                sample = mosaic(four, self.crop_wh, (low * _MOSAIC_SHRINK, high * _MOSAIC_SHRINK), rng)
            else:
                sample = random_crop(self._mirrored(next(source), rng), self.crop_wh, self.scale_range, rng)
            yield self.disturbed(sample, rng)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the average precisions on the held-out images; nothing where there are none."""
        if not self.validation:
            return {}
        results = self._detected(network, self.validation, DETECT.scored_options)
        return DETECT.score(results, [_truth(sample) for sample in self.validation], self.labels)

    def pictures(self, network: nn.Module) -> dict[str, NDArray[np.uint8]]:
        """Return truth and prediction of some held-out images."""
        samples = self.validation[:_PICTURES]
        pictures = {}
        for index, (sample, result) in enumerate(zip(samples, self._detected(network, samples, DETECT.options))):
            truth = draw_detections(sample.image, _truth(sample), self.labels)
            predicted = draw_detections(sample.image, result, self.labels)
            pictures[f"image_{index}"] = side_by_side([("truth", truth), ("prediction", predicted)])
        return pictures

    @torch.no_grad()
    def _detected(
        self, network: nn.Module, samples: Sequence[DetectionSample], options: DecodeOptions
    ) -> list[Detections]:
        """Run the network as it will be exported on images of its input size."""
        assert isinstance(network, Yolo)
        exported = ExportedYolo(network, self.flips, self.scales).eval()
        form = OutputFormat(Layout.YOLOV8_DETECT, self.class_count)
        device = next(network.parameters()).device
        outputs = (exported(torch.from_numpy(to_batch(sample.image)).to(device)) for sample in samples)
        return [decode(form, output.float().cpu().numpy(), options) for output in outputs]

    @staticmethod
    def _mirrored(sample: DetectionSample, rng: np.random.Generator) -> DetectionSample:
        return flipped(sample) if rng.random() < 0.5 else sample


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise ConfigError(f"parameter '{name}' is '{text}'", "it takes numbers, commas between") from error


def detect_recipe(config: DetectTrainingConfig) -> BoxRecipe:
    """Return the recipe that trains on a data set on disk; raises ``DataError`` where it cannot be learned from."""
    dataset = _dataset(config)
    if not config.skip_faulty or not dataset.samples:
        require_usable(dataset)
    learned, held_out = split_by_recording(dataset.samples, config.held_out)
    logger.info("%d images to learn from, %d held out for validation", len(learned), len(held_out))
    return BoxRecipe(
        class_count=len(dataset.labels),
        keypoint_count=0,
        source=DiskSource(learned, config.input_wh, config.largest_zoom, config.balance, config.copy_paste),
        validation=[letterboxed(sample, config.input_wh) for sample in held_out],
        crop_wh=(config.crop_width, config.crop_height),
        scale_range=(config.smallest_zoom / config.largest_zoom, 1.0),
        photometric_strength=config.photometric,
        labels=dataset.labels,
        backbone=config.backbone,
        pretrained=config.pretrained,
        frozen_blocks=config.frozen_blocks,
        mosaic_share=config.mosaic_share,
        mosaic_end=config.mosaic_end,
        flips=config.flips,
        scales=config.input_scales,
    )


def exportable_detect(run_dir: Path, config: DetectTrainingConfig) -> Exportable:
    """Return a run's averaged network with the labels of its data set, ready to export."""
    labels = _dataset(config).labels
    network = _network(config.backbone, len(labels), config.frozen_blocks)
    load_average(run_dir, network)
    card = ModelCard("detect", Layout.YOLOV8_DETECT, labels, config.input_wh)
    return Exportable(ExportedYolo(network, config.flips, config.input_scales), card, ("detections",))


def _network(backbone: str, class_count: int, frozen_blocks: int, pretrained: str | None = None) -> Yolo:
    if backbone == "mobilenet":
        return mobilenet_yolo(class_count, frozen_blocks, pretrained)
    return NanoYolo(class_count)


def _dataset(config: DetectTrainingConfig) -> BoxDataset:
    if not config.data:
        raise ConfigError("no data set is named", "use --data YOLO_FOLDER or --data COCO.json")
    labels = [label.strip() for label in config.labels.split(",")] if config.labels else None
    return read_boxes(config.data, labels, config.images or None)


def _truth(sample: DetectionSample) -> Detections:
    count = len(sample.class_ids)
    return Detections(sample.boxes_xyxy, np.ones(count), sample.class_ids, sample.keypoints, np.zeros((count, 0)))
