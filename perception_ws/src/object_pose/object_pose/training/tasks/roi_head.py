"""The roi_head task's training: regions around rendered objects in; their class, keypoints and visible mask out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from object_pose.core.arrays import Image
from object_pose.core.errors import ConfigError
from object_pose.core.params import parameter
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.image import PADDING_VALUE
from object_pose.core.vision.roi import COLOR_CHANNELS, RELIEF_CHANNELS, Relief, RoiWindow, normalised_batch
from object_pose.runtime.card import ModelCard
from object_pose.runtime.roi_head import KEYPOINTS_KEY, MASKS_KEY, STAGED_LAYOUT
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.simulation.seeds import VALIDATION
from object_pose.training.checkpoint import load_average
from object_pose.training.data.augmentation import DetectionSample, Source, disturbed, erased
from object_pose.training.data.sources import validation_frames
from object_pose.training.networks.roi_head import (
    MASK_CELL,
    ROI_SIZE,
    ROI_STRIDE,
    ExportedKeypoints,
    ExportedMasks,
    ExportedRoiHead,
    RoiNetwork,
    RoiOutput,
)
from object_pose.training.onnx.export import CLASS_IDS, Exportable, Stage, roi_head_card
from object_pose.training.onnx.weights import kernel_size, load_onnx
from object_pose.training.tasks.pose import KEYPOINT_COUNT, VALIDATION_SEED, RenderingConfig, training_source

Array = NDArray[np.float64]
_TOLERANCE = 0.05  # mean error of a hypothesis, in sides of the region, beyond which another hypothesis is to fit it
_NEGATIVE_SHARE = 0.2
_BACKGROUND_IOU = 0.1
# Least sides of regions of the background, pixels: where parts are hand-sized, and where they are small.
_BACKGROUND_PX, _SMALLEST_BACKGROUND_PX = 20.0, 8.0
_PLACEMENT_SEED = VALIDATION.seed(7)
_RARE_VISIBILITY = 0.3  # objects are drawn with 1 / (this + their visibility)
# How regions are placed: most as usual boxes of a detector, some as poor ones. Shifts are in sides, scales factors.
_POOR_SHARE = 0.4
_USUAL_SHIFT, _USUAL_SCALE = 0.12, 1.25
_POOR_SHIFT, _POOR_SCALE = 0.25, 1.6
# Shares: of regions in which other objects are erased, of those objects, and of regions without object that show an
# erased one.
_ERASED_SHARE, _ERASED_OTHERS, _ERASED_NEGATIVES = 0.3, 0.7, 0.4


@dataclass(frozen=True)
class RoiTrainingConfig(RenderingConfig):
    """The size of regions, and how many lack depth or colour, so that each is learned alone."""

    roi_size: int = parameter(
        ROI_SIZE, "side of a region, pixels: a larger one shows more and takes longer", minimum=48, maximum=512
    )
    colour_only_share: float = parameter(
        0.2, "share of regions without depth; large where the camera has none", minimum=0.0, maximum=1.0
    )
    relief_only_share: float = parameter(0.3, "share of regions without colour", minimum=0.0, maximum=1.0)

    def __post_init__(self) -> None:
        if self.roi_size % ROI_STRIDE:
            raise ConfigError(f"parameter 'roi_size' is {self.roi_size}", f"it must be a multiple of {ROI_STRIDE}")
        if self.colour_only_share + self.relief_only_share > 1.0:
            raise ConfigError(
                "parameters 'colour_only_share' and 'relief_only_share' are more than 1 together",
                "no region can be without both",
            )


@dataclass(frozen=True)
class RoiSample:
    """A region, its class (``class_count`` for none), its keypoints (K, 2) in units of its side and its visible mask.

    ``mask`` (M, M): the share of each cell in which the object is visible.
    """

    image: Image
    relief: Relief
    class_id: int
    keypoints: Array
    mask: NDArray[np.float32]


_Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class RoiRecipe:
    """Trains ``RoiNetwork`` on regions around the labelled objects of ``source``, placed as a detector's boxes."""

    class_count: int
    keypoint_count: int
    source: Source
    validation: Sequence[DetectionSample]
    size: int = ROI_SIZE
    photometric_strength: float = 0.4
    patch_probability: float = 0.2
    colour_only_share: float = 0.2
    relief_only_share: float = 0.3
    uneven_light: float = 0.0
    least_background_px: float = _BACKGROUND_PX

    def network(self) -> nn.Module:
        """Return the untrained network."""
        return RoiNetwork(self.class_count, self.keypoint_count, self.size)

    def samples(self, rng: np.random.Generator) -> Iterator[RoiSample]:
        """Yield augmented regions for ever."""
        for sample in self.source(rng):
            crop = self._negative(sample, rng) if rng.random() < _NEGATIVE_SHARE else self._positive(sample, rng)
            if crop is not None:
                yield self._disturbed(crop, rng)

    def collate(self, samples: list[RoiSample]) -> _Batch:
        """Stack to regions (N, 5, S, S), class ids (N,), keypoints (N, K, 2) and masks (N, M, M)."""
        windows = normalised_batch([sample.image for sample in samples], [sample.relief for sample in samples])
        class_ids = torch.tensor([sample.class_id for sample in samples])
        keypoints = torch.from_numpy(np.stack([sample.keypoints for sample in samples])).float()
        masks = torch.from_numpy(np.stack([sample.mask for sample in samples]))
        return torch.from_numpy(windows), class_ids, keypoints, masks

    def loss(self, network: nn.Module, batch: _Batch) -> dict[str, Tensor]:
        """Return the loss of the class, the keypoints of the true class's hypotheses and the mask.

        The hypotheses are a mixture of Laplace distributions, ``_TOLERANCE`` wide, of whole sets of keypoints: where
        one fits a region, the others have no gradient. Each also learns its keypoints' deviations, and its votes are
        drawn together, so that each cell that counts is right by itself.
        """
        windows, class_ids, truth, masks = batch
        real = class_ids < self.class_count
        found: RoiOutput = network(
            windows.to(memory_format=torch.channels_last), class_ids.clamp(max=self.class_count - 1)
        )
        classes = nn.functional.cross_entropy(found.logits, class_ids, label_smoothing=0.02)
        own, shares = found.keypoints[real, 0], found.shares[real, 0].log_softmax(dim=1)
        spread = _mean(found.spread[real])
        each = (own[..., :2] - truth[real, None]).abs().sum(dim=-1)
        error = each.mean(dim=2)
        log_joint = shares - error / _TOLERANCE
        points = -_TOLERANCE * _mean(log_joint.logsumexp(dim=1))
        responsible = log_joint.detach().softmax(dim=1)
        log_sigma = own[..., 2].clamp(-6.0, 1.0)
        likelihood = (each.detach() * torch.exp(-log_sigma) + 2.0 * log_sigma).mean(dim=2)
        deviations = _mean((responsible * likelihood).sum(dim=1))
        likeliest = _mean(error.gather(1, shares.argmax(dim=1, keepdim=True)))
        mask = nn.functional.binary_cross_entropy_with_logits(found.mask, masks)
        total = classes + 10.0 * points + 0.1 * deviations + 0.5 * spread + 2.0 * mask
        figures = {"classes": classes, "error": likeliest, "mixture": points, "spread": spread, "mask": mask}
        return figures | {"total": total}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return class accuracy, keypoint errors (sides of the region) and mask IoU of held-out objects.

        Figures that end in ``_rgb`` and ``_relief`` are without depth and without colour.
        """
        rng = np.random.default_rng(_PLACEMENT_SEED)
        crops = [crop for sample in self.validation for crop in self._all(sample, rng)]
        flat = [replace(crop, relief=np.zeros_like(crop.relief)) for crop in crops]
        grey = [replace(crop, image=np.full_like(crop.image, PADDING_VALUE)) for crop in crops]
        figures = self._figures(network, crops)
        for kind, fewer in (("rgb", flat), ("relief", grey)):
            figures |= {f"{name}_{kind}": value for name, value in self._figures(network, fewer).items()}
        return figures

    def _figures(self, network: nn.Module, crops: list[RoiSample]) -> dict[str, float]:
        windows, class_ids, truth, masks = self.collate(crops)
        device = next(network.parameters()).device
        parts = [network(part.to(device)) for part in windows.split(128)]
        logits, keypoints, _, shares, mask = (torch.cat(part).cpu() for part in zip(*parts))
        rows = torch.arange(len(class_ids))
        error = (keypoints[rows, class_ids, ..., :2] - truth[:, None]).norm(dim=-1).mean(dim=2)
        likeliest = error[rows, shares[rows, class_ids].argmax(dim=1)]
        own, found = masks > 0.5, mask > 0.0
        overlap = (own & found).sum(dim=(1, 2)) / (own | found).sum(dim=(1, 2)).clamp(min=1)
        return {
            "accuracy": float((logits.argmax(dim=1) == class_ids).float().mean()),
            "keypoint_error_p50": float(likeliest.median()),
            "keypoint_error_p90": float(likeliest.quantile(0.9)),
            "best_of_all_p90": float(error.amin(dim=1).quantile(0.9)),
            "mask_iou": float(overlap.mean()),
        }

    def _positive(self, sample: DetectionSample, rng: np.random.Generator) -> RoiSample | None:
        if len(sample.class_ids) == 0:
            return None
        assert sample.visibilities is not None
        weights = 1.0 / (_RARE_VISIBILITY + sample.visibilities)
        return self._labelled(sample, int(rng.choice(len(weights), p=weights / weights.sum())), rng)

    def _all(self, sample: DetectionSample, rng: np.random.Generator) -> list[RoiSample]:
        return [self._labelled(sample, index, rng) for index in range(len(sample.class_ids))]

    def _labelled(self, sample: DetectionSample, index: int, rng: np.random.Generator) -> RoiSample:
        is_poor = rng.random() < _POOR_SHARE
        shift, scale = (_POOR_SHIFT, _POOR_SCALE) if is_poor else (_USUAL_SHIFT, _USUAL_SCALE)
        window = _moved(RoiWindow.around(sample.boxes_xyxy[index], self.size), shift, scale, rng)
        assert sample.owners is not None
        mask = window.cut_mask(sample.owners == index, self.size // MASK_CELL)
        if rng.random() < _ERASED_SHARE:
            others = np.arange(len(sample.class_ids)) != index
            sample = erased(sample, others & (rng.random(len(others)) < _ERASED_OTHERS), rng)
        return _cut(window, sample, int(sample.class_ids[index]), window.to_window(sample.keypoints[index]), mask)

    def _negative(self, sample: DetectionSample, rng: np.random.Generator) -> RoiSample | None:
        """Return a region without object: of the background at an object's size, or where an object was erased."""
        if len(sample.class_ids) and rng.random() < _ERASED_NEGATIVES:
            return self._nothing_left(sample, int(rng.integers(len(sample.class_ids))), rng)
        height, width = sample.image.shape[:2]
        side = float(np.exp(rng.uniform(np.log(self.least_background_px), np.log(height / 2.0))))
        aspect = float(np.exp(rng.uniform(-0.7, 0.7)))
        half = np.array([side * min(1.0, aspect), side / max(1.0, aspect)]) / 2
        center = rng.uniform([0.0, 0.0], [width, height])
        box = np.concatenate([center - half, center + half])
        if len(sample.boxes_xyxy) and box_iou(box[None], sample.boxes_xyxy).max() > _BACKGROUND_IOU:
            return None
        return self._of_nothing(RoiWindow.around(box, self.size), sample)

    def _nothing_left(self, sample: DetectionSample, index: int, rng: np.random.Generator) -> RoiSample | None:
        """Return a region of an object that is erased, or None where another one is left there."""
        gone = rng.random(len(sample.class_ids)) < _ERASED_OTHERS
        gone[index] = True
        box = sample.boxes_xyxy[index]
        if box_iou(box[None], sample.boxes_xyxy[~gone]).max(initial=0.0) > _BACKGROUND_IOU:
            return None
        window = _moved(RoiWindow.around(box, self.size), _POOR_SHIFT, _POOR_SCALE, rng)
        return self._of_nothing(window, erased(sample, gone, rng))

    def _of_nothing(self, window: RoiWindow, sample: DetectionSample) -> RoiSample:
        nothing = np.zeros((self.keypoint_count, 2))
        nowhere = np.zeros((self.size // MASK_CELL,) * 2, dtype=np.float32)
        return _cut(window, sample, self.class_count, nothing, nowhere)

    def _disturbed(self, crop: RoiSample, rng: np.random.Generator) -> RoiSample:
        """Augment colour and relief, and leave one of them out at times, so that each is learned alone."""
        draw = rng.random()
        if draw < self.relief_only_share:
            image = np.full_like(crop.image, PADDING_VALUE)
        else:
            strengths = self.patch_probability, self.photometric_strength, self.uneven_light
            image = disturbed(crop.image, rng, *strengths)
        if draw > 1.0 - self.colour_only_share:
            relief = np.zeros_like(crop.relief)
        else:
            relief = self._with_hole(crop.relief, rng)
        return replace(crop, image=image, relief=relief)

    def _with_hole(self, relief: Relief, rng: np.random.Generator) -> Relief:
        """Cut a hole into the relief by chance, as depth has on shiny metal."""
        if rng.random() >= self.patch_probability:
            return relief
        low = rng.integers(0, self.size - 8, 2)
        high = low + rng.integers(8, self.size // 2, 2)
        holed = relief.copy()
        holed[low[0] : high[0], low[1] : high[1]] = 0.0
        return holed


def roi_recipe(config: RoiTrainingConfig, scene: SceneConfig) -> RoiRecipe:
    """Return the recipe that trains on endless renders of the config's objects."""
    objects = load_objects(config.objects)
    return RoiRecipe(
        class_count=len(objects),
        keypoint_count=KEYPOINT_COUNT,
        source=training_source(objects, config, scene, depth=True),
        validation=list(validation_frames(objects, scene, config.validation_frames, VALIDATION_SEED, depth=True)),
        size=config.roi_size,
        photometric_strength=config.photometric,
        colour_only_share=config.colour_only_share,
        relief_only_share=config.relief_only_share,
        uneven_light=config.uneven_light,
        least_background_px=max(_SMALLEST_BACKGROUND_PX, _BACKGROUND_PX * min(1.0, scene.clutter_scale)),
    )


def exportable_roi_head(run_dir: Path, config: RoiTrainingConfig, scene: SceneConfig) -> Exportable:
    """Return a run's averaged network, ready to export into a detector's file."""
    labels = tuple(item.model.name for item in load_objects(config.objects))
    network = RoiNetwork(len(labels), KEYPOINT_COUNT, config.roi_size)
    load_average(run_dir, network)
    return exportable_network(network, labels, config.roi_size)


def exported_roi_head(model: Path) -> Exportable:
    """Return the RoI head inside a model file, of whatever layout, ready to export; ``ConfigError`` without one."""
    card = roi_head_card(model)
    is_separable = kernel_size(model, "mixed.0") != (3, 3)
    network = RoiNetwork(len(card.labels), card.keypoint_count, card.input_wh[0], separable=is_separable)
    load_onnx(model, network)
    return exportable_network(network, card.labels, card.input_wh[0])


def exportable_network(network: RoiNetwork, labels: tuple[str, ...], size: int) -> Exportable:
    """Return a network for windows of ``size`` pixels as the stages that the runtime reads."""
    card = ModelCard("roi_head", STAGED_LAYOUT, labels, (size, size), network.keypoint_count)
    stages = (
        Stage(KEYPOINTS_KEY, ExportedKeypoints(network), ("cells", CLASS_IDS), ("keypoints", "mixed")),
        Stage(MASKS_KEY, ExportedMasks(network), ("mixed",), ("masks",)),
    )
    channels, outputs = COLOR_CHANNELS + RELIEF_CHANNELS, ("probabilities", "shares", "cells")
    return Exportable(ExportedRoiHead(network), card, outputs, channels, batched=True, stages=stages)


def _mean(values: Tensor) -> Tensor:
    """Return the mean, 0 where a small batch shows no object."""
    return values.sum() / max(1, values.numel())


def _moved(window: RoiWindow, shift: float, scale: float, rng: np.random.Generator) -> RoiWindow:
    """Return a region moved by up to ``shift`` of its side and scaled by up to ``scale``, as a detector errs."""
    side = window.side * float(np.exp(rng.uniform(-1.0, 1.0) * np.log(scale)))
    return RoiWindow(window.center + rng.uniform(-shift, shift, 2) * window.side, side, window.size)


def _cut(
    window: RoiWindow, sample: DetectionSample, class_id: int, keypoints: Array, mask: NDArray[np.float32]
) -> RoiSample:
    return RoiSample(window.cut(sample.image), window.cut_relief(sample.depth), class_id, keypoints, mask)
