"""The crop-level head: a window around a detection to its class, or none, and its keypoints.

A window has the object in the middle and at one size, so orientation is learned from a fraction of the pixels that the
whole image costs; the detector only has to find candidates. Beside colour it has relief, the depth about the object,
which shows how a grey part lies where light does not; windows without it are learned from, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from object_pose.core.arrays import Image
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.image import PADDING_VALUE
from object_pose.core.vision.roi import COLOR_CHANNELS, RELIEF_CHANNELS, Relief, RoiWindow, normalised_batch
from object_pose.simulation.seeds import VALIDATION
from object_pose.training.data.augmentation import DetectionSample, Source, disturbed, erased
from object_pose.training.networks.blocks import ConvUnit, CrossStage, initialise

Array = NDArray[np.float64]
ROI_SIZE, ROI_STRIDE = 80, 16  # a window's usual side, and what every side is a multiple of
HYPOTHESES = 3
_FEATURES, _MIXED = 256, 96  # what describes the whole window, and each of its places
_PLACE = 4  # pixels of a place that votes
_CELLS_OF_PLACE = 2  # to a side, of the mask
_MASK_CELL = _PLACE // _CELLS_OF_PLACE
_APART = 0.01  # first weights of votes: equal hypotheses would stay equal
_TOLERANCE = 0.05  # mean error of a hypothesis, in window units, beyond which another is to explain a window
_NEGATIVE_SHARE = 0.2
_BACKGROUND_IOU = 0.1
_VALIDATION_SEED = VALIDATION.seed(7)
_RARE_VISIBILITY = 0.3  # what is hardly seen is shown the more often, the less than this is seen of it
# How windows are placed in training: most as a detector's box would, some as a poor one's. Shifts are shares of the
# side, scales factors.
_POOR_SHARE = 0.4
_USUAL_SHIFT, _USUAL_SCALE = 0.12, 1.25
_POOR_SHIFT, _POOR_SCALE = 0.25, 1.6
# Of the windows so many show objects erased, each of the others with this chance; and so many of those with nothing.
_ERASED_SHARE, _ERASED_OTHERS, _ERASED_NEGATIVES = 0.3, 0.7, 0.4


@dataclass(frozen=True)
class RoiSample:
    """A window, its class (``class_count`` for none), its keypoints (K, 2) in window units and its mask.

    ``mask`` (M, M): the share of each cell in which the object is seen.
    """

    image: Image
    relief: Relief
    class_id: int
    keypoints: Array
    mask: NDArray[np.float32]


_Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class RoiOutput(NamedTuple):
    """What N windows show, of C classes or of one each.

    ``logits`` (N, C + 1), the last for none; ``keypoints`` (N, C, H, K, 3): x, y and log sigma in window units;
    ``spread`` (N, C, H, K): how far the votes for them lie apart; ``shares`` (N, C, H), as logits; ``mask`` (N, M, M):
    where the object is seen, as logits.
    """

    logits: Tensor
    keypoints: Tensor
    spread: Tensor
    shares: Tensor
    mask: Tensor


class RoiNetwork(nn.Module):
    """Classes and, for every class, some hypotheses of its keypoints; a million parameters for six classes.

    Each place of a window votes for where the keypoints lie from it, and how much its vote counts: what is learned of a
    corner holds wherever the corner is, and what is covered is outvoted (after PVNet, Peng et al. 2019).

    An occluded or far object often fits more than one orientation. One answer would be a mean that fits none; several,
    each with its share, leave the choice to who sees depth. Which pixels are the object's is told for the window,
    whatever its class.
    """

    places: Tensor

    def __init__(
        self,
        class_count: int,
        keypoint_count: int,
        size: int = ROI_SIZE,
        widths: Sequence[int] = (32, 64, 128, 192),
        depths: Sequence[int] = (1, 2, 4, 2),
    ) -> None:
        super().__init__()
        self.class_count, self.keypoint_count = class_count, keypoint_count
        w1, w2, w3, w4 = widths
        d1, d2, d3, d4 = depths
        self.body = nn.Sequential(
            ConvUnit(COLOR_CHANNELS + RELIEF_CHANNELS, w1, 3, 2),
            CrossStage(w1, w1, d1, True),
            ConvUnit(w1, w2, 3, 2),
            CrossStage(w2, w2, d2, True),
            ConvUnit(w2, w3, 3, 2),
            CrossStage(w3, w3, d3, True),
            ConvUnit(w3, w4, 3, 2),
            CrossStage(w4, w4, d4, True),
        )
        # A mean in which each channel weighs the parts of the window in its own way.
        self.overview = nn.Sequential(
            nn.Conv2d(w4, w4, size // ROI_STRIDE, groups=w4), nn.Flatten(), nn.Linear(w4, _FEATURES), nn.SiLU()
        )
        self.classes = nn.Linear(_FEATURES, class_count + 1)
        self.shares = nn.Linear(_FEATURES, class_count * HYPOTHESES)
        self.fine, self.middle, self.coarse = ConvUnit(w2, _MIXED), ConvUnit(w3, _MIXED), ConvUnit(w4, _MIXED)
        self.whole = nn.Linear(_FEATURES, _MIXED)
        self.mixed = ConvUnit(_MIXED, _MIXED, 3)
        self.votes = nn.Conv2d(_MIXED, class_count * HYPOTHESES * keypoint_count * 4, 1)
        self.mask = nn.Sequential(ConvUnit(_MIXED, _MIXED // 2, 3), nn.Conv2d(_MIXED // 2, _CELLS_OF_PLACE**2, 1))
        side = size // _PLACE
        row = (torch.arange(side) + 0.5) / side - 0.5
        self.register_buffer("places", torch.stack([row.repeat(side), row.repeat_interleave(side)]), persistent=False)
        initialise(self)
        nn.init.normal_(self.shares.weight, std=0.01)
        nn.init.normal_(self.votes.weight, std=_APART)

    def forward(self, windows: Tensor, class_ids: Tensor | None = None) -> RoiOutput:
        """Look at windows (N, 5, S, S); where ``class_ids`` (N,) are given, one class's keypoints each are enough."""
        features, mixed = self._described(windows)
        votes = self.votes(mixed).flatten(2) if class_ids is None else self._votes_of(mixed, class_ids)
        mask = nn.functional.pixel_shuffle(self.mask(mixed).float(), _CELLS_OF_PLACE)[:, 0]
        with torch.autocast(windows.device.type, enabled=False):
            keypoints, spread = self.tally(votes.float(), self.class_count if class_ids is None else 1)
            shares = self.shares(features).view(-1, self.class_count, HYPOTHESES)
            if class_ids is not None:
                shares = shares[torch.arange(len(shares)), class_ids][:, None]
            return RoiOutput(self.classes(features), keypoints, spread, shares, mask)

    def tally(self, votes: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Sum up the votes (N, C * H * K * 4, P * P): x and y from a place, log sigma and weight, of each place.

        Returns keypoints (N, C, H, K, 3) and how far the votes for them lie apart (N, C, H, K).
        """
        each = votes.view(-1, classes, HYPOTHESES, self.keypoint_count, 4, votes.shape[-1])
        weights = each[..., 3:, :].softmax(dim=-1)
        towards = each[..., :2, :] + self.places
        means = (towards * weights).sum(dim=-1)
        log_sigmas = (each[..., 2:3, :] * weights).sum(dim=-1)
        spread = ((towards - means[..., None]).abs() * weights).sum(dim=(-2, -1))
        return torch.cat([means, log_sigmas], dim=-1), spread

    def _described(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of whole windows (N, F) and of their places (N, M, P, P)."""
        fine = self.body[:4](windows)
        middle = self.body[4:6](fine)
        coarse = self.body[6:](middle)
        features = self.overview(coarse).float()
        wider = _doubled(self.middle(middle) + _doubled(self.coarse(coarse)))
        return features, self.mixed(self.fine(fine) + wider + self.whole(features)[..., None, None])

    def _votes_of(self, mixed: Tensor, class_ids: Tensor) -> Tensor:
        """Return what ``votes`` gives for one class of each window, (N, H * K * 4, P * P)."""
        assert self.votes.bias is not None
        weight = self.votes.weight.view(self.class_count, -1, _MIXED)[class_ids].to(mixed.dtype)
        bias = self.votes.bias.view(self.class_count, -1, 1)[class_ids].to(mixed.dtype)
        return torch.baddbmm(bias, weight, mixed.flatten(2))


def _doubled(maps: Tensor) -> Tensor:
    return nn.functional.interpolate(maps, scale_factor=2.0)


class ExportedRoiHead(nn.Module):
    """The network as its layout says.

    Probabilities (N, C + 1), keypoints (N, C, H, K, 3) x, y, sigma, shares (N, C, H) and masks (N, M, M) in [0, 1].
    """

    def __init__(self, network: RoiNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map (N, 5, S, S), colour and relief, to probabilities, keypoints in window units, shares and masks."""
        found: RoiOutput = self.network(windows)
        sigmas = found.keypoints[..., 2:].clamp(-6.0, 1.0).exp()
        keypoints = torch.cat([found.keypoints[..., :2], sigmas], dim=-1)
        return found.logits.softmax(dim=1), keypoints, found.shares.softmax(dim=2), found.mask.sigmoid()


@dataclass(frozen=True)
class RoiRecipe:
    """Trains ``RoiNetwork`` on windows around the labelled objects of ``source``, placed as they will be in use."""

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

    def network(self) -> nn.Module:
        """Return the untrained network."""
        return RoiNetwork(self.class_count, self.keypoint_count, self.size)

    def samples(self, rng: np.random.Generator) -> Iterator[RoiSample]:
        """Yield augmented windows for ever."""
        for sample in self.source(rng):
            crop = self._negative(sample, rng) if rng.random() < _NEGATIVE_SHARE else self._positive(sample, rng)
            if crop is not None:
                yield self._disturbed(crop, rng)

    def collate(self, samples: list[RoiSample]) -> _Batch:
        """Stack to windows (N, 5, S, S), class ids (N,), keypoints (N, K, 2) and masks (N, M, M)."""
        windows = normalised_batch([sample.image for sample in samples], [sample.relief for sample in samples])
        class_ids = torch.tensor([sample.class_id for sample in samples])
        keypoints = torch.from_numpy(np.stack([sample.keypoints for sample in samples])).float()
        masks = torch.from_numpy(np.stack([sample.mask for sample in samples]))
        return torch.from_numpy(windows), class_ids, keypoints, masks

    def loss(self, network: nn.Module, batch: _Batch) -> dict[str, Tensor]:
        """Cross-entropy of the class, and how far the true class's hypotheses, each by its share, are off.

        The hypotheses are a mixture of Laplace distributions of whole sets of keypoints, ``_TOLERANCE`` wide, so that
        one that explains a window is left alone by the others; each also learns its keypoints' deviations. Votes are
        drawn together, so that each place that counts is right by itself.
        """
        windows, class_ids, truth, masks = batch
        real = class_ids < self.class_count
        found: RoiOutput = network(
            windows.to(memory_format=torch.channels_last), class_ids.clamp(max=self.class_count - 1)
        )
        classes = nn.functional.cross_entropy(found.logits, class_ids, label_smoothing=0.02)
        own, shares = found.keypoints[real, 0], found.shares[real, 0].log_softmax(dim=1)
        spread = found.spread[real].mean()
        each = (own[..., :2] - truth[real, None]).abs().sum(dim=-1)
        error = each.mean(dim=2)
        occluders = shares - error / _TOLERANCE
        points = -_TOLERANCE * occluders.logsumexp(dim=1).mean()
        responsible = occluders.detach().softmax(dim=1)
        log_sigma = own[..., 2].clamp(-6.0, 1.0)
        likelihood = (each.detach() * torch.exp(-log_sigma) + 2.0 * log_sigma).mean(dim=2)
        deviations = (responsible * likelihood).sum(dim=1).mean()
        likeliest = error.gather(1, shares.argmax(dim=1, keepdim=True)).mean()
        mask = nn.functional.binary_cross_entropy_with_logits(found.mask, masks)
        total = classes + 10.0 * points + 0.1 * deviations + 0.5 * spread + 2.0 * mask
        figures = {"classes": classes, "error": likeliest, "mixture": points, "spread": spread, "mask": mask}
        return figures | {"total": total}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return class accuracy and keypoint errors (window units) of held-out objects, also by one sense alone."""
        rng = np.random.default_rng(_VALIDATION_SEED)
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
        mask = window.cut_mask(sample.owners == index, self.size // _MASK_CELL)
        if rng.random() < _ERASED_SHARE:
            others = np.arange(len(sample.class_ids)) != index
            sample = erased(sample, others & (rng.random(len(others)) < _ERASED_OTHERS), rng)
        return _cut(window, sample, int(sample.class_ids[index]), window.to_window(sample.keypoints[index]), mask)

    def _negative(self, sample: DetectionSample, rng: np.random.Generator) -> RoiSample | None:
        """Return a window on the background, of an object's size, or on an erased one, where no other object is."""
        if len(sample.class_ids) and rng.random() < _ERASED_NEGATIVES:
            return self._nothing_left(sample, int(rng.integers(len(sample.class_ids))), rng)
        height, width = sample.image.shape[:2]
        side = float(np.exp(rng.uniform(np.log(20.0), np.log(height / 2.0))))
        aspect = float(np.exp(rng.uniform(-0.7, 0.7)))
        half = np.array([side * min(1.0, aspect), side / max(1.0, aspect)]) / 2
        center = rng.uniform([0.0, 0.0], [width, height])
        box = np.concatenate([center - half, center + half])
        if len(sample.boxes_xyxy) and box_iou(box[None], sample.boxes_xyxy).max() > _BACKGROUND_IOU:
            return None
        return self._of_nothing(RoiWindow.around(box, self.size), sample)

    def _nothing_left(self, sample: DetectionSample, index: int, rng: np.random.Generator) -> RoiSample | None:
        """Return a window on an object that is erased, or None where another one is left there."""
        gone = rng.random(len(sample.class_ids)) < _ERASED_OTHERS
        gone[index] = True
        box = sample.boxes_xyxy[index]
        if box_iou(box[None], sample.boxes_xyxy[~gone]).max(initial=0.0) > _BACKGROUND_IOU:
            return None
        window = _moved(RoiWindow.around(box, self.size), _POOR_SHIFT, _POOR_SCALE, rng)
        return self._of_nothing(window, erased(sample, gone, rng))

    def _of_nothing(self, window: RoiWindow, sample: DetectionSample) -> RoiSample:
        nothing = np.zeros((self.keypoint_count, 2))
        nowhere = np.zeros((self.size // _MASK_CELL,) * 2, dtype=np.float32)
        return _cut(window, sample, self.class_count, nothing, nowhere)

    def _disturbed(self, crop: RoiSample, rng: np.random.Generator) -> RoiSample:
        """Disturb colour and relief, and take one of them away now and then, so that each learns to do alone."""
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
        """Cut a hole into a window's relief by chance, as shiny metal does."""
        if rng.random() >= self.patch_probability:
            return relief
        low = rng.integers(0, self.size - 8, 2)
        high = low + rng.integers(8, self.size // 2, 2)
        holed = relief.copy()
        holed[low[0] : high[0], low[1] : high[1]] = 0.0
        return holed


def _moved(window: RoiWindow, shift: float, scale: float, rng: np.random.Generator) -> RoiWindow:
    """Place a window as wrongly as a detector would: by up to ``shift`` of its side, up to ``scale`` times its size."""
    side = window.side * float(np.exp(rng.uniform(-1.0, 1.0) * np.log(scale)))
    return RoiWindow(window.center + rng.uniform(-shift, shift, 2) * window.side, side, window.size)


def _cut(
    window: RoiWindow, sample: DetectionSample, class_id: int, keypoints: Array, mask: NDArray[np.float32]
) -> RoiSample:
    return RoiSample(window.cut(sample.image), window.cut_relief(sample.depth), class_id, keypoints, mask)
