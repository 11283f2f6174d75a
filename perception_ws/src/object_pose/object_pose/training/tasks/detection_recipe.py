"""How the nano YOLO learns: samples, batches, loss and validation, from any endless source of labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from object_pose.core.results.detections import Detections
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.decoders import DecodeOptions, Layout, OutputFormat, decode
from object_pose.training.data.augmentation import DetectionSample, Source, disturbed, erased, only, random_crop
from object_pose.training.networks.detection_loss import DetectionLossWeights, DetectionTargets, detection_loss
from object_pose.training.networks.yolo import ExportedYolo, NanoYolo, Yolo

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
    ``erased_share`` of the samples some objects are erased, as the second look of stills does.
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
