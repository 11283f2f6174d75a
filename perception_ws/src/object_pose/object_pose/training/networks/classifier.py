"""A network that says what class an image is of and where: evidence per place, pooled by a smooth maximum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from object_pose.training.networks.blocks import MIRRORINGS, ConvUnit, CrossStage, initialise, mirrored, turned
from object_pose.training.networks.mobilenet import MobileNetV2
from object_pose.training.networks.pretrained import pretrained_mobilenet

STRIDE = 8
_BLOCKS = 13  # up to stride 16; what follows was not learned from ImageNet
_WIDTH = 96
_RARE_EVIDENCE = -4.0
_CALIBRATION_ITERATIONS = 100
# Weight of the score calibration's prior: it matters only where the held-out samples are separated without an error.
_CALIBRATION_PRIOR = 1e-4


class ClassifierNetwork(nn.Module):
    """MobileNetV2 to stride 16, joined with strides 8 and 4 at stride 8, where every place gives evidence.

    What ImageNet's filters lose of small shapes, a few filters on the pixels themselves add to the detail.
    ``normal_class`` is the class that is the absence of the others: it has no evidence of its own. The first
    ``frozen_blocks`` blocks do not learn; the encoder's statistics stay those of ImageNet.
    """

    def __init__(
        self, class_count: int, normal_class: int | None, frozen_blocks: int, *, pretrained: bool = False
    ) -> None:
        super().__init__()
        self.normal_class = normal_class
        self.frozen_blocks = frozen_blocks
        self.detail = nn.Sequential(ConvUnit(24, 64, 3, 2), CrossStage(64, 64, 1, True))
        self.fine = nn.Sequential(
            ConvUnit(3, 16, 3, 2), ConvUnit(16, 32, 3, 2), CrossStage(32, 32, 1, True), ConvUnit(32, 64, 3, 2)
        )
        self.context = nn.Sequential(ConvUnit(96, _WIDTH, 1), CrossStage(_WIDTH, _WIDTH, 1, True))
        self.mix = CrossStage(64 + 32 + _WIDTH, _WIDTH, 2)
        self.evidence = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(_WIDTH, class_count, 1))
        initialise(self)
        last = self.evidence[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, _RARE_EVIDENCE)
        nn.init.zeros_(self.fine[-1][1].weight)  # says nothing at first
        self.sharpness = nn.Parameter(torch.zeros(()))
        self.gain = nn.Parameter(torch.zeros(class_count))
        self.bias = nn.Parameter(torch.zeros(class_count))
        # Made last, as its weights would not survive the initialisation.
        self.encoder = pretrained_mobilenet("imagenet") if pretrained else MobileNetV2()
        self.encoder.blocks = self.encoder.blocks[:_BLOCKS]
        for part in (self.encoder.stem, *self.encoder.blocks[:frozen_blocks]):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> ClassifierNetwork:
        """Set the mode of all but the encoder, whose normalisation never learns from batches."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 3, H, W) in [0, 1] to class logits (B, C) and evidence (B, C, H / 8, W / 8), both float32."""
        at_4, at_8, at_16 = self._encode(images)
        up = nn.functional.interpolate(self.context(at_16), size=at_8.shape[2:], mode="nearest")
        detail = self.detail(at_4) + self.fine(images)
        evidence = self.evidence(self.mix(torch.cat([detail, at_8, up], dim=1))).float()
        sharpness = 1.0 + nn.functional.softplus(self.sharpness)
        pooled = torch.logsumexp(sharpness * evidence.flatten(2), dim=2) / sharpness
        logits = nn.functional.softplus(self.gain + 0.54) * pooled + self.bias
        if self.normal_class is not None:
            keep = torch.ones_like(logits[0])
            keep[self.normal_class] = 0.0
            logits = logits * keep
        return logits, evidence

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            x = self.encoder.stem(images * 2.0 - 1.0)
        taps = []
        for index, block in enumerate(self.encoder.blocks):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= self.frozen_blocks):
                y = block(x)
            if y.shape[2] != x.shape[2]:
                taps.append(x)
            x = y
        return taps[1], taps[2], x


def damage_evidence(evidence: Tensor, normal_class: int | None) -> Tensor:
    """Return the strongest evidence (B, 1, h, w) for any class but the normal one."""
    others = [index for index in range(evidence.shape[1]) if index != normal_class]
    return evidence[:, others].amax(dim=1, keepdim=True)


@dataclass(frozen=True)
class ScoreCalibration:
    """Scale of all logits, then shift of each class: under it probabilities are the shares that are right."""

    scale: float
    shift: tuple[float, ...]

    def apply(self, logits: Tensor) -> Tensor:
        """Return calibrated logits of (B, C) logits."""
        return self.scale * logits + torch.tensor(self.shift, device=logits.device)


def fit_score_calibration(logits: Tensor, class_ids: Tensor) -> ScoreCalibration:
    """Return the calibration (Guo 2017, with a shift a class) under which the (N,) classes are likeliest.

    The shifts' mean stays zero: probabilities only know differences.
    """
    log_scale = torch.zeros(1, requires_grad=True)
    shift = torch.zeros(logits.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale, shift], max_iter=_CALIBRATION_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(log_scale.exp() * logits + shift, class_ids)
        value = value + _CALIBRATION_PRIOR * (log_scale.square().sum() + shift.square().sum())
        value.backward()
        return value

    optimizer.step(loss)
    centred = shift.detach() - shift.detach().mean()
    return ScoreCalibration(float(log_scale.detach().exp()), tuple(centred.tolist()))


class ExportedClassifier(nn.Module):
    """The network with calibrated probabilities in place of logits, as ``tasks.classify`` reads them.

    With ``flips`` it gives the mean over four mirrorings of its image, with ``turns`` also over those of the image
    turned by a quarter.
    """

    def __init__(
        self,
        network: ClassifierNetwork,
        flips: bool = False,
        turns: bool = False,
        calibration: ScoreCalibration | None = None,
    ) -> None:
        super().__init__()
        self.network, self.calibration = network, calibration
        self._mirrorings = MIRRORINGS if flips else MIRRORINGS[:1]
        self._turns = (False, True) if turns else (False,)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (1, 3, H, W) to probabilities (1, C) and attention (1, 1, H / 8, W / 8)."""
        logits, evidence = self.evidence(images)
        if self.calibration:
            logits = self.calibration.apply(logits)
        return logits.softmax(dim=1), damage_evidence(evidence, self.network.normal_class).sigmoid()

    def evidence(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (1, 3, H, W) to logits (1, C), not yet calibrated, and evidence (1, C, H / 8, W / 8)."""
        logits, evidence = [], []
        for turn in self._turns:
            for axes in self._mirrorings:
                seen, places = self.network(mirrored(turned(images, turn), axes))
                logits.append(seen)
                evidence.append(turned(mirrored(places, axes), turn))
        return torch.stack(logits).mean(dim=0), torch.stack(evidence).mean(dim=0)
